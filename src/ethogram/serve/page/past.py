"""What the page of a device shows of its past: similarity to itself, and peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from ethogram.pipeline.own_similarity import EpochSimilarity
from ethogram.schema import BehaviourEpoch, DeviceBehaviour, DevicePeer
from ethogram.schema.service_words import service_words
from ethogram.serve.api.service_view import HourlyOctets
from ethogram.serve.page.text import service_text

__all__ = ["behaviour_chart", "peer_tables", "similarity_chart", "traffic_by_hour"]

_MOST_OUTSIDE = 8
_MOST_NEW, HOUR_S, MOST_HOURS = 4, 3600, 7 * 24
PeerRow = tuple[str, str, str, int, int, Any]


def similarity_chart(epoch_s: int, rows: Sequence[EpochSimilarity]) -> dict[str, Any] | None:
    """Data for the chart, and its table, the latest first; None if there is no epoch to compare."""
    if not rows:
        return None
    daily = epoch_s >= 86_400
    data = {
        "x": [int(row.start.timestamp()) for row in rows], "axis": "similarity", "least": 0, "most": 1,
        "series": [{"name": "similarity to earlier " + ("days" if daily else "hours"), "colour": "--accent",
                    "values": [round(row.score, 3) for row in rows]}],
    }  # fmt: skip
    form = "%Y-%m-%d" if daily else "%Y-%m-%d %H:00"

    def new(row: EpochSimilarity) -> list[str]:
        names = [service_text(name) for name in row.new]
        return names[:_MOST_NEW] + ([f"{len(names) - _MOST_NEW} more"] if len(names) > _MOST_NEW else [])

    return {
        "json": orjson.dumps(data).decode(), "epoch": "each day" if daily else "each hour",
        "column": "Day" if daily else "Hour",
        "rows": [(f"{row.start:{form}}", row.score, new(row)) for row in rows][::-1],
    }  # fmt: skip


def behaviour_chart(behaviour: DeviceBehaviour) -> dict[str, Any] | None:
    """Scores of behaviour with their limit: data for the chart, and its table; None if no epoch has a score."""
    rows = [(each, score, limit) for each in behaviour.epochs
            for score, limit in [(each.score, each.limit) if each.score is not None
                                 else (each.label_score, each.label_limit)] if score is not None]  # fmt: skip
    if not rows:
        return None
    limits = [None if limit is None else round(limit, 3) for _, _, limit in rows]
    data = {
        "x": [int(each.start.timestamp()) for each, _, _ in rows], "axis": "score", "least": 0, "most": 1,
        "series": [
            {"name": "score", "colour": "--accent", "values": [round(score, 3) for _, score, _ in rows]},
            {"name": "limit", "colour": "--muted", "values": limits},
        ],
    }  # fmt: skip
    left = [(f"{each.start:%Y-%m-%d}", score, limit, each.deviates, _outside(each)) for each, score, limit in rows]
    changes = [(f"{each.start:%Y-%m-%d}", [entry.reason for entry in each.deviations[:_MOST_NEW]])
               for each in behaviour.fingerprints if each.status == "change"]  # fmt: skip
    return {"json": orjson.dumps(data).decode(), "rows": left[::-1], "changes": changes[::-1], "label": behaviour.label,
            "deviations": sum(each.deviates for each, _, _ in rows)}  # fmt: skip


def _outside(epoch: BehaviourEpoch) -> list[str]:
    """What left the behaviour, with its share of the rest of the score."""
    lines = [f"{each.reason} ({each.share:.2f})" for each in epoch.deviations[:_MOST_OUTSIDE]]
    rest = epoch.deviations[_MOST_OUTSIDE:]
    return [*lines, f"{len(rest)} more ({sum(each.share for each in rest):.2f})"] if rest else lines


def traffic_by_hour(hours: Sequence[HourlyOctets]) -> dict[str, Any] | None:
    """Octets of a device in each hour: data for the chart, and its table, the latest first; None below two hours."""
    sums: Counter[int] = Counter()
    for each in hours:
        sums[int(each.hour.timestamp()) // HOUR_S] += round(each.octets)
    if len(sums) < 2:
        return None
    span = range(max(min(sums), max(sums) - MOST_HOURS + 1), max(sums) + 1)
    data = {
        "x": [hour * HOUR_S for hour in span],
        "series": [{"name": "both directions", "colour": "--accent", "values": [sums[hour] for hour in span]}],
    }  # fmt: skip
    rows = [(f"{datetime.fromtimestamp(hour * HOUR_S, UTC):%Y-%m-%d %H:00}", sums[hour]) for hour in span]
    return {"json": orjson.dumps(data).decode(), "rows": rows[::-1]}


def peer_tables(peers: Sequence[DevicePeer]) -> list[tuple[str, str, str, str, list[PeerRow]]]:
    """Tables of peers: id, title, hint, name of the first column, rows."""

    def row(peer: DevicePeer) -> PeerRow:
        name = peer.name or peer.network or "no name known"
        words = ", ".join(dict.fromkeys(service_words(service) for service in peer.services))
        return name, peer.scope, words, peer.octets_out, peer.octets_in, peer.last

    named = [row(peer) for peer in peers if not peer.network]
    networks = [row(peer) for peer in peers if peer.network]
    tables = [
        ("peers", "Peers by name", "octets in its latest week", "Name", named),
        ("networks", "Networks without a name", "octets in the latest hour of flows", "Network", networks),
    ]
    return [table for table in tables if table[4]]
