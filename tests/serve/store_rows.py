"""Rounds of a judge for tests of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ethogram.schema import DeviceSighting, Judgement, RoundResult
from ethogram.serve.store import Store

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def sighting(name: str, at: datetime = START, **values: Any) -> DeviceSighting:
    mac = name if name.count(":") == 5 else ""
    defaults: dict[str, Any] = {
        "mac": mac, "addresses": () if mac else (name,), "host_names": (), "first": at, "last": at + HOUR, "flows": 10,
        "octets": 1000, "due": at,
    }  # fmt: skip
    return DeviceSighting(name=name, **defaults | values)


def document(
    statement: str = "Acme camera", level: str = "family", score: float = 0.9, **values: Any
) -> dict[str, Any]:  # fmt: skip
    """A verdict as the inventory has it, as far as the store reads it."""
    kind = values.pop("kind", "camera" if "camera" in statement else "plug" if "plug" in statement else "")
    ladder = {
        "statement": statement, "level": level, "labels": [], "score": score, "kind": kind,
        "vendor": values.pop("vendor", "Acme" if "Acme" in statement else ""), "model": "",
        "levels": [{"level": level, "stated": True, "evidence": [
            {"text": text, "source": "s", "nats": 1.0} for text in values.pop("facts", [f"looks like {statement}"])
        ]}],
    }  # fmt: skip
    return {"device": "x", "verdict": "unknown", "score": score, "ladder": ladder, "octets_a_day": 5.0,
            "identity": []} | values  # fmt: skip


def see(store: Store, *sightings: DeviceSighting, source: str = "here", **values: Any) -> list[str]:
    """One round with these sightings; returns the ids of the devices that are due, in order of their names."""
    after = store.position(source)
    clock = values.pop("clock", max(each.last for each in sightings))
    store.record_round(RoundResult(source, after, after + 1, clock, "library 1", tuple(sightings), **values))
    return [device.id for device in sorted(store.due(clock), key=lambda device: device.names)]


def judge(
    store: Store, id_: str, verdict: dict[str, Any], *, at: datetime = START + HOUR, library: str = "library 1",
    source: str = "here", provisional: bool = False, hours: Sequence[tuple[datetime, int]] = (),
) -> None:  # fmt: skip
    """One round with one judgement."""
    now = store.position(source)
    judgement = Judgement(id_, verdict, provisional, None, tuple(hours))
    store.record_round(RoundResult(source, now, now, at, library, judgements=(judgement,)))
