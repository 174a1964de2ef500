"""What exports and sinks give to other tools: devices, and what happened to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ethogram.schema.alert import Severity
from ethogram.schema.ladder_verdict import LadderVerdict
from ethogram.schema.live import DeviceRow
from ethogram.schema.verdict import Verdict

__all__ = ["ExportedDevice", "SinkEvent"]


@dataclass(frozen=True, slots=True)
class ExportedDevice:
    """A device as other tools see it.

    Parameters
    ----------
    id
        The same in each export: of the live service, or the name in the flow table.
    name
        The user's name, else the host name, the address or the MAC.
    addresses, macs, host_names
        The latest first.
    kind, vendor, model
        As far as they are stated; kinds are keys of :data:`ethogram.schema.KINDS`.
    statement, level, score
        What is stated, at which level, and how probable it is, 0 to 1; ``unknown`` if nothing is.
    state
        One of :data:`ethogram.schema.DEVICE_STATES`; ``known`` or ``unknown`` for inputs.
    first_seen, last_seen
        First and last flow.
    octets_a_day
        Of both directions; None if not known.
    flows
        Number of flows.
    named_by_user, unusual
        Whether a label of the user holds, and whether the device does not behave like it.
    reason
        Why, in words.
    """

    id: str
    name: str
    addresses: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    host_names: tuple[str, ...] = ()
    kind: str = ""
    vendor: str = ""
    model: str = ""
    statement: str = "unknown"
    level: str = "unknown"
    score: float = 0.0
    state: str = "unknown"
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    octets_a_day: float | None = None
    flows: int = 0
    named_by_user: bool = False
    unusual: bool = False
    reason: str = ""

    @classmethod
    def of_row(cls, row: DeviceRow) -> ExportedDevice:
        """A device of the live service."""
        return cls(
            row.id, row.name, (row.address,) if row.address else (), (row.mac,) if row.mac else (), (), row.kind,
            row.vendor, row.model, row.statement or "unknown", row.level or "unknown", row.score, row.state,
            row.first_seen, row.last_seen, row.octets_a_day, row.flows, row.pinned, row.unusual,
        )  # fmt: skip

    @classmethod
    def of_verdict(cls, verdict: Verdict) -> ExportedDevice:
        """A device of an inventory."""
        facts: dict[str, list[str]] = {"address": [], "mac": [], "host_name": []}
        for fact in verdict.identity:
            if fact.fact in facts and fact.value not in facts[fact.fact]:
                facts[fact.fact].append(fact.value)
        ladder = verdict.ladder
        stated = ladder is not None and ladder.level != "unknown"
        pinned = verdict.pinned
        return cls(
            verdict.device, verdict.name or verdict.device, tuple(facts["address"]), tuple(facts["mac"]),
            tuple(facts["host_name"]), *_class_of(ladder),
            verdict.verdict if pinned or ladder is None else ladder.statement,
            "label" if pinned else "unknown" if ladder is None else ladder.level,
            1.0 if pinned else verdict.score if ladder is None else ladder.score,
            "known" if pinned or stated else "unknown", verdict.first_seen or verdict.window.start,
            verdict.last_seen or verdict.window.end, verdict.octets_a_day, verdict.flows, pinned, verdict.unusual,
            "; ".join(_facts(ladder)) or verdict.reason,
        )  # fmt: skip


def _class_of(ladder: LadderVerdict | None) -> tuple[str, str, str]:
    """Kind, vendor and model."""
    return ("", "", "") if ladder is None else (ladder.kind, ladder.vendor, ladder.model)


def _facts(ladder: LadderVerdict | None) -> list[str]:
    if ladder is None:
        return []
    return list(dict.fromkeys(fact.text for level in ladder.levels if level.stated for fact in level.evidence))[:3]


@dataclass(frozen=True, slots=True)
class SinkEvent:
    """Something that happened, as sinks send it.

    Parameters
    ----------
    id
        Increases with every event of a service; 0 for a test.
    time
        When it happened.
    kind
        ``alert``, ``device new``, ``verdict changed``, ``state``, ``label`` ..., or ``test``.
    severity
        Of an alert; ``info`` for others.
    title, text
        What happened, in a few words and in one line.
    device
        The device that it is about; None if it is about none, or the device is gone.
    data
        Details.
    """

    id: int
    time: datetime
    kind: str
    severity: Severity
    title: str
    text: str
    device: ExportedDevice | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form ``ethogram.event/1``."""
        device = self.device
        return {
            "format": "ethogram.event/1", "id": self.id, "time": self.time.isoformat(), "kind": self.kind,
            "severity": self.severity, "title": self.title, "text": self.text,
            "device": None if device is None else {
                "id": device.id, "name": device.name, "addresses": list(device.addresses), "macs": list(device.macs),
                "kind": device.kind, "vendor": device.vendor, "model": device.model, "statement": device.statement,
                "score": device.score, "state": device.state,
            },
            "data": self.data,
        }  # fmt: skip

