"""Tables of verdicts on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ethogram._text import visible
from ethogram._units import octets_text, span_text

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.schema import Inventory, Verdict

__all__ = ["show_inventory", "show_rows", "time_needed"]

DROPPED = ("first seen", "last seen", "a day", "final in", "kind")
"""Columns that leave on a narrow terminal, the first one first."""
LEAST_STATEMENT = 24
"""Characters kept of a statement on the narrowest terminal."""
SHOWN_FACTS = 4
FACTS_OF = {"vendor": ("vendor", "kind"), "platform": ("platform", "kind"), "family": ("vendor", "kind"),
            "model": ("vendor", "kind", "model")}  # fmt: skip
"""Levels of a statement whose facts are shown; a kind stated with a vendor or platform is only probable."""
ENOUGH_H = 24
"""Hours of traffic after which more of them rarely change a verdict."""


def time_needed(seconds: float | None) -> str:
    """A number of seconds in words.

    >>> [time_needed(s) for s in (None, 0.0, 5400.0, 200000.0)]
    ['', 'any time', '1.5 h', '2.3 d']
    """
    if seconds is None:
        return ""
    if seconds == 0:
        return "any time"
    return span_text(seconds, fine=True)


def volume(octets: float | None) -> str:
    """A number of octets in words.

    >>> [volume(n) for n in (None, 900.0, 1_234_000.0, 5.6e9)]
    ['', '900 B', '1.2 MB', '5.6 GB']
    """
    return "" if octets is None else octets_text(octets, fine=True)


def show_inventory(console: Console, inventory: Inventory, *, by_verdict: bool = False) -> None:
    """Print the inventory sorted by kind, unknown devices last, with the reason under each device.

    With ``by_verdict``, the verdict at the level that was asked for stands in place of the deepest level that is sure.
    """
    from ethogram.pipeline.text import plural

    verdicts = inventory.devices
    if by_verdict:
        verdicts = [verdict.model_copy(update={"ladder": None}) for verdict in verdicts]
    devices = sorted(verdicts, key=_order)
    columns: dict[str, list[str]] = {
        "device": [verdict.name or verdict.device for verdict in devices],
        "is": [_statement(verdict) for verdict in devices],
        "sure": [_score(verdict) for verdict in devices],
        "kind": [verdict.ladder.kind if verdict.ladder else "" for verdict in devices],
        "final in": ["final" if v.converged else time_needed(v.expected_s) for v in devices],
        "a day": [volume(verdict.octets_a_day) for verdict in devices],
        "last seen": [f"{v.last_seen:%Y-%m-%d %H:%M}" if v.last_seen else "" for v in devices],
        "first seen": [f"{v.first_seen:%Y-%m-%d %H:%M}" if v.first_seen else "" for v in devices],
    }  # fmt: skip
    names = _fitting(columns, console.width)
    columns["is"] = _cropped(columns, names, console.width)
    rows = [([columns[name][i] for name in names], _style(verdict), _why(verdict))
            for i, verdict in enumerate(devices)]  # fmt: skip
    show_rows(console, names, rows)
    probable = sum(_is_probable(verdict) for verdict in devices)
    unknown = sum(_is_unknown(verdict) for verdict in devices) - probable
    not_sure = f", {probable:,} not sure" if probable else ""
    console.print(f"{plural(len(devices), 'verdict')}{not_sure}, {unknown:,} unknown; library {inventory.library}")


def _is_unknown(verdict: Verdict) -> bool:
    return verdict.verdict == "unknown" if verdict.ladder is None else verdict.ladder.level == "unknown"


def _is_probable(verdict: Verdict) -> bool:
    """Whether nothing is sure, but a vendor or a kind is probable."""
    return _is_unknown(verdict) and verdict.ladder is not None and bool(verdict.ladder.kind or verdict.ladder.vendor)


def _is_unusual(verdict: Verdict) -> bool:
    """Whether a device with a label does not behave like it; other levels are not compared with anything."""
    return verdict.unusual and (verdict.verdict != "unknown" if verdict.ladder is None
                                else verdict.ladder.level == "device")  # fmt: skip


def _order(verdict: Verdict) -> tuple[bool, str, str, str]:
    kind = verdict.ladder.kind if verdict.ladder else ""
    nothing = _is_unknown(verdict) and not _is_probable(verdict)
    return nothing, kind or "~", _statement(verdict), verdict.device


def _statement(verdict: Verdict) -> str:
    text = verdict.verdict if verdict.ladder is None else verdict.ladder.statement
    if verdict.ladder is None and verdict.fallback is not None:
        text += f" ({verdict.fallback.label} {verdict.fallback.score:.2f})"
    return text + (" (unusual)" if _is_unusual(verdict) else "") + (" (simulated)" if verdict.simulated else "")


def _score(verdict: Verdict) -> str:
    if _is_unknown(verdict) and not _is_probable(verdict):
        return ""
    return f"{verdict.score if verdict.ladder is None else verdict.ladder.score:.2f}"


def _style(verdict: Verdict) -> str:
    if _is_unknown(verdict) or _is_unusual(verdict):
        return "yellow"
    return "green" if float(_score(verdict)) >= 0.8 else ""


def _why(verdict: Verdict) -> str:
    """The largest facts behind the statement, or what would help an unknown device."""
    ladder = verdict.ladder
    if ladder is None or ladder.level == "device":
        return verdict.reason
    if ladder.level == "several":
        return ", ".join(
            part.name if part.share is None else f"{part.name} {part.share:.0%}" for part in ladder.several
        )
    levels = {level.level: level for level in ladder.levels}
    order = FACTS_OF.get(ladder.level, (ladder.level,))
    if ladder.level != "unknown":
        facts = [fact.text for level in order
                 if level in levels and (levels[level].stated or level == ladder.level)
                 for fact in levels[level].evidence[:2]]
        twins = ["the models cannot be told apart"] if ladder.level == "model" and len(ladder.labels) > 1 else []
        return "; ".join([*dict.fromkeys(facts[:SHOWN_FACTS]), *twins])
    if not verdict.flows:
        return "silent: nothing was seen"
    sources = [levels[level] for level in ("vendor", "kind") if level in levels]
    best = [f"{level.name} {level.score:.2f}" for level in sources]
    facts = [fact.text for level in sources if level.stated for fact in level.evidence[:2]]
    helps = [f"no {name}" for name in ladder.missing]
    hours = 0.0
    if verdict.first_seen and verdict.last_seen:
        hours = (verdict.last_seen - verdict.first_seen).total_seconds() / 3600
    if hours < ENOUGH_H:
        helps.append(f"only {hours:.0f} h of traffic")
    doubt = f"not sure enough: {', '.join(best) or 'nothing tells'}"
    return "; ".join([*dict.fromkeys(facts), doubt, *([", ".join(helps)] if helps else [])])


def _fitting(columns: dict[str, list[str]], width: int) -> list[str]:
    """Columns that fit, in order; see :data:`DROPPED`."""
    names = [name for name, cells in columns.items() if any(cells)]
    for dropped in DROPPED:
        needed = sum(max([len(name), *map(len, columns[name])]) + 2 for name in names)
        if needed <= width:
            break
        names = [name for name in names if name != dropped]
    return names


def _cropped(columns: dict[str, list[str]], names: Sequence[str], width: int) -> list[str]:
    """The statements, cut where the columns that may not leave are still too wide."""
    others = sum(max([len(name), *map(len, columns[name])]) + 2 for name in names if name != "is")
    limit = max(width - others - 2, LEAST_STATEMENT)
    return [text if len(text) <= limit else f"{text[: limit - 1]}…" for text in columns["is"]]


def show_rows(console: Console, names: Sequence[str], rows: Sequence[tuple[list[str], str, str]]) -> None:
    """Print rows of cells, the second in a style, and under each row a sentence as wide as the console."""
    from rich.padding import Padding
    from rich.text import Text

    rows = [([visible(cell) for cell in cells], style, visible(sentence)) for cells, style, sentence in rows]
    widths = [max([len(name), *(len(cells[i]) for cells, _, _ in rows)]) for i, name in enumerate(names)]

    def line(cells: Sequence[str], style: str = "") -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            # Names come from the network: render them as text, never as markup.
            text.append(cell.ljust(width) + "  ", style=style if i == 1 else "")
        return text

    header = line(names)
    header.stylize("bold")
    console.print(header)
    for cells, style, sentence in rows:
        console.print(line(cells, style))
        console.print(Padding(Text(sentence, style="dim"), (0, 0, 0, 4)))
