"""What is at hand about each device beside its verdict: name, addresses, when it was seen, how much it sends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from ethogram.schema import IdentityFact, Windows

__all__ = ["GENERIC_NAMES", "NAMING", "DeviceFacts", "device_facts"]

MOST_FACTS = 32
"""Identity facts listed of one device, the most recent first."""
NAMING = ("name", "host_name", "mdns_name", "nbns_name", "llmnr_name", "lldp_name")
"""Facts that name a device, the best first."""
GENERIC_NAMES = frozenset({
    "android", "debian", "device", "esp", "espressif", "host", "iphone", "ipad", "iot", "linux", "localhost", "lwip0",
    "openwrt", "raspberrypi", "ubuntu", "unknown", "wlan0",
})  # fmt: skip
"""Host names that many devices have from the factory."""
_HOUR = timedelta(hours=1)
_DAY_S = 86_400.0


@dataclass(frozen=True)
class DeviceFacts:
    """Facts about the device of one item.

    Parameters
    ----------
    name
        Best name: the user's, else the host name, else an address, else the device as it is in the flow table.
    first_seen, last_seen
        First and last hour with traffic; None for a silent item.
    octets_a_day
        IP octets of both directions per day of the window.
    identity
        Identity facts, at most :data:`MOST_FACTS`.
    """

    name: str
    first_seen: datetime | None
    last_seen: datetime | None
    octets_a_day: float
    identity: list[IdentityFact]


def device_facts(windows: Windows, identity: pl.DataFrame) -> list[DeviceFacts]:
    """Collect the facts of n items.

    Parameters
    ----------
    windows
        The items.
    identity
        Identity facts (:data:`ethogram.schema.IDENTITY`) of their devices.
    """
    traffic = windows.counts.group_by("item").agg(
        first=pl.col("time").min(), last=pl.col("time").max(),
        octets=(pl.col("octets_out") + pl.col("octets_in")).sum(),
    )  # fmt: skip
    seen = {row["item"]: row for row in traffic.iter_rows(named=True)}
    facts = _facts_of(identity)
    result = []
    for item, device, start, end in windows.items.select("item", "device", "start", "end").iter_rows():
        row = seen.get(item)
        days = max((end - start).total_seconds(), 3600.0) / _DAY_S
        of_device = facts.get(device, [])
        result.append(DeviceFacts(
            name=_name(device, of_device),
            first_seen=None if row is None else row["first"],
            last_seen=None if row is None else row["last"] + _HOUR,
            octets_a_day=0.0 if row is None else row["octets"] / days,
            identity=of_device[:MOST_FACTS],
        ))  # fmt: skip
    return result


def _facts_of(identity: pl.DataFrame) -> dict[str, list[IdentityFact]]:
    rows = identity.filter(pl.col("device").is_not_null()).with_columns(pl.col("fact").cast(pl.String))
    rows = rows.sort("device", "last", "fact", "value", descending=[False, True, False, False], nulls_last=True)
    facts: dict[str, list[IdentityFact]] = {}
    for device, fact, value, source, first, last in rows.select(
        "device", "fact", "value", "source", "first", "last"
    ).iter_rows():
        facts.setdefault(device, []).append(
            IdentityFact(fact=fact, value=value, source=source, first=first, last=last)
        )
    return facts


def _name(device: str, facts: list[IdentityFact]) -> str:
    for kind in NAMING:
        names = [fact.value for fact in facts if fact.fact == kind]
        if names:
            return names[0]
    addresses = sorted((fact.value for fact in facts if fact.fact == "address"), key=lambda a: (":" in a, a))
    return addresses[0] if addresses else device
