"""``ethogram library``: list, merge, thin out or rename what libraries hold."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Force
from ethogram.cli.outputs import check_library, save_library
from ethogram.cli.terminal import report, results
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.identify.flow_store import FlowStore
    from ethogram.identify.library import Library, Observation

__all__ = ["command"]


class Action(StrEnum):
    """What to do with a library."""

    LIST = "list"
    MERGE = "merge"
    REMOVE = "remove"
    RENAME = "rename"


def command(
    action: Annotated[Action, typer.Argument(help="list, merge, remove or rename", show_default=False)],
    libraries: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="LIBRARY", help="Libraries. Default for list: the bundled one.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Library to write.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Remove entries of this label. Repeatable.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="DEVICE", help="Remove the observations of this device. Repeatable.")
    ] = None,
    entry: Annotated[
        list[str] | None, typer.Option(metavar="DIGEST", help="Remove the entry of this digest. Repeatable.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=LABEL",
            help="Rename a label: plug=desk plug, or plug=LABEL,MODEL,VENDOR,TYPE,COARSE. Repeatable.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="List every entry, not only labels.")] = False,
    force: Force = False,
    flows: Annotated[
        bool, typer.Option("--flows/--no-flows", help="Keep the embedded flows beside a library.")
    ] = True,
) -> None:
    """List, merge, prune or rename the contents of libraries, and of the embedded flows beside them.

    A library is a text file with one known window per line. Embedded flows refer to their entry by its digest, which
    includes the label: rename with this command rather than by hand, so that they stay linked.
    """
    from dataclasses import replace

    from ethogram.cli.unknown import named_groups
    from ethogram.identify.library import Library
    from ethogram.pipeline.library import open_library
    from ethogram.pipeline.library_embeddings import merged_sides
    from ethogram.pipeline.text import join_names

    paths = libraries or []
    if action is Action.LIST:
        if len(paths) > 1:
            raise UsageError("list shows one library at a time")
        known = open_library(paths[0] if paths else None)
        _show(known, known.store, known.message, full=full)
        return
    if not paths or output is None:
        raise UsageError(f"{action} needs at least one library and -o")
    if action is Action.REMOVE and not (label or device or entry):
        raise UsageError("remove needs --label, --device or --entry")
    renames = named_groups(name or [])
    if action is Action.RENAME and not renames:
        raise UsageError("rename needs --name OLD=LABEL")
    check_library(output, force=force)
    merged = Library(name=join_names([str(path) for path in paths]))
    sides: list[tuple[Path, FlowStore | None]] = []
    for path in paths:
        opened = open_library(path)
        merged = merged.merge(opened)
        if flows:
            sides.append((path, opened.store))
            report(*filter(None, [opened.message]))
    store = merged_sides(sides)
    if action is Action.REMOVE:
        before = sum(opened.multiplicity for opened in merged.entries)
        merged = merged.remove(labels=label or (), devices=device or (), digests=entry or ())
        gone = before - sum(opened.multiplicity for opened in merged.entries)
        report(f"{gone:,} of {before:,} windows removed")
    elif action is Action.RENAME:
        merged, moved = merged.renamed(renames)
        store = None if store is None else store.renamed(moved)
        report(f"{len(moved):,} entries renamed")
    for line in save_library(replace(merged, name=output.name), store, output):
        report(line)


UNDATED = "-"  # entries made from profiles, which no day belongs to


def _days(seen: list[Observation]) -> tuple[str, str]:
    """First and last day of observations."""
    if not seen:
        return UNDATED, UNDATED
    return f"{min(o.start for o in seen):%Y-%m-%d}", f"{max(o.end for o in seen):%Y-%m-%d}"


def _show(library: Library, store: FlowStore | None, heading: str, *, full: bool) -> None:
    from rich import box
    from rich.table import Table

    console = results()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if full:
        for name in ("entry", "label", "device", "from", "to", "status", "flows", "services", "seen"):
            table.add_column(name, justify="right" if name in {"flows", "services", "seen"} else "left")
        for entry in library.entries:
            first = entry.observed[0]
            services = len({row[1] for row in entry.counts})
            span = (f"{t:%Y-%m-%d %H:%M}" if first.dated else UNDATED for t in (first.start, first.end))
            table.add_row(entry.digest, entry.identity.label, first.device, *span, entry.status, f"{entry.flows:,}",
                          str(services), str(entry.multiplicity))  # fmt: skip
    else:
        for name in ("label", "model", "family", "type", "devices", "windows", "from", "to", "flows"):
            table.add_column(name, justify="right" if name in {"devices", "windows", "flows"} else "left")
        for identity in sorted({entry.identity for entry in library.entries}):
            mine = [entry for entry in library.entries if entry.identity == identity]
            seen = [o for entry in mine for o in entry.observed]
            table.add_row(identity.label, identity.model, identity.at("family"), identity.type,
                          str(len({o.device for o in seen})), f"{len(seen):,}",
                          *_days([o for o in seen if o.dated]),
                          f"{sum(entry.flows * entry.multiplicity for entry in mine):,}")  # fmt: skip
    console.print(f"{library.name} {library.digest}: {len(library):,} entries")
    for source in library.sources:
        text = ", ".join(part for part in (source.enrolled, source.licence, source.citation) if part)
        console.print(f"  from {source.name}{': ' if text else ''}{text}")
    if store is not None:
        total = sum(map(len, store.z.values()))
        console.print(f"  embedded flows of {len(store):,} entries, {total:,} in all; encoder {store.encoder}")
    if heading:
        console.print(f"  {heading}")
    console.print(table)
