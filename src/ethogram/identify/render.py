"""An inventory as JSON and as CSV. Renderings only read the verdict; nothing is decided here."""

from __future__ import annotations

import csv
import io

import orjson

from ethogram.schema import Inventory

__all__ = ["CSV_COLUMNS", "to_csv", "to_json"]

CSV_COLUMNS = (
    "device", "verdict", "score", "margin", "nearest", "strangeness", "start", "end", "flows", "converged",
    "expected_s", "level", "simulated", "reason",
)  # fmt: skip


def to_json(inventory: Inventory) -> bytes:
    """One object in the documented form (docs/reference/identify-json.md), indented, ending in a line break."""
    return orjson.dumps(inventory.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_csv(inventory: Inventory) -> str:
    """One line per verdict with the columns :data:`CSV_COLUMNS`; the evidence is its sentence.

    A cell that a spreadsheet would take for a formula is quoted with an apostrophe: device names come from the network.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in inventory.devices:
        writer.writerow(
            [
                _inert(one.device), _inert(one.verdict), f"{one.score:.4f}", f"{one.margin:.4f}", _inert(one.nearest),
                f"{one.strangeness:.4f}", one.window.start.isoformat(), one.window.end.isoformat(), one.flows,
                str(one.converged).lower(), "" if one.expected_s is None else f"{one.expected_s:.0f}", one.level,
                str(one.simulated).lower(), _inert(one.reason),
            ]
        )  # fmt: skip
    return text.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
