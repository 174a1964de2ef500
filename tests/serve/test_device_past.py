"""Peers and similarity of one device, from stored counts and segments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ethogram.pipeline.own_similarity import own_similarity
from ethogram.schema import COUNTS
from ethogram.serve import device_past
from ethogram.serve.stored_counts import StoredCounts

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def counts(*rows: tuple[int, int, str | None, int], device: str = "10.0.0.2") -> pl.DataFrame:
    """Rows of hour, TCP port, name and octets sent."""
    return COUNTS.conform(pl.DataFrame([
        {"device": device, "time": START + timedelta(hours=hour), "protocol": 6, "port": port, "role": "client",
         "scope": "wan", "answered": True, "name": name, "flows": 1, "octets_out": octets, "octets_in": 10,
         "packets_out": 1, "packets_in": 1, "duration_ms": 5}
        for hour, port, name, octets in rows
    ]).sort("device", "time", "port", "name"))  # fmt: skip


def test_each_epoch_is_compared_with_the_earlier_ones() -> None:
    same = [(24 * day, port, None, 100) for day in range(5) for port in (80, 443)]
    rows = own_similarity(counts(*same, (24 * 5, 22, None, 100)))
    assert [row.start for row in rows] == [START + DAY * day for day in range(1, 6)]
    assert [row.score for row in rows] == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert [row.earlier for row in rows] == [1, 2, 3, 4, 5]
    assert [len(row.new) for row in rows] == [0, 0, 0, 0, 1]
    assert rows[-1].new[0].startswith("TCP/22")


def test_a_young_device_is_compared_by_hours() -> None:
    epoch_s, rows = device_past.similarity(counts((0, 80, None, 1), (1, 80, None, 1), (2, 443, None, 1)))
    assert (epoch_s, [row.score for row in rows]) == (3600, [1.0, 0.0])
    assert device_past.similarity(counts((0, 80, None, 1), (24, 80, None, 1), (48, 80, None, 1)))[0] == 86_400
    assert device_past.similarity(COUNTS.empty()) == (86_400, [])


def test_peers_are_named_summed_and_ordered_by_octets() -> None:
    peers = device_past.peers_by_name(counts(
        (0, 443, "small.example", 5), (1, 443, "big.example", 900), (2, 80, "big.example", 100), (3, 123, None, 7),
    ))  # fmt: skip
    assert [(peer.name, peer.octets_out, peer.flows) for peer in peers] == [
        ("big.example", 1000, 2), ("", 7, 1), ("small.example", 5, 1),
    ]  # fmt: skip
    assert peers[0].services == ("TCP/443", "TCP/80")
    assert (peers[0].first, peers[0].last) == (START + timedelta(hours=1), START + timedelta(hours=2))


def test_counts_of_all_names_of_a_device_are_one(tmp_path: Path) -> None:
    stored = StoredCounts(tmp_path, ["collector", "watched"])
    facts = stored.by_source["collector"]
    facts.write(counts((0, 443, "a.example", 5)), 1, 1)
    facts.write(counts((0, 443, "a.example", 6), device="10.0.0.9"), 2, 2)
    facts.write(counts((0, 443, "a.example", 1), device="10.0.0.7"), 3, 3)
    stored.by_source["watched"].write(counts((0, 443, "a.example", 100)), 1, 1)
    read = stored.of_names(["10.0.0.2", "10.0.0.9"], START)
    assert read.select("octets_out", "flows").rows() == [(111, 3)]
    assert stored.of_names(["10.0.0.1"], START).height == 0


def test_networks_of_what_has_no_name(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"device": "10.0.0.2", "remote": remote, "remote_domain": name, "scope": "wan", "protocol": 17,
         "service_port": 123, "octets_out": octets, "octets_in": 0, "start": START, "end": START}
        for remote, name, octets in (("203.0.113.9", None, 10), ("203.0.113.77", None, 5),
                                     ("2001:db8:1:2::3", None, 40), ("198.51.100.1", "a.example", 99))
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(tmp_path / "20260301T000000Z-00000001.parquet")
    (tmp_path / "20260301T000100Z-00000002.parquet").write_bytes(b"damaged")
    peers = device_past.peers_by_network(tmp_path, ["10.0.0.2"])
    assert [(peer.network, peer.octets_out, peer.flows, peer.services) for peer in peers] == [
        ("2001:db8:1::/48", 40, 1, ("UDP/123",)), ("203.0.113.0/24", 15, 2, ("UDP/123",)),
    ]  # fmt: skip
    assert device_past.peers_by_network(tmp_path, ["10.0.0.3"]) == []
    assert device_past.peers_by_network(tmp_path / "missing", ["10.0.0.2"]) == []


def test_a_day_is_scored_by_the_fingerprints_before_it() -> None:
    usual = [(24 * day + hour, 443, "example.com", 900) for day in range(9) for hour in range(24)]
    rows = counts(*usual, *[(24 * 8 + hour, 23, None, 5000) for hour in range(3)])
    found = device_past.behaviour(rows, "10.0.0.2", "", START + DAY * 9)
    assert [each.status for each in found.fingerprints] == ["converged"]
    assert [each.score for each in found.epochs] == [None] * 4 + [1.0] * 4 + [found.epochs[8].score]
    last = found.epochs[-1]
    assert last.deviates
    assert last.score is not None
    assert sum(each.share for each in last.deviations) == pytest.approx(1 - last.score)
    assert [(each.subject, each.change) for each in last.deviations[:2]] == [("TCP/23 client wan", "appeared")] * 2
    assert {each.subject for each in last.deviations[2:]} == {"00:00", "01:00", "02:00"}
    assert last.reason.startswith("Telnet from the device: 15 kB, before never")


def test_of_a_day_that_is_not_over_nothing_is_missing() -> None:
    usual = [(24 * day + hour, 443, "example.com", 900) for day in range(8) for hour in range(24)]
    begun = counts(*usual, (24 * 8, 443, "example.com", 900))
    assert device_past.behaviour(begun, "10.0.0.2", "", START + DAY * 8 + timedelta(hours=1)).epochs[-1].score == 1.0
    ended = device_past.behaviour(begun, "10.0.0.2", "", START + DAY * 9).epochs[-1]
    assert ended.deviates
    assert {each.change for each in ended.deviations} == {"vanished", "shrank"}


def test_a_new_device_is_scored_by_its_label() -> None:
    usual = [(24 * day + hour, 443, "example.com", 900) for day in range(8) for hour in range(24)]
    joined = [(24 * 7 + hour, port, name, 900) for hour in range(24)
              for port, name in ((443, "example.com"), (23, None))]  # fmt: skip
    rows = COUNTS.conform(pl.concat([
        counts(*usual, device="a"), counts(*usual, device="b"), counts(*joined, device="c"),
    ]))  # fmt: skip
    found = device_past.behaviour(rows, "c", "acme plug", START + DAY * 8).epochs[0]
    assert (found.score, found.deviates) == (None, True)
    assert found.deviations[0].subject == "TCP/23 client wan"
    assert device_past.behaviour(rows, "c", "", START + DAY * 8).epochs[0].label_score is None
