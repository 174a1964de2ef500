"""``ethogram alerts``: open alerts of the live service, and what rules would raise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ethogram.cli.options import ReportFormat, ReportFormatOption, duration_option
from ethogram.cli.reading import end_with
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, refuse_options, service_settings
from ethogram.cli.tables import write_records
from ethogram.cli.terminal import report, results

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.schema import AlertRow

__all__ = ["command"]


@with_reading_options()
def command(
    action: Annotated[
        Literal["list", "test"],
        typer.Argument(metavar="[test]", help="test: apply the rules to what is stored, and write nothing.",
                       show_default=False),
    ] = "list",
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IN]...", help="With test: files of any kind in the order of their flows, instead of "
                       "what is stored.", show_default=False),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="With test: rules (TOML) instead of those of the service."),
    ] = None,
    since: Annotated[
        int | None,
        duration_option("--since", help="With test: events of the last DURATION of the data count. Default: 7d.",
                        whole=True),
    ] = None,
    form: ReportFormatOption = ReportFormat.TABLE,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """List the open alerts of the live service, or what rules of alerts would raise.

    'ethogram alerts test' runs the rules on a copy of the store: on the events of the last days, and on what holds now.
    With files, they are judged one after the other as the service judges a watched folder, and the rules look after
    each.

    Alerts about the service itself (losses, parts, the disk) are those of the running service, and are not tested.
    """
    if action == "list":
        refuse_options("belongs to 'ethogram alerts test'", {"IN": inputs or None, "--rules": rules, "--since": since})
    if inputs:
        refuse_options("belongs to the live service; files are read whole",
                       {"--since": since, "--data": data, "--store": store})  # fmt: skip
    else:
        refuse_options("belongs to 'ethogram alerts test' with files", dict.fromkeys(reading.given, True))
    from ethogram.pipeline.text import plural

    settings = service_settings(config, data, store)
    problems: Sequence[str] = ()
    rows: Sequence[AlertRow]
    if action == "test":
        from ethogram.config import read_alert_rules
        from ethogram.serve.alert_trial import try_rules, try_rules_on_files

        read = None if rules is None else read_alert_rules(rules, settings.alerts)
        if inputs:
            trial = try_rules_on_files(inputs, settings, read, reading)
        else:
            span = timedelta(days=7) if since is None else timedelta(seconds=since)
            trial = try_rules(existing_store(settings), settings, span, read)
        rows, problems = trial.rows, trial.problems
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in trial.counters.items()
                             if count and reason not in ("raised", "closed"))  # fmt: skip
        report(f"{plural(len(rows), 'alert')} would be raised" + (f"; {left_out}" if left_out else ""))
    else:
        from ethogram.serve.store import Store

        with Store.open(existing_store(settings), settings.judge) as opened:
            page = opened.alerts(state="open", limit=MOST)
        rows = page.rows
        report(plural(page.total, "open alert") + (f"; the latest {len(rows):,} are listed" if len(rows) < page.total
                                               else ""))  # fmt: skip
    if form is ReportFormat.TABLE:
        _show(results(), rows)
    else:
        records = [_record(row) for row in rows]
        write_records(form, records, records, COLUMNS, (_csv_row(record) for record in records))
    return end_with(problems)


MOST = 1000
COLUMNS = ("severity", "kind", "device", "device_name", "device_kind", "state", "first", "last", "count", "text",
           "evidence")  # fmt: skip


def _record(row: AlertRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in COLUMNS}
    return values | {"first": row.first.isoformat(), "last": row.last.isoformat(), "evidence": list(row.evidence)}


def _csv_row(record: dict[str, object]) -> tuple[object, ...]:
    evidence = record["evidence"]
    assert isinstance(evidence, list)
    return tuple((record | {"evidence": "; ".join(evidence)})[name] for name in COLUMNS)


def _show(console: Console, rows: Sequence[AlertRow]) -> None:
    """Print each alert with its text and evidence below it."""
    from ethogram.cli.inventory import show_rows

    styles = {"critical": "red", "warning": "yellow"}
    cells = [
        ([row.severity, row.kind, row.device_name, row.device_kind], styles.get(row.severity, ""),
         "; ".join([row.text, *row.evidence[:3]]))
        for row in rows
    ]  # fmt: skip
    if cells:
        show_rows(console, ["severity", "alert", "device", "kind"], cells)
