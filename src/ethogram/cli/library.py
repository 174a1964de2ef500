"""``ethogram library``: list, merge or remove what a library holds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.run import results
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.identify.library import Library

__all__ = ["command"]


class Action(StrEnum):
    """What to do with a library."""

    LIST = "list"
    MERGE = "merge"
    REMOVE = "remove"


def command(
    action: Annotated[Action, typer.Argument(help="list, merge or remove", show_default=False)],
    libraries: Annotated[
        list[Path] | None,
        typer.Argument(help="libraries; without one, list shows the packaged one", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="where the merged or reduced library goes", show_default=False)
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="remove entries of this label", show_default=False)] = None,
    device: Annotated[list[str] | None, typer.Option(help="remove what this device showed", show_default=False)] = None,
    entry: Annotated[list[str] | None, typer.Option(help="remove the entry of this digest", show_default=False)] = None,
    full: Annotated[bool, typer.Option("--full", help="list every entry, not only labels")] = False,
) -> None:
    """List, merge or remove what libraries hold.

    A library is a text file, one known window a line: it can be read, compared and edited by hand.
    """
    from ethogram.identify import pack
    from ethogram.identify.library import Library
    from ethogram.pipeline.identify import open_library

    paths = libraries or []
    if action is Action.LIST:
        if len(paths) > 1:
            raise UsageError("list shows one library at a time")
        _show(open_library(paths[0] if paths else None), full=full)
        return
    if not paths or output is None:
        raise UsageError(f"{action} needs at least one library and -o")
    merged = Library(name=output.name)
    for path in paths:
        merged = merged.merge(open_library(path))
    if action is Action.REMOVE:
        if not (label or device or entry):
            raise UsageError("remove needs --label, --device or --entry")
        before = sum(one.multiplicity for one in merged.entries)
        merged = merged.remove(labels=label or (), devices=device or (), digests=entry or ())
        gone = before - sum(one.multiplicity for one in merged.entries)
        typer.echo(f"{gone:,} of {before:,} windows removed", err=True)
    pack.write(merged, output)
    typer.echo(f"{len(merged):,} entries of {len(set(merged.labels())):,} labels written to {output}", err=True)


def _show(library: Library, *, full: bool) -> None:
    from rich import box
    from rich.table import Table

    console = results()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if full:
        for name in ("entry", "label", "device", "from", "to", "status", "flows", "services", "seen"):
            table.add_column(name, justify="right" if name in {"flows", "services", "seen"} else "left")
        for one in library.entries:
            first = one.observed[0]
            services = len({row[1] for row in one.counts})
            table.add_row(one.digest, one.identity.label, first.device, f"{first.start:%Y-%m-%d %H:%M}",
                          f"{first.end:%Y-%m-%d %H:%M}", one.status, f"{one.flows:,}", str(services),
                          str(one.multiplicity))  # fmt: skip
    else:
        for name in ("label", "model", "family", "type", "devices", "windows", "from", "to", "flows"):
            table.add_column(name, justify="right" if name in {"devices", "windows", "flows"} else "left")
        for identity in sorted({one.identity for one in library.entries}):
            mine = [one for one in library.entries if one.identity == identity]
            seen = [o for one in mine for o in one.observed]
            table.add_row(identity.label, identity.model, identity.at("family"), identity.type,
                          str(len({o.device for o in seen})), f"{len(seen):,}",
                          f"{min(o.start for o in seen):%Y-%m-%d}", f"{max(o.end for o in seen):%Y-%m-%d}",
                          f"{sum(one.flows * one.multiplicity for one in mine):,}")  # fmt: skip
    console.print(f"{library.name} {library.digest}: {len(library):,} entries", markup=False)
    for source in library.sources:
        text = ", ".join(part for part in (source.enrolled, source.licence, source.citation) if part)
        console.print(f"  from {source.name}{': ' if text else ''}{text}", markup=False)
    console.print(table)
