"""MUD profiles (RFC 8520) as counts of the services and names they allow, without volumes.

An access-control entry counts as one flow of its service at the nominal epoch, with one packet in the direction it
allows. A profile contains no traffic: octets are 0, which means that sizes and volumes are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from ethogram.config import CountSettings
from ethogram.corpora.counters import scope_of
from ethogram.errors import InputError
from ethogram.flow.names import domains
from ethogram.identify.library import NOMINAL
from ethogram.schema import COUNT_KEYS, COUNTS, GROUP, TCP, UDP, Accounting

__all__ = ["mud_profiles"]


def mud_profiles(files: Sequence[Path], instance: str, settings: CountSettings) -> tuple[pl.DataFrame, Accounting]:
    """Counts of the traffic that profiles allow one device.

    Parameters
    ----------
    files
        MUD files.
    instance
        Name of the device in the counts.
    settings
        Whether other protocols count.

    Returns
    -------
    tuple
        Table :data:`ethogram.schema.COUNTS`, and the accounting of all access-control entries.
    """
    accounting = Accounting("rules")
    rows = []
    for file in files:
        for outward, matches in _entries(file):
            accounting.read += 1
            row = _row(outward, matches)
            if row is None:
                accounting.ignore("not IP")
            elif row["protocol"] not in (TCP, UDP) and not settings.other_protocols:
                accounting.ignore("protocol")
            else:
                rows.append(row | {"packets_out": int(outward), "packets_in": int(not outward)})
    accounting.used = len(rows)
    if not rows:
        return COUNTS.empty(), accounting
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame = frame.with_columns(name=pl.coalesce("group", domains(frame["name"])["remote_domain"]))
    counts = frame.group_by("protocol", "port", "role", "scope", "name").agg(
        pl.col("packets_out", "packets_in").max(), flows=pl.len()
    )
    nothing = [pl.lit(0).alias(c) for c in ("octets_out", "octets_in", "duration_ms")]
    counts = counts.with_columns(
        *nothing, device=pl.lit(instance), time=pl.lit(NOMINAL), answered=pl.col("scope") != "multicast"
    )
    return COUNTS.conform(counts).sort(COUNT_KEYS), accounting


def _entries(file: Path) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Whether an entry is from the device, and what it matches."""
    try:
        lists = orjson.loads(file.read_bytes())["ietf-access-control-list:access-lists"]["acl"]
        for access_list in lists:
            for entry in access_list["aces"]["ace"]:
                yield access_list["name"].startswith("from"), entry["matches"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"no MUD file: {error}", file=file) from None


def _row(outward: bool, matches: dict[str, Any]) -> dict[str, Any] | None:
    """Service, role, scope, and name or group of one entry; None for entries without IP."""
    packet = matches.get("ipv4") or matches.get("ipv6")
    if packet is None or "protocol" not in packet:
        return None
    ends = matches.get("tcp") or matches.get("udp") or {}
    near, far = ("source-port", "destination-port") if outward else ("destination-port", "source-port")
    served, asked = (ends.get(side, {}).get("port") for side in (near, far))
    names = [value for key, value in packet.items() if "dnsname" in key]
    networks = [value.split("/")[0] for key, value in packet.items() if key.endswith("network")]
    inside = "local-networks" in matches.get("ietf-mud:mud", {})
    return {
        "protocol": int(packet["protocol"]), "port": int(asked or served or 0),
        "role": "server" if served and not asked else "client",
        "scope": scope_of(networks[0]) if networks else "lan" if inside else "wan",
        "name": names[0] if names else None,
        "group": networks[0] if networks and re.match(GROUP, networks[0]) else None,
    }  # fmt: skip
