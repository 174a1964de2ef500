"""The published layout, built here column by column, gives the vectors that the same packets give."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import custom_flow_twin as twin
from custom_flow_twin import MINUTE, P
from ethogram.config import CustomFlowSettings
from ethogram.errors import InputError
from ethogram.representation.published import is_published, published_flows
from ethogram.representation.vector import expand
from ethogram.schema import Accounting, CustomFlows

S = 1_000_000_000
OURS = CustomFlowSettings()
NAN = float("nan")

PACKETS = [
    P(S, payload=b"hello"), P(2 * S), P(3 * S, payload=bytes(1400)),
    P(4 * S, source_port=1, protocol=17, payload=b"\xff"),
    *(P(5 * S + i, source_port=2, payload=bytes([i])) for i in range(13)),
    *(P(6 * S + i, source_port=3, payload=bytes([i]) * 1000) for i in range(4)),
    P(MINUTE + 7 * S, destination="8.8.8.8"),
]  # fmt: skip


def table(records: list[twin.Record], *, packets: int = 10, padding: float = -1, **replaced: list[object]) -> pa.Table:
    """The published layout of some records; an eleventh packet has its payload wrapped too."""
    columns: dict[str, list[object]] = {
        "Device": ["camera"] * len(records),
        "FirstSeen": [r.start / S for r in records],
        "RemIP": [r.destination for r in records],
        "Proto": [r.protocol for r in records],
        "DevPort": [r.source_port for r in records],
        "RemPort": [r.destination_port for r in records],
        "TotalFlowSize": [sum(p[1] for p in r.packets) for r in records],
        "PacketCount": [len(r.packets) for r in records],
    }
    for k in range(packets):
        for name, of in (
            ("TO", lambda r, p: (p[0] - r.start) / S),
            ("PS", lambda r, p: p[1]),
            ("D", lambda r, p: p[2]),
        ):
            values = [float(of(r, r.packets[k])) if k < len(r.packets) else padding for r in records]
            columns[f"P{k:02d}_{name}"] = list(values)
    marks = {1: -4, 2: -8}
    payloads = [twin.symbols(r, OURS.model_copy(update={"packets": packets})) for r in records]
    for i in range(3000):
        columns[f"C_{i:03d}"] = [float(marks.get(p[i], p[i] - 3)) if i < len(p) else padding for p in payloads]
    return pa.table(columns | replaced)


def records() -> list[twin.Record]:
    return twin.meter(PACKETS, OURS)[0]


def read(folder: Path, made: pa.Table) -> tuple[CustomFlows, Accounting]:
    path = folder / "day.parquet"
    pq.write_table(made, path, row_group_size=2)
    accounting = Accounting("custom flows")
    flows = CustomFlows.concat(list(published_flows(path, accounting)))
    accounting.check()
    assert accounting.read == made.num_rows
    return flows, accounting


@pytest.mark.parametrize("packets", [10, 11])
@pytest.mark.parametrize("padding", [-1.0, NAN, -2.0])
def test_the_same_packets_give_the_same_vectors(tmp_path: Path, packets: int, padding: float) -> None:
    flows, accounting = read(tmp_path, table(records(), packets=packets, padding=padding))
    expected = np.array([twin.vector(r, OURS) for r in records()], np.float32)
    np.testing.assert_allclose(expand(flows), expected, rtol=1e-6)
    assert flows.start_us.tolist() == [r.start // 1000 for r in records()]
    assert set(flows.device) == {"camera"}
    assert accounting.used == len(records()) == 5
    assert dict(accounting.corrected) == ({"an eleventh packet left out": 1} if packets == 11 else {})


def test_integer_and_nullable_columns(tmp_path: Path) -> None:
    made = table(records())
    whole = [
        pa.array([None if v < 0 and v not in (-4, -8) else int(v) for v in column.to_pylist()], pa.int16())
        if name.startswith("C_")
        else column
        for name, column in zip(made.column_names, made.columns, strict=True)
    ]
    flows, _ = read(tmp_path, pa.table(whole, names=made.column_names))
    np.testing.assert_array_equal(expand(flows), expand(read(tmp_path, made)[0]))


@pytest.mark.parametrize(
    "times", [[1.5e9, 1.5e9 + 1], [1.5e12, 1.5e12 + 1000], [1.5e15, 1.5e15 + 1e6], [1.5e18, 1.5e18 + 1e9],
              ["2017-07-14T02:40:00", "2017-07-14 02:40:01"], ["1500000000.0", "1500000001"]],
)  # fmt: skip
def test_time_notations(tmp_path: Path, times: list[object]) -> None:
    flows, _ = read(tmp_path, table(records()[:2], FirstSeen=times))
    assert flows.start_us.tolist() == [1_500_000_000_000_000, 1_500_000_001_000_000]


def test_timestamps_names_of_protocols_and_numbers_of_addresses(tmp_path: Path) -> None:
    made = table(records()[:2], Proto=["TCP", "17"], RemIP=[int(ip_address("8.8.4.4")), int(ip_address("10.0.0.1"))])
    times = pa.array([1_500_000_000_000, 1_500_000_001_000], pa.timestamp("ms"))
    flows, _ = read(tmp_path, made.set_column(1, "FirstSeen", times))
    assert flows.start_us.tolist() == [1_500_000_000_000_000, 1_500_000_001_000_000]
    assert flows.protocol.tolist() == [6, 17]
    assert flows.remote.tolist() == [0x08080404, 0]


def test_rows_that_cannot_be_used_are_dropped_by_reason(tmp_path: Path) -> None:
    made = table(
        records(),
        Device=["a", None, "c", "d", "e"],
        RemIP=["8.8.8.8", "8.8.8.8", "2001:db8::1", "1.2.3.4", "5.6.7.8"],
        DevPort=[1, 2, 3, 70000, 5],
        C_001=[0.0, 0.0, 0.0, 0.0, 300.0],
    )
    flows, accounting = read(tmp_path, made)
    assert flows.device.to_list() == ["a"]
    assert accounting.dropped == {"no Device": 1, "no RemIP": 1, "no DevPort": 1, "a symbol above 255": 1}
    made = table(records()[:1], P00_TO=[-1.0])
    assert read(tmp_path, made)[1].dropped == {"no packet": 1}


def test_inconsistent_marks_are_counted(tmp_path: Path) -> None:
    made = table(records()[-1:], C_000=[65.0], C_001=[66.0], C_002=[-8.0], C_003=[-4.0], C_004=[67.0], C_005=[-8.0])
    flows, accounting = read(tmp_path, made)
    assert bytes(flows.payload) == b"AB"
    assert flows.payload_octets.tolist() == [2]
    assert accounting.corrected == {"payload marks that do not fit the packets": 1}


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert is_published(table(records()[:1]).column_names)
    with pytest.raises(InputError, match="not the published layout: no column RemPort, C_2999"):
        read(tmp_path, table(records()[:1]).drop_columns(["RemPort", "C_2999"]))
    path = tmp_path / "no.parquet"
    path.write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(InputError, match=r"no\.parquet: damaged Parquet file"):
        list(published_flows(path, Accounting("custom flows")))
