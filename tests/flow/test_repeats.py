"""Records that occurred in an earlier input, and sums beyond 64 bits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ethogram.fingerprint.count import merge_counts, tally
from ethogram.fingerprint.gather import Gathering
from ethogram.flow.join import Joining
from ethogram.flow.repeats import Repeats
from ethogram.pipeline.flows import collect, read_flows
from ethogram.schema import BIFLOW, FLOW

T0 = datetime(2024, 5, 1, tzinfo=UTC)
FULL = (1 << 64) - 1


def records(*changes: dict[str, object]) -> pl.DataFrame:
    rows = []
    for change in changes:
        row: dict[str, object] = dict.fromkeys(BIFLOW.names)
        row |= {"start": T0 + timedelta(seconds=0.25), "end": T0 + timedelta(seconds=1), "protocol": 6,
                "source_address": "10.0.0.5", "destination_address": "198.51.100.7", "source_port": 50000,
                "destination_port": 443, "octets": 100, "packets": 2, "reverse_octets": 300, "reverse_packets": 3,
                "end_reason": 1}  # fmt: skip
        rows.append(row | change)
    return pl.DataFrame(rows, schema=BIFLOW.schema, orient="row")


def test_only_records_of_an_earlier_input_are_counted() -> None:
    stage = Repeats()
    first = records({}, {}, {"source_port": 1}, {"start": T0, "end": T0})
    assert stage.count(first) == 0
    stage.next_input()
    later = records({}, {"octets": 101}, {"source_port": 1}, {"source_port": 2}, {"start": T0, "end": T0})
    assert stage.count(later) == 2
    stage.accounting.check()
    assert stage.accounting.corrected == {"equal to a record of an earlier input": 2}


def test_records_remembered_are_bounded() -> None:
    stage = Repeats(most=3)
    for number in range(3):
        stage.count(records(*({"source_port": 100 * number + i} for i in range(2))))
        stage.next_input()
    assert stage.count(records(*({"source_port": i} for i in (0, 1, 100, 101, 200)))) == 3


def test_a_log_given_twice_is_reported(tmp_path: Path) -> None:
    log = (
        "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\t"
        "orig_bytes\tresp_bytes\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\n"
        "1700000000.250000\tC1\t192.168.1.5\t50001\t198.51.100.7\t443\ttcp\t1.5\t600\t5000\t10\t1000\t8\t5400\n"
    )
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_text(log)
    run = read_flows([tmp_path])
    assert collect(run).height == 2
    assert run.stages["repeats"].corrected == {"equal to a record of an earlier input": 1}
    assert [report.notes for report in run.reports] == [
        [], ["1 record also in an earlier input, counted again; leave out copies"],
    ]  # fmt: skip
    run = read_flows([tmp_path / "a.log"])
    assert collect(run).height == 1
    assert "repeats" not in run.stages


# --- sums that do not fit --------------------------------------------------------------------------------------

COUNT = st.integers(0, FULL) | st.sampled_from([0, FULL, FULL - 1, 1 << 63])


@given(st.lists(st.tuples(COUNT, COUNT), min_size=1, max_size=5))
def test_joined_counts_stay_at_the_largest_number(counts: list[tuple[int, int]]) -> None:
    pieces = [
        {"start": T0 + timedelta(seconds=60 * i), "end": T0 + timedelta(seconds=60 * i + 59), "octets": there,
         "reverse_octets": back, "end_reason": 2, "raw_octets": there} for i, (there, back) in enumerate(counts)
    ]  # fmt: skip
    stage = Joining(120, 60)
    flows = stage.flows(records(*pieces), last=True)
    sums = [sum(count[way] for count in counts) for way in (0, 1)]
    assert flows.select("octets", "reverse_octets").rows() == [tuple(min(total, FULL) for total in sums)]
    assert flows["raw_octets"].to_list() == [min(sums[0], FULL)]
    over = stage.accounting.corrected["sum beyond 64 bits: the largest number"]
    assert over == sum(total > FULL for total in sums)


@given(st.lists(COUNT, min_size=1, max_size=5), st.integers(0, 5))
def test_counts_of_services_stay_at_the_largest_number(octets: list[int], cut: int) -> None:
    n = len(octets)
    flows = FLOW.conform(pl.DataFrame({
        "device": ["a"] * n, "device_address": ["a"] * n, "remote": ["r"] * n, "local_port": [1] * n,
        "remote_port": [443] * n, "protocol": [6] * n, "start": [T0] * n, "end": [T0] * n, "octets_in": [0] * n,
        "octets_out": pl.Series(octets, dtype=pl.UInt64), "packets_out": [1] * n, "packets_in": [1] * n,
        "initiator": ["device"] * n, "service_port": [443] * n, "role": ["client"] * n, "scope": ["wan"] * n,
        "answered": [True] * n, "joined": [1] * n,
    }))  # fmt: skip
    gathering = Gathering(least=4)
    gathering.add(flows)
    parts = [part for part in (flows[:cut], flows[cut:]) if part.height]
    expected = [min(sum(octets), FULL)]
    assert tally(flows)["octets_out"].to_list() == expected
    assert merge_counts(*(tally(part) for part in parts))["octets_out"].to_list() == expected
    assert gathering.counts()["octets_out"].to_list() == expected


