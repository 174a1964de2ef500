"""``ethogram vectors --packets-output``: packets of both directions on disk, and messages when there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

import custom_flow_twin as twin
from custom_flow_twin import MINUTE, P
from ethogram.cli import main
from ethogram.config import CaptureSettings, CustomFlowSettings, PacketFlowSettings
from ethogram.errors import ConfigurationError, InputError
from ethogram.pipeline.packet_files import KEY, PacketFile, load_packets
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.vector_files import load_vectors
from ethogram.pipeline.vectors import collect_pairs, collect_vectors, read_vectors, write_vectors
from ethogram.schema import PACKET_FLOW, CustomFlows, PacketFlows

S = 1_000_000_000
T = 1_556_668_800 * S
OUT = P(T, payload=b"hello")
PACKETS = [
    OUT.back(T - 1), OUT, OUT.back(T + 1000, payload=b"world"), P(T + 2 * S, source="192.168.1.9", payload=b"x" * 500),
    P(T + 3 * S, version=6), replace(OUT, time_ns=T + MINUTE), OUT.back(T + MINUTE + S),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "day.pcap").write_bytes(twin.capture(PACKETS))
    (tmp_path / "devices.csv").write_text("device,mac,ip\ncamera,,192.168.1.7\n")
    return tmp_path


def call(*arguments: object) -> int:
    return main(["vectors", *(str(argument) for argument in arguments)])


def same(a: CustomFlows | PacketFlows, b: CustomFlows | PacketFlows) -> None:
    for name, value in vars(a).items():
        if name == "device":
            assert value.to_list() == getattr(b, name).to_list()
        else:
            np.testing.assert_array_equal(value, getattr(b, name), name)


def test_both_files_have_the_same_rows(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, beside = home / "v.parquet", home / "p.parquet"
    options = ["--packets-output", beside, "--devices", home / "devices.csv", "--devices-only", "--json"]
    assert call(home / "day.pcap", "-o", out, *options) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert (report["rows"], report["beside"]) == (2, str(beside))
    assert report["stages"]["packets of both directions"] == {
        "unit": "packets", "read": 6, "used": 5, "ignored": {"received before the device sent": 1}, "dropped": {},
        "corrected": {},
    }  # fmt: skip
    flows = load_vectors([out])
    packets = load_packets(beside, flows)
    assert (len(flows), packets.packet_out.tolist(), packets.packet_offset_us.tolist()) == (
        2, [1, 0, 1, 0], [0, 1, 0, 1_000_000]
    )  # fmt: skip
    assert packets.first_packet.tolist() == [0, 2, 4]
    assert bytes(packets.data[: packets.first_octet[2]]) == PACKETS[1].internet() + PACKETS[2].internet()
    assert call(home / "day.pcap", "-o", home / "w.parquet", "--devices", home / "devices.csv", "--devices-only") == 0
    same(load_vectors([home / "w.parquet"]), flows)
    call(home / "day.pcap", "-o", out, "--packets-output", beside)
    assert f"packets of both directions written to {beside}" in capsys.readouterr().err


def test_flows_of_some_time_keep_their_packets(home: Path) -> None:
    out, beside = home / "v.parquet", home / "p.parquet"
    assert call(home / "day.pcap", "-o", out, "--packets-output", beside, "--from", "2019-05-01T00:00:01Z") == 0
    flows = load_vectors([out])
    assert load_packets(beside, flows).packet_octets.tolist() == [540, 45, 40]


def test_batches_are_the_same_in_any_size(home: Path) -> None:
    run = read_vectors([home / "day.pcap"], packets=PacketFlowSettings())
    flows, packets = collect_pairs(run)
    small = CustomFlowSettings(block_flows=1)
    first = list(read_vectors([home / "day.pcap"], packets=PacketFlowSettings(), settings=small).pairs())
    assert [(len(a), len(b)) for a, b in first] == [(1, 1)] * 3
    same(PacketFlows.concat([b for _, b in first]), packets)
    same(collect_vectors(read_vectors([home / "day.pcap"])), flows)
    packets.check_beside(flows)


def test_what_cannot_be_is_said(home: Path) -> None:
    out, beside = home / "v.parquet", home / "p.parquet"
    capture, packets = home / "day.pcap", PacketFlowSettings()
    with pytest.raises(ConfigurationError, match="direction"):
        read_vectors([capture], packets=packets, settings=CustomFlowSettings(direction="bidirectional"))
    for wrong in (lambda run: next(run.pairs()), lambda run: write_vectors(run, out, beside)):
        with pytest.raises(ConfigurationError, match="not asked for"):
            wrong(read_vectors([capture]))
    assert call(capture, "-o", out, "--packets-output", home / "nowhere" / "p.parquet") == 3
    assert call(capture, "-o", out, "--packets-output", beside, "--direction", "bidirectional") == 5
    assert call(capture, "-o", out) == 0
    with pytest.raises(InputError, match=r"v.parquet.*packets need a capture"):
        read_vectors([out], packets=packets)
    with pytest.raises(InputError, match="no custom flow of a device"):
        run = read_vectors([capture], ReadOptions(_nobody(home), devices_only=True), packets=packets)
        write_vectors(run, out, beside)
    assert not beside.exists()
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []


def _nobody(home: Path) -> Path:
    (home / "nobody.csv").write_text("device,mac,ip\nghost,,192.168.77.7\n")
    return home / "nobody.csv"


def test_a_wrong_file_of_packets_is_said(home: Path) -> None:
    out, beside = home / "v.parquet", home / "p.parquet"
    write_vectors(read_vectors([home / "day.pcap"], packets=PacketFlowSettings()), out, beside)
    flows = load_vectors([out])
    table = pq.read_table(beside)
    document = {**orjson.loads(table.schema.metadata[KEY]), "format": "ethogram.packet-flows/9"}
    wrong = {
        "no such file": None,
        "not a readable Parquet file": beside.read_bytes()[:-9],
        "no packet_flow table: no column ip_octets": out.read_bytes(),
        "no readable metadata": table.replace_schema_metadata(None),
        "ethogram.packet-flows/9": table.replace_schema_metadata({KEY: orjson.dumps(document)}),
        "damaged Parquet file": _damaged(beside.read_bytes()),
        "packets of 2 flows beside 3": table.slice(1),
        "of another flow": table.take([1, 0, 2]),
    }
    path = home / "wrong.parquet"
    for reason, content in wrong.items():
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            pq.write_table(content, path)
        with pytest.raises(InputError, match=reason) as raised:
            load_packets(path, flows)
        assert "wrong.parquet" in str(raised.value) and "\n" not in str(raised.value)
    assert PacketFile(beside).settings == PacketFlowSettings().model_dump(mode="json")
    assert pq.read_schema(beside).names == PACKET_FLOW.names


def _damaged(octets: bytes) -> bytes:
    """The first page's octets are others."""
    return octets[:4] + bytes(40) + octets[44:]


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")
def test_custom_flows_of_real_traffic_are_the_same_with_packets_and_without(corpus: Path) -> None:
    stevens = sorted((corpus / "stevens_lsif_2019").glob("*/*.zip"), key=lambda path: path.stat().st_size)[:4]
    aalto = sorted((corpus / "aalto_iot_sentinel_2016").glob("**/*.pcap"))[::4]
    assert len(stevens) == 4 and len(aalto) > 20
    for paths in (stevens, aalto):
        with_packets = read_vectors(paths, packets=PacketFlowSettings(), capture=CaptureSettings())
        flows, packets = collect_pairs(with_packets)
        run = read_vectors(paths)
        same(collect_vectors(run), flows)
        packets.check_beside(flows)
        stages = with_packets.stages
        beside = stages.pop("packets of both directions")
        beside.check()
        assert beside.used >= packets.packet_out.size > int(flows.packets.clip(0, 10).sum())
        assert {name: stage.as_dict() for name, stage in run.stages.items()} == {
            name: stage.as_dict() for name, stage in stages.items()
        }
        version = packets.data[packets.first_octet[:-1]] >> 4
        assert (version == 4).all()
        # What a header says of itself is what stands beside it.
        cells, there = packets.cells(72, 20, part="ip")
        total = cells[:, :, 2].astype(np.int64) << 8 | cells[:, :, 3]
        told = total[there == 20]
        assert told.size == packets.packet_octets.size
        assert (told == packets.packet_octets)[told > 0].all()  # 0 where left to the network card
