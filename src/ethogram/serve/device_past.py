"""One device over time, from stored counts and flows: its peers, and its similarity to itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from ethogram.config import DeviationSettings
from ethogram.pipeline.deviations import score_behaviour
from ethogram.pipeline.own_similarity import EpochSimilarity, own_similarity
from ethogram.schema import DeviceBehaviour, DevicePeer, service_name
from ethogram.serve.facts import FAILURES
from ethogram.serve.segments import segments_in

__all__ = ["behaviour", "peers_by_name", "peers_by_network", "similarity"]

MOST_PEERS, MOST_SERVICES = 500, 4
MOST_SEGMENTS = 60
DAY_S, HOUR_S = 86_400, 3600


def similarity(counts: pl.DataFrame) -> tuple[int, list[EpochSimilarity]]:
    """Length of an epoch in seconds, and each epoch against the earlier ones: days, or hours of a young device."""
    if not counts.height:
        return DAY_S, []
    if counts["time"].dt.date().n_unique() > 2:
        return DAY_S, own_similarity(counts, DAY_S)
    return HOUR_S, own_similarity(counts, HOUR_S, most=48)


def behaviour(
    counts: pl.DataFrame, device: str, label: str, clock: datetime, settings: DeviationSettings | None = None
) -> DeviceBehaviour:  # fmt: skip
    """Epochs of one device against its own exported fingerprints, and those of the other devices in the counts.

    Parameters
    ----------
    counts
        Of the device and of the others of its label, by id (:data:`ethogram.schema.COUNTS`).
    device, label
        Id, and what is stated about all of them; empty: it is compared with itself alone.
    clock
        Time of the data: of an epoch that is not over, nothing is missing yet.
    """
    settings = settings or DeviationSettings()
    labels = dict.fromkeys(counts["device"].unique().to_list(), label) if label else {}
    for scored in score_behaviour(counts, settings, labels, clock):
        if scored.device == device:
            return scored
    return DeviceBehaviour(device=device, label=label, epoch_s=settings.epoch_s, fingerprints=[], epochs=[])


def _services(rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """The services with most octets by key, as a list of names."""
    sums = rows.group_by(*key, "protocol", "port").agg(octets=(pl.col("octets_out") + pl.col("octets_in")).sum())
    ordered = sums.sort("octets", "protocol", "port", descending=[True, False, False])
    return ordered.group_by(*key, maintain_order=True).agg(pl.col("protocol", "port").head(MOST_SERVICES))


def peers_by_name(counts: pl.DataFrame) -> list[DevicePeer]:
    """Other ends by name or multicast group, those with most octets first; an empty name: no name is known.

    >>> from ethogram.schema import COUNTS
    >>> peers_by_name(COUNTS.empty())
    []
    """
    if not counts.height:
        return []
    rows = counts.with_columns(pl.col("name").fill_null(""), pl.col("scope").cast(pl.String))
    key = ["name", "scope"]
    peers = rows.group_by(key).agg(
        pl.col("flows", "octets_out", "octets_in").sum(), first=pl.col("time").min(), last=pl.col("time").max()
    ).join(_services(rows, key), on=key)  # fmt: skip
    return _rows(peers, "name")


def peers_by_network(folder: Path, names: Sequence[str]) -> list[DevicePeer]:
    """Other ends without a name by network (IPv4 /24, IPv6 /48), in the latest segments of a collector."""
    paths = list(segments_in(folder).values())[-MOST_SEGMENTS:]
    wanted = pl.Series(list(names), dtype=pl.String)
    frames = []
    for path in paths:
        try:
            frames.append(
                pl.scan_parquet(path)
                .filter(pl.col("device").cast(pl.String).is_in(wanted.implode()), pl.col("remote_domain").is_null())
                .select(
                    pl.col("remote").cast(pl.String), pl.col("scope").cast(pl.String), "protocol",
                    pl.col("service_port").alias("port"), "octets_out", "octets_in", "start", "end",
                ).collect()
            )  # fmt: skip
        except FAILURES:  # removed by retention, or damaged, which the judge has counted
            continue
    if not frames or not sum(frame.height for frame in frames):
        return []
    flows = pl.concat(frames)
    remotes = flows["remote"].unique()
    networks = pl.DataFrame({"remote": remotes, "network": [_network(text) for text in remotes]})
    rows = flows.join(networks, on="remote")
    key = ["network", "scope"]
    peers = rows.group_by(key).agg(
        pl.len().alias("flows"), pl.col("octets_out", "octets_in").sum(), first=pl.col("start").min(),
        last=pl.col("end").max(),
    ).join(_services(rows, key), on=key)  # fmt: skip
    return _rows(peers, "network")


def _rows(peers: pl.DataFrame, column: str) -> list[DevicePeer]:
    ordered = peers.with_columns(octets=pl.col("octets_out") + pl.col("octets_in")).sort(
        "octets", column, descending=[True, False]
    )
    return [
        DevicePeer(
            row["name"] if column == "name" else "", row["network"] if column == "network" else "", row["scope"],
            tuple(dict.fromkeys(service_name(*each) for each in zip(row["protocol"], row["port"], strict=True))),
            row["flows"], row["octets_out"], row["octets_in"], row["first"], row["last"],
        )
        for row in ordered.head(MOST_PEERS).iter_rows(named=True)
    ]  # fmt: skip


def _network(text: str) -> str:
    """The IPv4 /24 or IPv6 /48 of an address.

    >>> _network("203.0.113.9"), _network("2001:db8:1:2::3")
    ('203.0.113.0/24', '2001:db8:1::/48')
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))
