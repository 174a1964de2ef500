"""``ethogram monitor``: traffic against what devices may do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Force, Inputs, ReportFormat, ReportFormatOption, duration_option
from ethogram.cli.outputs import PROFILES, check_output, is_standard_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import read_progress
from ethogram.cli.standard_input import input_path
from ethogram.cli.tables import write_records
from ethogram.cli.terminal import report, results, write_text
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.schema import MonitorAlarm, MonitorReport

__all__ = ["command", "profile_file"]


@with_reading_options(identity=False)
def command(
    inputs: Inputs,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", metavar="IN", help="Input with usual traffic, to learn profiles from. Repeatable.",
                     show_default=False, parser=input_path),
    ] = None,
    learn: Annotated[
        int | None,
        duration_option("--learn", help="Learn profiles from the first DURATION of the inputs, and monitor the rest.",
                        whole=True),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", metavar="[DEVICE=]FILE", help="MUD file (RFC 8520) or profiles written by -o, for "
                     "one device or label, or for all devices. Repeatable.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="CSV with the columns device,label: devices of one label share "
                     "a profile."),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="CLASS=CIDR", help="Addresses of a controller, manufacturer or model that MUD "
                     "files name. Repeatable. Default: any local address.", show_default=False),
    ] = None,
    epoch: Annotated[int, duration_option("--epoch", help="Length of an epoch.", whole=True)] = 300,
    alarms_a_month: Annotated[
        float, typer.Option(help="Alarms per device and month that limits allow if nothing changes.")
    ] = 1.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Profiles to write (JSON).")
    ] = None,
    force: Force = False,
    form: ReportFormatOption = ReportFormat.TABLE,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Compare traffic with profiles of what devices may do, and volumes with what is usual.

    Profiles are learnt from usual traffic (--baseline, --learn) or read from files (--profile). Traffic outside a
    profile is counted by service and direction. An alarm is raised if a rule, or what is outside, has more flows,
    packets or octets in one epoch than its limit, which is learnt from the days of usual traffic.
    """
    from ethogram.behaviour.profile_file import dump_profiles
    from ethogram.config import MonitorSettings
    from ethogram.pipeline.monitor import ProfileSources, monitor

    files = tuple(profile_file(text) for text in profile or ())
    read = (*inputs, *(baseline or ()), *(path for _, path in files), *reading.files)
    if output is not None:
        check_output(output, PROFILES, read, force=force)
    sources = ProfileSources(
        tuple(map(Path, baseline or ())), None if learn is None else timedelta(seconds=learn), files, labels,
        _peers(peer or ()),
    )  # fmt: skip
    settings = MonitorSettings.of(epoch_s=epoch, alarms_a_month=alarms_a_month)
    with read_progress("biflows") as advance:
        run = monitor(inputs, sources, settings, reading, on_progress=advance)
    show_log(run.log, summary=form is ReportFormat.TABLE)
    if output is not None:
        content = dump_profiles(run.profiles)
        if is_standard_output(output):
            if form is not ReportFormat.TABLE:
                raise UsageError("-o -: the report goes to standard output with --format: name a file")
            write_text(content.decode())
            return end_with(run.log.errors)
        from ethogram._files import write_bytes

        write_bytes(output, content)
        report(f"{len(run.profiles):,} profiles written to {output}")
    if form is ReportFormat.TABLE:
        _show(results(), run.report)
    else:
        lines = (alarm.to_dict() for alarm in run.report.alarms)
        write_records(form, run.report.to_dict(), lines, COLUMNS, map(_csv_row, run.report.alarms))
    return end_with(run.log.errors)


COLUMNS = ("device", "start", "end", "epochs", "reason", "excesses", "services")


def profile_file(text: str) -> tuple[str, Path]:
    """Device or label, and file, of ``[DEVICE=]FILE``; a name of a file may have an equals sign in it."""
    if Path(text).exists():
        return "", Path(text)
    device, equals, name = text.partition("=")
    return (device, Path(name)) if equals and name else ("", Path(text))


def _peers(texts: Sequence[str]) -> dict[str, list[str]]:
    from ethogram._parse_address import parse_prefix

    peers: dict[str, list[str]] = {}
    for text in texts:
        name, equals, prefix = text.rpartition("=")
        try:
            peers.setdefault(name, []).append(str(parse_prefix(prefix)))
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(f"--peer: invalid value {text!r}; expected for example my-controller=192.168.1.2/32")
    return peers


def _csv_row(alarm: MonitorAlarm) -> tuple[object, ...]:
    values = alarm.to_dict()
    values["excesses"] = "; ".join(each.reason for each in alarm.excesses)
    values["services"] = "; ".join(alarm.services)
    return tuple(values[name] for name in COLUMNS)


def _show(console: Console, monitored: MonitorReport) -> None:
    """Print devices with what is outside their profiles, and alarms with reasons."""
    from ethogram.cli.inventory import show_rows, volume
    from ethogram.pipeline.text import join_names, plural

    rows = []
    for device in monitored.devices:
        if not device.outside_packets:
            continue
        source = f"{device.profile}, {plural(device.days, 'day')}" if device.days else device.profile
        cells = [device.device, device.label, f"{device.rules:,}", f"{device.flows:,}", f"{device.outside_flows:,}",
                 f"{device.outside_packets:,}", volume(device.outside_octets)]  # fmt: skip
        services = [f"{each.rule} ({each.direction}: {each.packets:,} packets)" for each in device.counters
                    if not each.inside]  # fmt: skip
        words = [f"profile: {source}", *([f"outside: {join_names(services, 3)}"] if services else [])]
        rows.append((cells, "", "; ".join(words)))
    if rows:
        show_rows(console, ["device", "label", "rules", "flows", "outside", "packets", "octets"], rows)
    alarms = []
    for alarm in monitored.alarms:
        cells = [f"{alarm.start:%Y-%m-%d %H:%M}", alarm.device, plural(alarm.epochs, "epoch")]
        more = [each.reason for each in alarm.excesses[1:3]]
        services = [f"outside: {', '.join(alarm.services[:3])}"] if alarm.services else []
        alarms.append((cells, "yellow", "; ".join([alarm.reason, *more, *services])))
    if alarms:
        console.print()
        show_rows(console, ["alarm", "device", "for"], alarms)
    span = "" if monitored.start is None else f"; {monitored.start:%Y-%m-%d %H:%M} to {monitored.end:%Y-%m-%d %H:%M}"
    watched = sum(bool(device.profile) for device in monitored.devices)
    within = watched - len(rows)
    console.print(f"{plural(len(monitored.alarms), 'alarm')} of {plural(watched, 'device')}, {within:,} of them with "
                  f"nothing outside their profiles{span}")  # fmt: skip
