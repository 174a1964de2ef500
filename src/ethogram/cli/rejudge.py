"""``ethogram rejudge``: judge the devices of the live service again from stored counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ethogram.cli.options import Json, KnowledgeOption
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, service_settings
from ethogram.cli.terminal import report, results, write_json

__all__ = ["command"]


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and store nothing.")] = False,
    library: Annotated[
        list[str] | None,
        typer.Option("--library", metavar="FILE", help="Known devices; repeatable, and 'packaged' is the bundled "
                     "library. Default: as in the settings."),
    ] = None,
    knowledge: KnowledgeOption = None,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Judge all devices of the live service again, without their flows: after a change of library or knowledge.

    It reads the counts that the service has stored, and may run beside it. Labels of users stay. Each changed statement
    has an entry in the history of its device.
    """
    settings = service_settings(
        config, data, store, library=tuple(library or ()),
        knowledge=None if knowledge is None else str(knowledge),
    )  # fmt: skip
    from ethogram.pipeline.text import plural
    from ethogram.serve.rejudge import rejudge
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    numbers: list[int] = []
    with Store.open(existing_store(settings), settings.judge) as opened:
        judge = Service(settings).judge_apart(opened)
        changes = rejudge(judge, dry_run=dry_run, on_progress=numbers.append)
    if as_json:
        write_json([asdict(change) | {"time": change.time.isoformat()} for change in changes])
    else:
        for change in changes:
            before = change.before or "nothing"
            results().print(f"{change.device_name}: {before} -> {change.after} ({change.score:.2f}): {change.reason}")
    verb = "would change" if dry_run else "changed"
    report(f"{plural(sum(numbers), 'device')} judged, {plural(len(changes), 'statement')} {verb}; "
           f"library {judge.identifier.name}")  # fmt: skip
    return 0
