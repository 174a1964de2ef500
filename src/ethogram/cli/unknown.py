"""``ethogram unknown``: devices that a library does not know, in groups to be named."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.flows import time_of
from ethogram.cli.identify import Level
from ethogram.cli.outputs import Force, check_library, is_standard_output
from ethogram.cli.run import progress, read_progress
from ethogram.cli.terminal import results, say, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.identify.library import Identity
    from ethogram.pipeline.unknown import UnknownGroups

__all__ = ["command", "named_groups"]


class Format(StrEnum):
    """How the groups are written."""

    TABLE = "table"
    JSON = "json"


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Fingerprints (Parquet), or anything that 'ethogram flows' reads."),
    ],
    library: Annotated[Path, typer.Option(metavar="FILE", help="Known devices.")],
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=LABEL",
            help="Name a group and enrol it: 1=porch-cam, or 1=porch-cam,MODEL,VENDOR,TYPE,COARSE; again for more.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Library to write. Default: --library itself.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How the groups are written.")] = Format.TABLE,
    level: Annotated[Level, typer.Option(help="What is told apart.")] = Level.LABEL,
    method: Annotated[str, typer.Option(metavar="NAME", help="The identifier. Default: all the evidence.")] = "",
    encoder: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Encoder the library was enrolled with. Default: the one that comes along."),
    ] = None,
    flows: Annotated[
        bool,
        typer.Option(
            "--flows/--no-flows", help="Use embeddings of single flows, too, where library and input have any."
        ),
    ] = True,
    epoch: Annotated[int, typer.Option(metavar="SECONDS", help="Length of an epoch, as it is enrolled.")] = 86_400,
    devices: Annotated[Path | None, typer.Option(metavar="FILE", help="Device file, as for 'ethogram flows'.")] = None,
    local: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="What is inside; again for more.")] = None,
    time_from: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only from this time on.")] = None,
    time_to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only before this time.")] = None,
    force: Force = False,
) -> int:
    """Group the devices that are unknown, and enrol those groups that are given a name.

    Devices of one group behave alike: one name serves all of them, and the next 'ethogram identify' knows them. How
    alike is learnt from the library alone.
    """
    from datetime import UTC, datetime

    from ethogram.config import FlowSettings
    from ethogram.identify.library import Source
    from ethogram.pipeline.embedding_inputs import IdentifyFlows
    from ethogram.pipeline.identify import open_library, regroup, settings_for
    from ethogram.pipeline.inputs import read_windows
    from ethogram.pipeline.library_embeddings import load_embeddings, write_library
    from ethogram.pipeline.text import join_names
    from ethogram.pipeline.unknown import enrol_groups, unknown_groups

    if encoder is not None and not flows:
        raise UsageError("--encoder and --no-flows contradict each other")
    wanted = named_groups(name or [])
    if wanted:
        if output is not None and is_standard_output(output):
            raise UsageError("-o -: standard output has the groups: name a file")
        check_library(output or library, (*inputs, encoder, devices), force=force)
    known = open_library(library)
    flow = FlowSettings.of(**({"local": tuple(local)} if local else {}))
    span = time_of(time_from, "--from"), time_of(time_to, "--to")
    side = None
    if flows:
        side = IdentifyFlows(
            library, known, encoder, devices=devices, flow=flow, span=span, stretch_s=epoch
        )  # fmt: skip
    with read_progress("biflows") as advance:
        reading = read_windows(
            inputs, window_s=epoch, devices=devices, flow_settings=flow, time_from=span[0], time_to=span[1],
            on_progress=advance, listener=None if side is None else side.listener,
        )  # fmt: skip
    embedded = None if side is None else side.items(regroup(reading.seen, "device").windows)
    store = None if side is None or embedded is None else side.library_side
    settings = settings_for(method or "evidence", level=level.value)
    with progress("learning the library"):
        found = unknown_groups(reading.seen, known, settings, store=store, flows=embedded)
    if form is Format.TABLE:
        for line in reading.notes:
            say(line)
    for line in side.messages if side is not None else ():
        say(line)
    # The library is written first: who reads the groups may close the pipe.
    lines: list[str] = []
    if wanted:
        target = output or library
        source = Source(
            name=f"named: {join_names([Path(one).name for one in inputs])}",
            enrolled=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        merged, enrolled = enrol_groups(found, reading.seen, wanted, known, source=source, name=target.name)
        if side is None:
            embeddings = load_embeddings(library, known)[0]
        else:
            embeddings = side.extended(reading.seen.windows, merged, source.name)
        lines = [*enrolled, *write_library(merged, embeddings, target)]
    if form is Format.JSON:
        write_json(found.groups.model_dump(mode="json"))
    else:
        _show(results(), found.groups)
    say(*lines)
    for line in reading.errors:
        say(f"ethogram: {line}")
    return 3 if reading.errors else 0


def named_groups(names: list[str]) -> dict[str, Identity]:
    """What the user calls each group.

    >>> named_groups(["1=porch cam,cam-2,acme,camera"])["1"].at("family")
    'acme/camera'
    """
    from ethogram.identify.library import Identity

    found: dict[str, Identity] = {}
    for text in names:
        group, _, label = text.partition("=")
        parts = [part.strip() for part in label.split(",")]
        if not group.strip() or not parts[0] or len(parts) > 5:
            raise UsageError(f"--name {text!r}: write it as 1=LABEL, or 1=LABEL,MODEL,VENDOR,TYPE,COARSE")
        if group.strip() in found:
            raise UsageError(f"--name: group {group.strip()} has two names")
        found[group.strip()] = Identity(*parts)
    return found


def _show(console: Console, groups: UnknownGroups) -> None:
    """Print each group with its devices, and what they share."""
    from ethogram.cli.identify import show_rows
    from ethogram.pipeline.text import plural

    rows = []
    for one in groups.groups:
        kind = f"{one.fallback.label}, {one.fallback.score:.2f}" if one.fallback else ""
        shared = f"share {', '.join(one.shared)}; " if one.shared else ""
        rows.append((
            [one.group, str(len(one.devices)), f"{one.likeness:.2f}", kind, f"{one.nearest} {one.nearest_score:.2f}"],
            "yellow",
            f"{shared}{', '.join(one.devices)}",
        ))  # fmt: skip
    if rows:
        show_rows(console, ["group", "devices", "likeness", "kind", "nearest"], rows)
    total = plural(sum(len(one.devices) for one in groups.groups), "unknown device")
    console.print(
        f"{total} in {plural(len(groups.groups), 'group')}, {groups.known:,} known; "
        f"library {groups.library}; --name GROUP=LABEL enrols a group",
    )  # fmt: skip
