"""``ethogram knowledge``: public facts about a name, port, MAC or vendor, with their sources."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import KnowledgeOption, ReportFormat, ReportFormatOption
from ethogram.cli.tables import write_records
from ethogram.cli.terminal import report, results, write_line

if TYPE_CHECKING:
    from ethogram.knowledge.query import Answer

__all__ = ["command"]

_COLUMNS = ("query", "read_as", "table", "key", "subject", "value", "weight", "source", "licence", "date")


class KnowledgeAction(StrEnum):
    """What to do with the knowledge."""

    SHOW = "show"


def command(
    action: Annotated[KnowledgeAction, typer.Argument(help="show", show_default=False)],
    queries: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|PORT|MAC|VENDOR",
            help="A host name or domain, a port (9100, tcp/9100), a MAC or prefix, a vendor; also a kind, a platform, "
            "a multicast group, a service type such as _ipp._tcp, or a text that a device sends.",
            show_default=False,
        ),
    ],
    knowledge: KnowledgeOption = None,
    form: ReportFormatOption = ReportFormat.TABLE,
) -> None:
    """Show public facts about names, ports, MACs and vendors, and the source of each.

    A fact is evidence, not a verdict. An ambiguous query is interpreted in every possible way.
    """
    from ethogram.knowledge.query import look_up
    from ethogram.knowledge.tables import Knowledge

    del action  # the only one
    known = Knowledge.bundled()
    if knowledge is not None:
        known = known.with_rows(knowledge)
        report(*known.notices)
    answers = {query: look_up(known, query) for query in queries}
    if form is ReportFormat.TABLE:
        for query, facts in answers.items():
            _show(query, facts)
    else:
        queries_answered = [
            {"query": query, "answers": [asdict(answer) for answer in facts]} for query, facts in answers.items()
        ]
        document = {"format": "ethogram.knowledge/1", "rejected_rows": known.rejected, "queries": queries_answered}
        rows = _rows(answers)
        write_records(form, document, rows, _COLUMNS, ([row[name] for name in _COLUMNS] for row in rows))


def _rows(answers: dict[str, list[Answer]]) -> list[dict[str, str]]:
    return [
        {"query": query, "read_as": answer.read_as, **asdict(fact)}
        for query, facts in answers.items()
        for answer in facts
        for fact in answer.facts
    ]


def _show(query: str, answers: list[Answer]) -> None:
    from rich import box
    from rich.table import Table

    console = results()
    if not answers:
        write_line(f"{query}: nothing is known")
        return
    for answer in answers:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("key", "tells", "value", "weight", "source"):
            table.add_column(name, overflow="fold")
        for fact in answer.facts:
            origin = ", ".join(filter(None, (fact.source, fact.licence, fact.date)))
            table.add_row(fact.key, fact.subject, fact.value, fact.weight, origin)
        console.print(f"{query}, as {answer.read_as}")
        console.print(table)
