"""Exports on disk: IPFIX files, captures of an export, recordings, raw datagrams, and their detection."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pytest
from exports import COUNTS, KEY, TIMES
from wire_messages import ONE, TWO, S, columns, data, ipfix, several, template, v5, v5_record, v9

from ethogram.config import CaptureSettings, FlowSettings, WireSettings
from ethogram.errors import InputError
from ethogram.io.capture import is_capture, open_capture
from ethogram.io.open import EXPORTS, IPFIX, Input, join_exports, open_inputs
from ethogram.io.wire import datagram_file, ipfix_file
from ethogram.io.wire import recording as recording_module
from ethogram.io.wire.build import MessageBuilder, batch, template_set
from ethogram.io.wire.build import data as data_of
from ethogram.io.wire.capture_export import CaptureExport
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.export_reader import ExportFiles, ExportReader, read_exports, read_ipfix_file
from ethogram.io.wire.ipfix_file import IpfixFile
from ethogram.io.wire.recording import Recording, is_recording, settings_of
from ethogram.io.wire.template import Field, Template
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.wire import inspect
from ethogram.schema import DatagramBatch, DatagramSource, Exporter

FOUR = [(8, 4)]
MESSAGES = [ipfix(template(256, FOUR)), *(ipfix(data(256, i)) for i in range(20))]


def flows(count: int, start: int = 0) -> list[bytes]:
    """Messages of complete flows."""
    given = [*KEY, *COUNTS, *TIMES]
    first_template = Template(10, 0, 256, tuple(Field(0, number, length) for number, length, _ in given))
    values = [np.resize(np.array(list(column)), count) for _, _, column in given]
    values[1] = values[1] + np.arange(count)
    build = MessageBuilder(10, sequence=start)
    return build.messages([template_set(first_template), data_of(first_template, values)], 1_700_000_000_000)


def payloads(source: DatagramSource) -> list[tuple[Exporter, int, bytes]]:
    result = []
    for block in source.datagrams():
        for row in range(len(block)):
            at, size = int(block.offset[row]), int(block.octets[row])
            exporter, octets = block.exporters[block.exporter[row]], bytes(block.data[at : at + size])
            result.append((exporter, int(block.arrival_ns[row]), octets))
    source.accounting.check()
    return result


def values(source: DatagramSource) -> list[int]:
    decoder = Decoder()
    result = [number for block in source.datagrams() for _, [row] in columns(decoder.decode(block)) for number in row]
    source.accounting.check()
    return result


# IPFIX files


@pytest.mark.parametrize("packed", ["plain", "gz", "zip"])
def test_an_ipfix_file_is_read_plain_or_packed(tmp_path: Path, packed: str) -> None:
    path = tmp_path / "flows.ipfix"
    octets = b"".join(MESSAGES)
    if packed == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("flows.ipfix", octets)
    else:
        path.write_bytes(gzip.compress(octets) if packed == "gz" else octets)
    for settings in (CaptureSettings(), CaptureSettings(block_octets=4096)):
        source = IpfixFile(path, settings)
        assert values(source) == list(range(20))
        assert source.accounting.used == len(MESSAGES)
    exporter, arrival_ns, first = payloads(IpfixFile(path))[0]
    assert (exporter.transport, exporter.port, arrival_ns, first) == ("file", 0, 1000 * S, MESSAGES[0])
    assert exporter.address.startswith(str(path))


def test_messages_over_the_end_of_a_block_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.ipfix"
    long = [ipfix(template(256, FOUR)), *(ipfix(data(256, *range(i, i + 9000))) for i in range(9))]
    path.write_bytes(b"".join(long))
    assert [octets for _, _, octets in payloads(IpfixFile(path, CaptureSettings(block_octets=4096)))] == long


@pytest.mark.parametrize(
    ("tail", "reason", "dropped"),
    [
        (b"\0\x0a\0", "the last message is incomplete", {"cut short": 1}),
        (ipfix(data(256, 1))[:-1], "the last message is incomplete", {"cut short": 1}),
        (b"\0\x0b" + bytes(30), "not an IPFIX message: the rest is skipped", {"no message": 1}),
        (struct.pack(">HH", 10, 15) + bytes(30), "not an IPFIX message: the rest is skipped", {"no message": 1}),
    ],
)
def test_what_came_before_damage_is_kept(tmp_path: Path, tail: bytes, reason: str, dropped: dict[str, int]) -> None:
    path = tmp_path / "flows.ipfix"
    sound = b"".join(MESSAGES)
    path.write_bytes(sound + tail)
    source = IpfixFile(path)
    result: list[bytes] = []
    with pytest.raises(InputError, match=reason) as raised:
        result += [bytes(block.data) for block in source.datagrams()]
    assert raised.value.offset == len(sound) and raised.value.file == str(path)
    assert source.accounting.dropped == dropped and source.accounting.used == len(MESSAGES)
    source.accounting.check()


def test_a_packed_file_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "flows.ipfix.gz"
    noise = np.random.default_rng(1).bytes(8000)
    octets = b"".join([*MESSAGES, ipfix(template(300, [(8, 1)]), data(300, *noise, octets=1))])
    path.write_bytes(gzip.compress(octets)[:-4000])
    source = IpfixFile(path)
    with pytest.raises(InputError, match="the compressed file is truncated"):
        list(source.datagrams())
    assert source.accounting.used == len(MESSAGES) and source.accounting.dropped == {"cut short": 1}


# Captures


def udp(source: str, payload: bytes, *, port: int = 4739, length: int | None = None,
        fragments: Sequence[int] = (), protocol: int = 17, number: int = 1) -> list[bytes]:  # fmt: skip
    """IP packets of a datagram, fragmented at these offsets of the IP payload."""
    body = struct.pack(">HHHH", port, 2055, 8 + len(payload) if length is None else length, 0) + payload
    a = ip_address(source)
    b = ip_address("192.0.2.99" if a.version == 4 else "2001:db8::99")
    edges = [0, *fragments, len(body)]
    packets = []
    for begin, end in pairwise(edges):
        part, more = body[begin:end], end < len(body)
        if a.version == 4:
            word = begin // 8 | (0x2000 if more else 0)
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(part), number, word, 64, protocol, 0)
        else:
            extension = struct.pack(">BBHI", protocol, 0, begin | more, number) if fragments else b""
            head = struct.pack(">IHBB", 6 << 28, len(part) + len(extension), 44 if fragments else protocol, 64)
            part = extension + part
        packets.append(head + a.packed + b.packed + part)
    return packets


def capture(path: Path, packets: Sequence[bytes], *, snap: int = 65535) -> Path:
    out = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snap, 101)
    for number, packet in enumerate(packets):
        out += struct.pack("<IIII", 1000 + number, 5, min(len(packet), snap), len(packet)) + packet[:snap]
    path.write_bytes(out)
    return path


def test_messages_of_a_capture_on_any_port(tmp_path: Path) -> None:
    packets = [
        *udp("192.0.2.1", MESSAGES[0], port=1), *udp("192.0.2.1", MESSAGES[1], port=2),
        *udp("2001:db8::1", v5([v5_record(5)])), *udp("192.0.2.1", b"GET / HTTP/1.1\r\n\r\n"),
        *udp("192.0.2.1", MESSAGES[1], protocol=6),
        *udp("192.0.2.1", MESSAGES[2] + b"pad", length=8 + len(MESSAGES[2])),
        *udp("192.0.2.1", MESSAGES[3], length=0), *udp("192.0.2.1", b"\0\x09abcdefghijklmnopqrstuvwxyz"),
    ]  # fmt: skip
    source = CaptureExport(capture(tmp_path / "x.pcap", packets))
    assert payloads(source) == [
        (Exporter("192.0.2.1", 1), 1000 * S + 5, MESSAGES[0]), (Exporter("192.0.2.1", 2), 1001 * S + 5, MESSAGES[1]),
        (Exporter("2001:db8::1", 4739), 1002 * S + 5, v5([v5_record(5)])),
        (Exporter("192.0.2.1", 4739), 1005 * S + 5, MESSAGES[2]),
        (Exporter("192.0.2.1", 4739), 1006 * S + 5, MESSAGES[3]),
    ]  # fmt: skip
    assert source.accounting.as_dict() == {
        "unit": "packets", "read": 8, "used": 5, "ignored": {"not UDP": 1, "not an export message": 2}, "dropped": {},
        "corrected": {},
    }  # fmt: skip


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_datagram_in_fragments_is_put_together_in_any_order(tmp_path: Path, address: str) -> None:
    long = ipfix(template(256, FOUR), data(256, *range(900)))
    other = ipfix(template(256, FOUR), data(256, *range(500, 900)))
    a = udp(address, long, fragments=[1480, 2960], number=7)
    b = udp(address, other, fragments=[800], number=8)
    order = [a[2], b[1], a[0], *udp(address, MESSAGES[0]), a[1], b[0]]
    source = CaptureExport(capture(tmp_path / "x.pcap", order))
    assert [octets for _, _, octets in payloads(source)] == [MESSAGES[0], long, other]
    assert source.accounting.ignored == {"further fragments of a message": 3} and source.accounting.used == 3


def test_fragments_without_the_others_are_counted(tmp_path: Path) -> None:
    long = udp("192.0.2.1", ipfix(template(256, FOUR), data(256, *range(900))), fragments=[1480, 2960])
    source = CaptureExport(capture(tmp_path / "x.pcap", [long[0], long[2], *udp("192.0.2.1", MESSAGES[0])]))
    assert len(payloads(source)) == 1
    assert source.accounting.dropped == {"fragments of incomplete datagrams": 2}


def test_what_the_capture_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = capture(tmp_path / "x.pcap", udp("192.0.2.1", v5([v5_record(i) for i in range(3)])), snap=28 + 24 + 100)
    source = CaptureExport(path)
    decoder = Decoder()
    [result] = [decoded for given in source.datagrams() for decoded in decoder.decode(given)]
    assert len(result) == 2
    assert source.accounting.corrected == {"cut short by the capture": 1}


# Recordings


@pytest.mark.parametrize(
    ("payloads_of", "snap", "reason"),
    [
        ([struct.pack(">II", 5, 1) + bytes(40)], 65535, r"sFlow version 5 \(1\), which is not supported"),
        ([struct.pack(">HH", 7, 1) + bytes(40)] * 2, 65535, r"export version 7 \(2\), which is not supported"),
        ([b"GET / HTTP/1.1\r\n\r\n"], 65535, "no UDP payload is NetFlow v5, v9 or IPFIX"),
        ([v9(template(256, [(8, 4), (12, 4), (1, 4)], 9))], 28 + 30, r"the capture truncated messages \(1\)"),
        ([v9(template(256, [(8, 4)], 9))], 28 + 8, r"the capture truncated messages \(1\)"),
        ([ipfix(data(256, 1))], 65535, r"data sets whose template is not in the input \(1\)"),
        ([ipfix(template(256, [(8, 4)]))], 65535, "templates but no records"),
    ],
)
def test_an_export_without_records_says_why(
    tmp_path: Path, payloads_of: list[bytes], snap: int, reason: str
) -> None:
    packets = [packet for payload in payloads_of for packet in udp("192.0.2.1", payload)]
    path = capture(tmp_path / "x.pcap", packets, snap=snap)
    with pytest.raises(InputError, match=reason):
        collect(read_flows([path], format="exports"))
    if reason != "templates but no records":  # which it shows
        with pytest.raises(InputError, match=reason):
            inspect([path])


def test_a_late_change_of_port_is_read_to_the_end(tmp_path: Path) -> None:
    form = template(256, [(8, 4)])
    packets = [*udp("192.0.2.1", ipfix(form), port=4001), *udp("192.0.2.1", ipfix(data(256, 7)), port=4002)]
    source = ExportReader(ExportFiles([capture(tmp_path / "x.pcap", packets)]))
    list(source.batches())
    assert source.decoder.sets.dropped == {}
    assert "1 templates were taken over from another port" in source.notes


def recorded(folder: Path, batches: Sequence[DatagramBatch], **how: object) -> list[Path]:
    recording = Recording(folder, **how)  # type: ignore[arg-type]
    for block in batches:
        recording.write(block)
    recording.close()
    return sorted(folder.iterdir())


def test_a_recording_gives_back_what_was_recorded(tmp_path: Path) -> None:
    tcp, six = Exporter("192.0.2.3", 7, "tcp", 12), Exporter("2001:db8::5", 4739)
    first = Exporter("192.0.2.3", 8, "tcp", 0)
    messages = [
        (ONE, MESSAGES[0]), (six, v5([v5_record(1)])), (tcp, MESSAGES[0]), (first, MESSAGES[1]), (TWO, v9()),
        (tcp, ipfix(data(256, *range(16_370)))), (ONE, b""),
    ]  # fmt: skip
    given = several(messages)
    given.arrival_ns[:] = [1_700_000_000_123_456_789 + i for i in range(len(messages))]
    [path] = recorded(tmp_path / "new" / "folder", [given])
    assert path.name == "20231114T221320.123456789Z-0000.pcapng"
    assert is_recording(path.read_bytes()) and is_capture(path.read_bytes())
    result = payloads(CaptureExport(path))
    assert result == [
        (exporter, 1_700_000_000_123_456_789 + i, octets)
        for i, (exporter, octets) in enumerate(messages)
    ]  # fmt: skip


def test_a_recording_is_replayed_under_the_settings_it_was_made_under(tmp_path: Path) -> None:
    made = WireSettings(segment_s=5.0, block_octets=1 << 16, pending_age_s=0.5)
    timed = batch(flows(3000), ONE, S)
    timed.arrival_ns[:] += np.arange(len(timed)) * S
    [path] = recorded(tmp_path / "a", [timed], settings=made)
    assert settings_of(path.read_bytes()) == made
    source = read_exports([path], FlowSettings())
    assert source.whole_blocks
    assert len(list(source.batches())) == timed.arrival_ns[-1] // (5 * S) + 1
    run = read_flows([path])
    assert len([1 for _ in run.batches()]) > 3
    # Those of another version are not believed; a capture says nothing.
    [path] = recorded(tmp_path / "b", [timed])
    assert settings_of(path.read_bytes()) is None and read_exports([path], FlowSettings()).whole_blocks
    broken = (tmp_path / "a" / path.name).read_bytes().replace(b"segment_s", b"segment_x")
    assert is_recording(broken) and settings_of(broken) is None
    assert settings_of(b"") is None and settings_of(broken[:30]) is None


def test_standard_readers_see_sound_packets(tmp_path: Path) -> None:
    [path] = recorded(tmp_path, [batch(MESSAGES, ONE, 5 * S)])
    source = open_capture(path)
    [packets] = list(source.batches())
    assert source.accounting.used == len(MESSAGES) and source.notes == []
    assert set(packets.source_port.tolist()) == {4739} and set(packets.protocol.tolist()) == {17}
    at = int(packets.internet_offset[0])
    words = packets.data[at : at + 20].view(">u2").astype(np.int64)
    assert int(words.sum()) % 0xFFFF == 0  # the checksum of the IPv4 header


def test_files_of_a_recording_are_one_stream_in_order_of_their_names(tmp_path: Path) -> None:
    pieces = [batch([message], ONE, i * 3600 * S) for i, message in enumerate(MESSAGES)]
    paths = recorded(tmp_path, pieces)
    assert len(paths) == len(MESSAGES)
    assert values(ExportFiles(paths)) == list(range(20))
    small = recorded(tmp_path / "small", [batch([message], ONE, 1) for message in MESSAGES], file_octets=300)
    assert len(small) > 3 and values(ExportFiles(small)) == list(range(20))


def test_a_recording_cut_off_by_a_crash_is_read_up_to_there(tmp_path: Path) -> None:
    paths = recorded(tmp_path, [batch(MESSAGES[:5], ONE, 1), batch(MESSAGES[5:], ONE, 7200 * S)])
    paths[0].write_bytes(paths[0].read_bytes()[:-10])
    source = ExportFiles(paths)
    result = []
    decoder = Decoder()
    with pytest.raises(InputError, match="incomplete") as raised:
        for block in source.datagrams():
            result += [number for _, [row] in columns(decoder.decode(block)) for number in row]
    assert result == [0, 1, 2, *range(4, 20)]
    assert raised.value.file == str(paths[0])
    source.accounting.check()


def test_a_folder_that_cannot_be_made_or_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be created"):
        Recording(tmp_path / "file" / "below")


@pytest.mark.parametrize("fails_at", [0, 1, 4])
@pytest.mark.parametrize("octets", [0, 30])
def test_a_write_that_fails_half_way_costs_its_batch_alone(
    fails_at: int, octets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, calls = recording_module.write_all, 0

    def full(stream: IO[bytes], content: bytes | memoryview) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at + 1:
            complete(stream, memoryview(content)[:octets])
            raise OSError(28, "No space left on device")
        complete(stream, content)

    monkeypatch.setattr(recording_module, "write_all", full)
    recording, stored = Recording(tmp_path), []
    for number in range(8):
        message = ipfix(data(256, number))
        try:
            recording.write(batch([message], ONE, (1_700_000_000 + number) * S))
            stored.append(message)
        except InputError as error:
            assert error.reason == "cannot be written: No space left on device"
    recording.close()
    assert len(stored) == 7
    assert [octets for path in sorted(tmp_path.iterdir()) for _, _, octets in payloads(CaptureExport(path))] == stored


# Raw datagrams


def test_raw_datagrams_of_one_folder_share_their_templates(tmp_path: Path) -> None:
    texts = {"1.dat": v9(template(256, FOUR, 9)), "2.dat": v9(data(256, 7)), "3.dat": MESSAGES[0] + MESSAGES[4],
             "4.dat": v5([v5_record(1)]) + v5([v5_record(2)])}  # fmt: skip
    for name, octets in texts.items():
        (tmp_path / name).write_bytes(octets)
    result = payloads(ExportFiles([tmp_path / name for name in texts]))
    assert [octets for _, _, octets in result] == [
        texts["1.dat"], texts["2.dat"], MESSAGES[0], MESSAGES[4], v5([v5_record(1)]), v5([v5_record(2)]),
    ]  # fmt: skip
    assert {(one.address, one.transport, one.session) for one, _, _ in result} == {(str(tmp_path), "file", 0)}
    decoder = Decoder()
    records = [one for given in ExportFiles([tmp_path / n for n in texts]).datagrams() for one in decoder.decode(given)]
    assert [len(one) for one in records] == [1, 1, 2]


def test_a_file_that_is_not_a_datagram_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(b"\0\x09" + bytes(70_000))
    (tmp_path / "y.dat").write_bytes(b"hello")
    for name, reason in (("x.dat", "not a NetFlow message"), ("y.dat", "neither a capture nor export messages")):
        source = ExportFiles([tmp_path / name])
        with pytest.raises(InputError, match=reason):
            list(source.datagrams())
        source.accounting.check()


# Format detection


def formats_of(path: Path, form: str | None = None) -> list[str]:
    return [item.format for item in open_inputs(path, FlowSettings(), is_capture, form=form)]


def test_content_tells_exports_from_captures_and_texts(tmp_path: Path) -> None:
    [recording] = recorded(tmp_path / "recording", [batch(MESSAGES)])
    plain = capture(tmp_path / "x.pcap", udp("192.0.2.1", MESSAGES[0]))
    (tmp_path / "x.ipfix").write_bytes(b"".join(MESSAGES))
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"".join(MESSAGES)))
    (tmp_path / "x.dat").write_bytes(v9(template(256, FOUR, 9)))
    (tmp_path / "nul").write_bytes(bytes(100))
    assert formats_of(recording) == [EXPORTS] and formats_of(plain) == ["capture"]
    assert formats_of(plain, EXPORTS) == [EXPORTS]
    assert formats_of(tmp_path / "x.ipfix") == formats_of(tmp_path / "x.gz") == [IPFIX]
    assert formats_of(tmp_path / "x.dat") == [EXPORTS]
    with pytest.raises(InputError, match="unknown format"):
        formats_of(tmp_path / "nul")
    assert not ipfix_file.sniff(b"") and not datagram_file.sniff(b"") and not ipfix_file.sniff(b"\0\x0a\0\x10")


def test_only_what_follows_each_other_is_joined() -> None:
    def opened(name: str, form: str) -> Input:
        return Input(name, Path(name), form, None)

    joined = join_exports([opened("a", EXPORTS), opened("b", EXPORTS), opened("c", IPFIX), opened("d", IPFIX),
                           opened("e", EXPORTS)], FlowSettings())  # fmt: skip
    assert [(item.name, item.format) for item in joined] == [
        ("a and 1 more", EXPORTS), ("c", IPFIX), ("d", IPFIX), ("e", EXPORTS)
    ]  # fmt: skip


def test_an_export_becomes_flows_by_every_way_the_same(tmp_path: Path) -> None:
    messages = flows(3000)
    exporter = Exporter("192.0.2.1", 4739)
    (tmp_path / "x.ipfix").write_bytes(b"".join(messages))
    half = len(messages) // 2
    recorded(tmp_path / "recording", [batch(messages[:half], exporter, S), batch(messages[half:], exporter, 9999 * S)])
    capture(tmp_path / "x.pcap", [packet for message in messages for packet in udp("192.0.2.1", message)])
    tables = []
    for path, form in ((tmp_path / "x.ipfix", None), (tmp_path / "recording", None), (tmp_path / "x.pcap", EXPORTS)):
        run = read_flows([path], format=form)
        tables.append(collect(run))
        [report] = run.reports
        assert report.accounting.as_dict()["used"] == 3000 and not report.errors
        assert report.notes == []
    assert tables[0].height > 0
    for other in tables[1:]:
        assert other.sort(other.columns).equals(tables[0].sort(tables[0].columns))


def test_a_damaged_file_gives_its_flows_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "x.ipfix"
    octets = b"".join(flows(300))
    path.write_bytes(octets + b"\0\x0a\0")
    run = read_flows([path])
    assert collect(run).height > 0
    assert run.errors == [f"{path} at octet {len(octets)}: the last message is incomplete"]
    with pytest.raises(InputError, match="incomplete"):
        collect(read_flows([path], ReadOptions(strict=True)))


def test_notes_say_what_was_lost_before_the_records(tmp_path: Path) -> None:
    messages = flows(600)
    source = ExportReader(IpfixFile(written(tmp_path, [messages[0], *messages[2:], ipfix(data(999, 1), sequence=600)])))
    table = pl.concat(list(source.batches()))
    lost = 600 - table.height
    assert lost > 0 and source.accounting.used == table.height
    assert f"sequence numbers show {lost} records or messages that never arrived" in source.notes
    assert any("waiting for a template 1" in note for note in source.notes)
    assert source.name_answers().height == 0 and source.unidirectional


def written(folder: Path, messages: Sequence[bytes]) -> Path:
    path = folder / "written.ipfix"
    path.write_bytes(b"".join(messages))
    return path


def test_each_file_of_a_zip_is_a_session_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.ipfix", b"".join(MESSAGES[:3] if number % 2 == 0 else MESSAGES[1:3]))
    source = ExportReader(IpfixFile(path), WireSettings(max_exporters=2), by_time=False)
    list(source.batches())
    assert source.decoder.records.used == 5 * 2
    assert source.decoder.accounting.dropped == {} and source.decoder.store.counters["session ended"] == 4
    assert source.decoder.sets.dropped == {"session ended while waiting": 4 * 2}


def test_blocks_do_not_change_the_records(tmp_path: Path) -> None:
    path = written(tmp_path, flows(9000))
    small = ExportReader(IpfixFile(path, CaptureSettings(block_octets=1 << 12)), by_time=False)
    timed = ExportReader(IpfixFile(path), WireSettings(block_octets=1 << 16))
    tables = list(small.batches())
    assert len(tables) > 3 and len(list(timed.batches())) > 3
    whole = pl.concat(list(read_ipfix_file([path], FlowSettings()).batches()))
    assert pl.concat(tables).equals(whole)
    assert read_exports([path], FlowSettings()).name == str(path)
