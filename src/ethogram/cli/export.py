"""``ethogram export``: devices in the formats of other tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.monitor import profile_file
from ethogram.cli.options import Force, KnowledgeOption, LibraryOption
from ethogram.cli.outputs import Form, check_folder, check_output, is_standard_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import read_progress
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, refuse_options, service_settings
from ethogram.cli.standard_input import input_path
from ethogram.cli.terminal import report, say, write_text
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.config.serve import ServeSettings
    from ethogram.export.registry import ExportData, ExportFormat, Written
    from ethogram.pipeline.read_options import ReadOptions

__all__ = ["command"]


class Format(StrEnum):
    """The formats, as :data:`ethogram.export.registry.EXPORTS` has them."""

    CSV = "csv"
    ECS = "ecs"
    HOMEASSISTANT = "homeassistant"
    MUD = "mud"
    NETBOX = "netbox"
    NFTABLES = "nftables"
    OCSF = "ocsf"
    OPNSENSE = "opnsense"
    PROMETHEUS_SD = "prometheus-sd"
    STIX = "stix"


@with_reading_options()
def command(
    form: Annotated[Format, typer.Argument(metavar="FORMAT", help="csv, ecs, homeassistant, mud, netbox, "
                                          "nftables, ocsf, opnsense, prometheus-sd or stix.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IN]...", help="Inputs as for 'ethogram identify'; without any, the live service's "
                       "store; - for standard input.", show_default=False, parser=input_path),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File to write; for mud, the folder of the files.")
    ] = Path("-"),
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="NAME", help="Only this device: name, address, MAC or id. "
                                       "Repeatable.")
    ] = None,
    library: LibraryOption = None,
    knowledge: KnowledgeOption = None,
    mud_url: Annotated[
        str, typer.Option(metavar="URL", help="mud: where the files will be served; their names follow.")
    ] = "https://mud.invalid/",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="prometheus-sd: port of the targets; 0: none.")
    ] = 0,
    url: Annotated[
        str, typer.Option(metavar="URL", help="netbox: address of NetBox.", show_default=False)
    ] = "",
    site: Annotated[
        str, typer.Option(metavar="NAME", help="netbox: site of new devices. Default: the only one.",
                          show_default=False)
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="netbox: file with a token of its API. Default: the variable "
                                  "ETHOGRAM_NETBOX_TOKEN.", show_default=False)
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="[DEVICE=]FILE", help="nftables, opnsense: MUD file (RFC 8520) for one device, or for "
                     "all. Repeatable. Default: learnt from the services used.", show_default=False),
    ] = None,
    traffic: Annotated[
        list[str] | None,
        typer.Option(metavar="IN", help="nftables, opnsense: flows on which --dry-run tries the rules. Repeatable.",
                     show_default=False, parser=input_path),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="netbox: list what would change. nftables, opnsense: count what would be "
                           "dropped of --traffic, as CSV.")
    ] = False,
    force: Force = False,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Write the devices of a network in the format of another tool.

    With inputs, their devices are identified as by 'ethogram identify --no-flows'. Without inputs, the devices and
    alerts of the live service are exported; it may run meanwhile.
    """
    from ethogram.export.gather import with_profiles
    from ethogram.export.options import GivenOptions, export_options, read_profiles
    from ethogram.export.registry import EXPORTS, load_export

    export = EXPORTS[form.value]
    write = load_export(form.value)
    options = export_options(form.value, GivenOptions(
        mud_url, port, url, site, token_file, bool(profile), bool(traffic), dry_run
    ))  # fmt: skip
    files = [profile_file(text) for text in profile or ()]
    read = (*(inputs or ()), *(traffic or ()), *(path for _, path in files))
    if form is Format.MUD and not is_standard_output(output):
        check_folder(output, inputs=read, force=force)
    else:
        suffixes = (".csv",) if options.dry_run and form is not Format.NETBOX else export.suffixes
        check_output(output, Form(export.summary, suffixes, text=True), read, force=force)
    profiles, notes = read_profiles(files)
    report(*notes)
    errors: Sequence[str] = ()
    if inputs:
        refuse_options("belongs to the live service", {"--config": config, "--data": data, "--store": store})
        gathered, errors = _of_inputs(inputs, export, reading, library, knowledge, device or ())
    else:
        given = {} if traffic else dict.fromkeys(reading.given, True)
        refuse_options("belongs to inputs", {"--library": library, "--knowledge": knowledge, **given})
        settings = service_settings(config, data, store)
        gathered = _of_service(settings, export, device or ())
    gathered = with_profiles(gathered, profiles, traffic or (), reading)
    parts = write(gathered, options)
    _write(parts, output, len(gathered.devices), folder=form is Format.MUD)
    return end_with(errors)


def _of_inputs(
    inputs: list[str], form: ExportFormat, reading: ReadOptions, library: list[str] | None, knowledge: Path | None,
    wanted: Sequence[str],
) -> tuple[ExportData, Sequence[str]]:  # fmt: skip
    from ethogram.export.gather import data_of_inputs
    from ethogram.pipeline.libraries import open_libraries

    with read_progress("biflows") as advance:
        data, log = data_of_inputs(inputs, open_libraries(library or []), form, reading, wanted=wanted,
                                   knowledge=knowledge, on_progress=advance)  # fmt: skip
    show_log(log, summary=False)
    return data, log.errors


def _of_service(settings: ServeSettings, form: ExportFormat, wanted: Sequence[str]) -> ExportData:
    from ethogram.export.gather import select_devices
    from ethogram.export.registry import ExportData
    from ethogram.serve.exported import stored_alerts, stored_devices, stored_uses
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    service = Service(settings)
    with Store.open(existing_store(settings), settings.judge) as opened:
        devices = select_devices(stored_devices(opened, facts=True), wanted)
        alerts = stored_alerts(opened, devices)
        if wanted:
            alerts = [alert for alert in alerts if alert.device is not None]
        if form.reads == "devices":
            return ExportData(devices, datetime.now(tz=UTC), tuple(alerts))
        use, notes = stored_uses(opened, service.collector_folder / "flows", service.stored_counts(),
                                 [device.id for device in devices])  # fmt: skip
        report(*notes)
    return ExportData(devices, datetime.now(tz=UTC), tuple(alerts), use.uses, use.ends, local=settings.flow.local)


def _write(parts: Iterable[Written], output: Path, devices: int, *, folder: bool) -> None:
    """Write the parts to standard output, to one file, or as the files of a folder."""
    from ethogram.export.result import write_file, write_folder
    from ethogram.pipeline.text import plural

    def noted() -> Iterator[Written]:
        for part in parts:
            if part.note:
                say(f"ethogram: {part.note}")
            yield part

    if is_standard_output(output):
        number = 0
        for part in noted():
            number += bool(part.name)
            if number > 1:
                raise UsageError("-o: there is a file for each device: name a folder, or one device with --device")
            write_text(part.text)
    elif folder:
        written = write_folder(noted(), output)
        report(f"{output}: {plural(written, 'file')} of {plural(devices, 'device')}")
    else:
        write_file((part.text for part in noted()), output)
        report(f"{output}: {plural(devices, 'device')}")
