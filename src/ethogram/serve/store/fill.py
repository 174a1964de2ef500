"""Fill a store from one inventory, as if its devices had been seen and judged in one round."""

from __future__ import annotations

from datetime import datetime, timedelta

from ethogram._parse_address import parse_address, parse_mac
from ethogram.errors import InputError
from ethogram.pipeline.device_facts import NAMING
from ethogram.schema import DeviceFact, DeviceSighting, Inventory, Judgement, RoundResult, Verdict
from ethogram.serve.store.store import Store

__all__ = ["fill"]


def fill(store: Store, inventory: Inventory, source: str = "inventory") -> int:
    """Store the devices of an inventory; returns their number.

    Parameters
    ----------
    store
        Where to.
    inventory
        Of ``ethogram.identify(...)``.
    source
        Name under which the round is stored; each name is used once.

    Raises
    ------
    InputError
        If the inventory has no device with traffic, or was stored before.
    """
    verdicts = [verdict for verdict in inventory.devices if verdict.first_seen and verdict.last_seen]
    if not verdicts:
        raise InputError("the inventory has no device with traffic")
    clock = max(_last(verdict) for verdict in verdicts)
    sightings = tuple(_sighting(verdict, clock) for verdict in verdicts)
    after = store.position(source)
    if after:
        raise InputError("is stored already", file=source)
    store.record_round(RoundResult(source, 0, 1, clock, inventory.library, sightings))
    by_name = {name: device.id for device in store.due(clock, limit=len(sightings)) for name, _, _ in device.names}
    judgements = tuple(
        Judgement(by_name[verdict.device], verdict.model_dump(mode="json"), not verdict.converged, None)
        for verdict in verdicts
        if verdict.device in by_name
    )
    store.record_round(RoundResult(source, 1, 1, clock, inventory.library, judgements=judgements))
    return len(judgements)


def _last(verdict: Verdict) -> datetime:
    assert verdict.last_seen is not None
    return verdict.last_seen


def _sighting(verdict: Verdict, clock: datetime) -> DeviceSighting:
    first, last = verdict.first_seen, verdict.last_seen
    assert first is not None
    assert last is not None
    facts = verdict.identity
    macs = [fact.value for fact in facts if fact.fact == "mac"] or (
        [verdict.device] if parse_mac(verdict.device) else []
    )
    addresses = [fact.value for fact in facts if fact.fact == "address"] or (
        [verdict.device] if parse_address(verdict.device) else []
    )
    days = max((last - first) / timedelta(days=1), 1 / 24)
    return DeviceSighting(
        verdict.device, macs[0] if macs else "", tuple(addresses),
        tuple(fact.value for fact in facts if fact.fact in NAMING), first, last, verdict.flows,
        round((verdict.octets_a_day or 0.0) * days), clock,
        tuple(DeviceFact(fact.fact, fact.value, fact.source, fact.first, fact.last) for fact in facts),
    )  # fmt: skip
