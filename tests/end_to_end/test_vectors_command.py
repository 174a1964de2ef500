"""``ethogram vectors`` as a user calls it."""

from __future__ import annotations

import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import custom_flow_twin as twin
from custom_flow_twin import MINUTE, P
from ethogram.cli import main
from ethogram.config import CustomFlowSettings
from ethogram.errors import InputError
from ethogram.pipeline.vector_files import KEY, VectorFile, load_vectors
from ethogram.pipeline.vectors import collect_vectors, read_vectors
from ethogram.representation.vector import expand
from ethogram.schema import CUSTOM_FLOW
from flow_records import TEXTS

S = 1_000_000_000
T = 1_556_668_800 * S
CAMERA, HUB = "192.168.1.7", "192.168.1.8"
OUT = P(T, payload=b"hello")
LAN = P(T + S, source=CAMERA, destination=HUB, source_port=5, destination_port=6, protocol=17, payload=b"lan",
        destination_mac="02:00:00:00:00:08")  # fmt: skip
PACKETS = [
    OUT, OUT.back(T + 1, payload=b"world"), LAN, LAN.back(T + 2 * S), replace(OUT, time_ns=T + MINUTE),
    P(T + 3 * S, version=6), P(T + 4 * S, protocol=1), P(T + 5 * S, source="203.0.113.5", destination="203.0.113.6"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "day.pcap").write_bytes(twin.capture(sorted(PACKETS, key=lambda p: p.time_ns)))
    (tmp_path / "devices.csv").write_text("device,mac,ip\ncamera,02:00:00:00:00:07,\nhub,,192.168.1.8\n")
    return tmp_path


def call(*arguments: object) -> int:
    return main(["vectors", *(str(argument) for argument in arguments)])


def test_outgoing_flows_and_the_report(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "v.parquet"
    assert call(home / "day.pcap", "-o", out, "--devices", home / "devices.csv", "--json") == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["rows"] == 4
    assert report["stages"]["meter"] == {
        "unit": "packets", "read": 8, "used": 4, "dropped": {}, "corrected": {},
        "ignored": {"ipv6": 1, "other protocol": 1, "sent from outside": 2},
    }  # fmt: skip
    assert report["stages"]["device"] == {
        "unit": "packets", "read": 4, "used": 4, "ignored": {}, "dropped": {}, "corrected": {},
    }  # fmt: skip
    [given] = report["inputs"]
    assert (given["format"], given["accounting"]["read"], given["accounting"]["used"]) == ("capture", 8, 8)
    frame = pl.read_parquet(out)
    assert frame.columns == CUSTOM_FLOW.names
    assert frame.select("device", "remote", "packets", "payload").rows() == [
        ("camera", 0xC6336409, 1, b"hello"), ("camera", 0, 1, b"lan"), ("hub", 0, 1, b""),
        ("camera", 0xC6336409, 1, b"hello"),
    ]  # fmt: skip
    header = orjson.loads(pq.read_schema(out).metadata[KEY])
    assert (header["format"], header["scaling"], header["direction"]) == ("ethogram.custom-flows/1", "1", "outgoing")
    assert header["settings"] == CustomFlowSettings().model_dump(mode="json")


def test_bidirectional_flows_between_devices_are_mirrored(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "v.parquet"
    options = ("--direction", "bidirectional", "--devices", home / "devices.csv")
    assert call(home / "day.pcap", "-o", out, *options) == 0
    result = capsys.readouterr().err
    assert "corrected (between two devices: a record for each 1)" in result
    assert "4 bidirectional custom flows written" in result
    flows = load_vectors([out])
    rows = flows.frame().select("device", "remote_port", "device_port", "packet_out", "packets").rows()
    assert rows == [
        ("camera", 443, 50000, [1, 0], 2), ("camera", 6, 5, [1, 0], 2), ("hub", 5, 6, [0, 1], 2),
        ("camera", 443, 50000, [1], 1),
    ]  # fmt: skip
    changed = CustomFlowSettings(direction="bidirectional")
    records = twin.meter(sorted(PACKETS, key=lambda p: p.time_ns), changed)[0]
    expected = [(records[0], False), (records[1], False), (records[1], True), (records[3], False)]
    plain = np.array([twin.vector(record, changed, reverse=reverse) for record, reverse in expected], np.float32)
    np.testing.assert_allclose(expand(flows), plain, rtol=1e-6)


def test_without_a_device_file_every_address_inside_is_a_device(home: Path) -> None:
    out = home / "v.parquet"
    assert call(home / "day.pcap", "-o", out) == 0
    assert set(load_vectors([out]).device) == {"02:00:00:00:00:07", "02:00:00:00:00:08"}
    assert call(home / "day.pcap", "-o", out, "--local", "203.0.113.5/32", "--private", "203.0.113.0/24") == 0
    [row] = load_vectors([out]).frame().select("device", "remote").rows()
    assert row[1] == 0


def test_what_others_inside_sent_is_told_apart(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "one.csv").write_text("device,ip\nhub,192.168.1.8\nfar,203.0.113.5\n")
    assert call(home / "day.pcap", "-o", home / "v.parquet", "--devices", home / "one.csv", "--devices-only",
                "--json") == 0  # fmt: skip
    report = orjson.loads(capsys.readouterr().out)
    assert report["stages"]["meter"]["ignored"] == {"ipv6": 1, "other protocol": 1, "sent from outside": 1}
    assert report["stages"]["device"]["ignored"] == {"no device": 2, "received, not sent, by a device": 1}
    assert load_vectors([home / "v.parquet"]).device.to_list() == ["hub", "far"]


def test_blocks_and_kinds_of_file_make_no_difference(home: Path) -> None:
    capture = (home / "day.pcap").read_bytes()
    (home / "day.pcap.gz").write_bytes(gzip.compress(capture))
    with zipfile.ZipFile(home / "day.zip", "w") as packed:
        packed.writestr("day.pcap", capture)
    whole = collect_vectors(read_vectors([home / "day.pcap"]))
    for name in ("day.pcap.gz", "day.zip"):
        assert collect_vectors(read_vectors([home / name])).frame().equals(whole.frame())
    for block in (1, 3):
        settings = CustomFlowSettings(block_flows=block)
        run = read_vectors([home / "day.pcap"], settings=settings)
        assert collect_vectors(run).frame().equals(whole.frame())


def test_inputs_are_streams_of_their_own_and_folders_may_hold_other_files(home: Path) -> None:
    (home / "more").mkdir()
    for name in ("a.pcap", "b.pcap"):
        (home / "more" / name).write_bytes((home / "day.pcap").read_bytes())
    (home / "more" / "notes.txt").write_text("nothing of interest")
    (home / "more" / "conn.log").write_bytes(TEXTS["zeek tsv"][1])
    run = read_vectors([home / "more"])
    assert len(collect_vectors(run)) == 2 * len(collect_vectors(read_vectors([home / "day.pcap"])))
    assert [name.rsplit("/", 1)[1] for name, _ in run.skipped] == ["conn.log", "notes.txt"]
    assert "custom flows need the packets of a capture" in run.skipped[0][1]


def test_files_of_custom_flows_are_joined_and_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, both = home / "one.parquet", home / "two.parquet", home / "both.parquet"
    assert call(home / "day.pcap", "-o", one) == 0
    assert call(one, home / "day.pcap", "-o", two) == 0
    assert len(load_vectors([two])) == 2 * len(load_vectors([one]))
    assert call(home / "day.pcap", "-o", both, "--direction", "bidirectional") == 0
    assert call(one, both, "-o", two) == 3
    assert "bidirectional flows, but outgoing ones are asked for" in capsys.readouterr().err


def test_the_published_layout_becomes_ours(home: Path) -> None:
    names = ["P{:02d}_TO", "P{:02d}_PS", "P{:02d}_D"]
    row: dict[str, object] = {
        "Device": "plug", "FirstSeen": 1.5e9, "RemIP": "8.8.8.8", "Proto": 6, "DevPort": 1, "RemPort": 2,
        "TotalFlowSize": 45, "PacketCount": 1, **{name.format(k): -1.0 for k in range(10) for name in names},
        **{f"C_{i:03d}": -1 for i in range(3000)}, "P00_TO": 0.0, "P00_PS": 45.0, "P00_D": 1.0, "C_000": -4,
        "C_001": 7, "C_002": -8,
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row]), home / "day1.parquet")
    assert call(home / "day1.parquet", "-o", home / "v.parquet") == 0
    flows = load_vectors([home / "v.parquet"])
    assert (flows.device.to_list(), bytes(flows.payload), flows.packet_out.tolist()) == (["plug"], b"\x07", [1])
    assert load_vectors([home / "day1.parquet"]).frame().equals(flows.frame())


def test_bad_input_is_one_line_and_a_code(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "v.parquet"

    def fails(code: int, *arguments: object) -> str:
        assert call(*arguments, "-o", out) == code
        assert not out.exists()
        [line] = capsys.readouterr().err.splitlines()
        return line

    def made(name: str, packets: list[P]) -> Path:
        (home / name).write_bytes(twin.capture(packets))
        return home / name

    empty = home / "empty.pcap"
    empty.write_bytes(b"")
    assert "empty.pcap: empty file" in fails(3, empty)
    assert "none.pcap: no packets" in fails(3, made("none.pcap", []))
    line = fails(3, made("six.pcap", [P(T, version=6)] * 4))
    assert "six.pcap: no custom flow of a device: 4 packets read = 0 used + 4 ignored (ipv6 4)" in line
    line = fails(3, made("away.pcap", [P(T, source="203.0.113.5")]))
    assert "ignored (sent from outside 1)" in line
    assert "--local says what is inside" in line
    (home / "conn.log").write_bytes(TEXTS["zeek tsv"][1])
    assert "flow records (zeek): custom flows need the packets of a capture" in fails(3, home / "conn.log")
    (home / "x.parquet").write_bytes(b"PAR1broken")
    assert "x.parquet: not a readable Parquet file" in fails(3, home / "x.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(home / "other.parquet")
    assert "no custom_flow table: no column device" in fails(3, home / "other.parquet")
    assert "no such file" in fails(3, home / "gone.pcap")
    assert "setting direction" in fails(5, home / "day.pcap", "--direction", "in")
    assert "setting private: 'x' is no prefix" in fails(5, home / "day.pcap", "--private", "x")
    assert "setting packets" in fails(5, home / "day.pcap", "--packets", "11")


def test_headers_alone_give_flows_without_payload_which_is_counted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packets = [P(T, payload=b"x" * 500, captured=0), P(T + 1, payload=b"y", captured=0)]
    (home / "headers.pcap").write_bytes(twin.capture(packets))
    assert call(home / "headers.pcap", "-o", home / "v.parquet") == 0
    assert "payload not captured whole 2" in capsys.readouterr().err
    flows = load_vectors([home / "v.parquet"])
    assert flows.packet_octets.tolist() == [540, 41]
    assert not len(flows.payload)


def test_a_capture_that_is_cut_short_keeps_what_was_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (home / "day.pcap").read_bytes()
    (home / "cut.pcap").write_bytes(whole[:-5])
    assert call(home / "cut.pcap", "-o", home / "v.parquet") == 3
    assert "truncated record" in capsys.readouterr().err
    assert len(load_vectors([home / "v.parquet"])) > 0
    assert call(home / "cut.pcap", "-o", home / "w.parquet", "--strict") == 3
    assert not (home / "w.parquet").exists()


@pytest.mark.parametrize(
    ("metadata", "why"),
    [({KEY: b'{"format":"ethogram.custom-flows/1","scaling":"2"}'}, "for scaling '2', not '1'"),
     ({KEY: b'{"format":"ethogram.custom-flows/9","scaling":"1"}'}, "another form: 'ethogram.custom-flows/9'"),
     ({KEY: b"{"}, "another form: 'unreadable metadata'"), ({}, "no metadata that names form and scaling")],
)  # fmt: skip
def test_another_scaling_or_form_is_refused(home: Path, metadata: dict[bytes, bytes], why: str) -> None:
    flows = collect_vectors(read_vectors([home / "day.pcap"]))
    pq.write_table(flows.arrow().replace_schema_metadata(metadata), home / "v.parquet")
    with pytest.raises(InputError, match=why):
        VectorFile(home / "v.parquet")


def test_a_damaged_file_is_said(home: Path) -> None:
    path = home / "v.parquet"
    assert call(home / "day.pcap", "-o", path) == 0
    octets = bytearray(path.read_bytes())
    octets[20:60] = bytes(40)
    path.write_bytes(octets)
    with pytest.raises(InputError, match=r"v\.parquet: "):
        load_vectors([path])


def test_only_flows_of_some_time(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, part, again = (home / f"{name}.parquet" for name in ("whole", "part", "again"))
    devices = ("--devices", home / "devices.csv")
    assert call(home / "day.pcap", "-o", whole, *devices) == 0
    capsys.readouterr()
    span = ("--from", "2019-05-01T00:00:01", "--to", "2019-05-01T00:01:00")
    assert call(home / "day.pcap", "-o", part, *devices, *span, "--json") == 0
    starts = pl.read_parquet(whole)["start"].dt.epoch("us").to_numpy()
    stored = (starts >= T // 1000 + 1_000_000) & (starts < T // 1000 + 60_000_000)
    assert 0 < stored.sum() < len(starts)
    assert pl.read_parquet(part).equals(pl.read_parquet(whole).filter(pl.Series(stored)))
    assert orjson.loads(capsys.readouterr().out)["stages"]["time"] == {
        "unit": "flows", "read": len(starts), "used": int(stored.sum()), "dropped": {}, "corrected": {},
        "ignored": {"before --from": int((starts < T // 1000 + 1_000_000).sum()),
                    "at --to or later": int((starts >= T // 1000 + 60_000_000).sum())},
    }  # fmt: skip
    # Files of custom flows are cut alike.
    assert call(whole, "-o", again, *span) == 0
    assert pl.read_parquet(again).equals(pl.read_parquet(part))
    assert call(whole, "-o", again, "--from", "2020-01-01") == 3
    assert "no custom flow of a device" in capsys.readouterr().err
