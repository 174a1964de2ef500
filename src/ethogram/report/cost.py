"""Cost of the rows of a benchmark: core-minutes by part, with the shares of training and embedding, and the machine.

A row has the processor time of measuring it (``cpu_s``), the training time of the encoders it used
(``details.training``), and their speed. An encoder that several rows use is counted once, with the earliest row: as
part of its processor time, or in addition to it if the encoder was cached by an earlier run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ethogram.report.flow_rows import is_flow_row
from ethogram.report.tables import Row

__all__ = ["PARTS", "PartCost", "cost_by_part", "cost_lines"]

NOT_LEARNT = ("random weights", "checkpoint", "no weights", "drawn")
"""First words of the origins of encoders that do not depend on training data."""

PARTS = ("fingerprints", "P0", "P2", "P3", "P4", "grid", "others", "both", "groups")


@dataclass
class PartCost:
    """Cost of one part of the rows, in seconds."""

    rows: int = 0
    cpu: float = 0.0
    training: float = 0.0
    embedding: float = 0.0
    apart: float = 0.0
    without_cpu: int = 0
    machines: set[str] = field(default_factory=set)

    @property
    def total(self) -> float:
        """Time of the rows and of encoders that were cached before."""
        return self.cpu + self.apart

    def add(self, other: PartCost) -> None:
        """Add the cost of another part."""
        self.rows += other.rows
        self.cpu += other.cpu
        self.training += other.training
        self.embedding += other.embedding
        self.apart += other.apart
        self.without_cpu += other.without_cpu
        self.machines |= other.machines


def cost_by_part(rows: Sequence[Row]) -> dict[str, PartCost]:
    """Cost of each part that has rows, in the order of :data:`PARTS`."""
    costs: dict[str, PartCost] = {}
    trained: set[str] = set()
    embedded: set[tuple[object, ...]] = set()
    for row in sorted(rows, key=lambda row: str(row.get("made", ""))):
        if row.get("wall_s") is None:
            continue
        part = costs.setdefault(_part(row), PartCost())
        part.rows += 1
        cpu, wall = _seconds(row.get("cpu_s")), _seconds(row["wall_s"])
        if math.isnan(cpu):
            part.without_cpu += 1
            cpu = wall
        training = _training(row, trained)
        part.cpu += cpu
        part.training += training
        # Both are wall times: a row that took less time than training its new encoders found them in the cache.
        part.apart += training if wall < training else 0.0
        part.embedding += _embedding(row, embedded)
        if row.get("machine"):
            part.machines.add(str(row["machine"]))
    return {name: costs[name] for name in PARTS if name in costs}


def _part(row: Row) -> str:
    if row.get("experiment") == "groups":
        return "groups"
    return str(row["experiment"]) if is_flow_row(row) else "fingerprints"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _training(row: Row, known: set[str]) -> float:
    """Training time of the encoders that no earlier row used."""
    details = row.get("details")
    training = details.get("training") if isinstance(details, Mapping) else None
    seconds = 0.0
    for digest, trained in (training or {}).items():
        if digest not in known and isinstance(trained, Mapping):
            known.add(digest)
            seconds += float(trained.get("seconds") or 0.0)
    return seconds


def _embedding(row: Row, known: set[tuple[object, ...]]) -> float:
    """Time of embedding the row's training and test flows, at its speed, if no earlier row embedded them.

    Rows with the same embeddings are recognised by equal speed. When each network tests in turn, a trained encoder
    differs in each fold, while an untrained one embeds the flows of each network once.
    """
    cost, details = row.get("cost"), row.get("details")
    if not isinstance(cost, Mapping) or not isinstance(details, Mapping) or not cost.get("flows_per_s"):
        return 0.0
    turns = details.get("turns") or {}
    training = details.get("training") or {}
    once = len(turns) > 1 and not training and str(cost.get("origin") or "").startswith(NOT_LEARNT)
    flows = sum(turn["tested"] + (0 if once else turn["trained"]) for turn in turns.values())
    flows += details.get("strangers") or 0
    key = (cost.get("parameters"), cost.get("embedding"), cost["flows_per_s"], tuple(sorted(turns)))
    if key in known:
        return 0.0
    known.add(key)
    return float(flows) * max(1, len(training) // max(1, len(turns))) / float(cost["flows_per_s"])


def cost_lines(rows: Sequence[Row]) -> list[str]:
    """Section of a page: one line per part, the total, and the machine; empty when no row has times."""
    parts = cost_by_part(rows)
    if not parts:
        return []
    whole = PartCost()
    for part in parts.values():
        whole.add(part)
    lines = [_line(name, part) for name, part in parts.items()]
    if len(parts) > 1:
        lines.append(_line("**in all**", whole))
    notes = [
        "Core-minutes: processor time of measuring the rows of this page. *Training* and *embedding* are parts of it;"
        " each encoder and each embedding is counted once, with the wall time on one thread from its row. Encoders that"
        " an earlier run had trained and cached are *added*. Reading the corpora is not included."
    ]
    if whole.without_cpu:
        notes += ["", f"{whole.without_cpu} of {whole.rows} rows have no processor time; their wall time is used"
                  " instead."]  # fmt: skip
    return [
        "## Cost",
        "",
        *notes,
        "",
        "| part | rows | core-minutes of rows | training | embedding | added | in all |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
        f"Machine: {'; '.join(sorted(whole.machines)) or 'not recorded'}.",
        "",
    ]


def _line(name: str, part: PartCost) -> str:
    cells = [part.cpu, part.training, part.embedding, part.apart, part.total]
    return f"| {name} | {part.rows} | " + " | ".join("" if not cell else _minutes(cell) for cell in cells) + " |"


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.1f}" if minutes >= 0.05 else "< 0.1"
