"""Render an inventory as JSON or CSV. Renderers only read verdicts; they decide nothing."""

from __future__ import annotations

from ethogram._text import csv_text, json_text
from ethogram.schema import Inventory, Verdict

__all__ = ["CSV_COLUMNS", "SHOWN_LABELS", "likeliest_labels", "to_csv", "to_json", "to_jsonl"]

SHOWN_LABELS = 5
"""Labels whose scores the command prints by default."""

CSV_COLUMNS = (
    "device", "verdict", "score", "margin", "nearest", "strangeness", "start", "end", "flows", "converged",
    "expected_s", "level", "simulated", "reason", "name", "statement", "stated_level", "stated_score", "kind", "vendor",
    "model", "first_seen", "last_seen", "octets_a_day",
)  # fmt: skip


def likeliest_labels(inventory: Inventory, count: int = SHOWN_LABELS) -> Inventory:
    """The inventory with the scores of the ``count`` likeliest labels of each verdict alone, the likeliest first."""
    devices = []
    for verdict in inventory.devices:
        ranked = sorted(verdict.known_types.items(), key=lambda pair: (-pair[1], pair[0]))[:count]
        devices.append(verdict.model_copy(update={"known_types": dict(ranked)}))
    return inventory.model_copy(update={"devices": devices})


def to_json(inventory: Inventory) -> str:
    """One object in the documented form (docs/reference/identify-json.md), indented, ending in a line break."""
    return json_text(inventory.model_dump(mode="json"), indent=True)


def to_jsonl(inventory: Inventory) -> str:
    """One JSON object per verdict and line, as in ``devices`` of :func:`to_json`."""
    return "".join(json_text(verdict.model_dump(mode="json"), indent=False) for verdict in inventory.devices)


def to_csv(inventory: Inventory) -> str:
    """One line per verdict with the columns :data:`CSV_COLUMNS`; the evidence is summarised in ``reason``.

    Untrusted text is escaped by :func:`ethogram._text.csv_cell`, since a spreadsheet may open the file.
    """
    return csv_text(CSV_COLUMNS, map(_csv_row, inventory.devices))


def _csv_row(verdict: Verdict) -> tuple[object, ...]:
    ladder = verdict.ladder
    stated = ("",) * 6 if ladder is None else (
        ladder.statement, ladder.level, f"{ladder.score:.4f}", ladder.kind, ladder.vendor, ladder.model,
    )  # fmt: skip
    return (
        verdict.device, verdict.verdict, f"{verdict.score:.4f}", f"{verdict.margin:.4f}", verdict.nearest,
        f"{verdict.strangeness:.4f}", verdict.window.start.isoformat(), verdict.window.end.isoformat(), verdict.flows,
        str(verdict.converged).lower(), "" if verdict.expected_s is None else f"{verdict.expected_s:.0f}",
        verdict.level, str(verdict.simulated).lower(), verdict.reason, verdict.name, *stated,
        "" if verdict.first_seen is None else verdict.first_seen.isoformat(),
        "" if verdict.last_seen is None else verdict.last_seen.isoformat(),
        "" if verdict.octets_a_day is None else f"{verdict.octets_a_day:.0f}",
    )  # fmt: skip
