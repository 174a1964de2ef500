"""Export messages in files and streams: recordings, captures, IPFIX files, TCP streams, listen addresses."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import orjson
import polars as pl

from ethogram.io.receive import framing
from ethogram.io.receive.address import Listen, Prefixes
from ethogram.io.receive.framing import SHORTEST, frames
from ethogram.io.wire import capture_export, export_reader, ipfix_file  # noqa: F401 (loaded on use: here, to be instrumented)
from ethogram.io.wire.options import ExporterMetadata
from ethogram.io.wire.recording import Recording
from ethogram.io.wire.sequence import Sequences
from ethogram.pipeline.stage_state import StageState
from ethogram.serve.segments import SegmentName
from ethogram.serve.state import CollectorState, load_state, save_state

from .captures import NOW, build
from .harness import Target, allowed, scratch, written
from .messages import EXPORTERS, batch_of, exported
from .text_records import check_open


def check_exports(octets: bytes) -> None:
    """A capture of an export, a recording, or raw datagrams, with the format stated and detected."""
    path = written("export", octets)
    check_open(path, "exports")
    check_open(path)


def check_ipfix_file(octets: bytes) -> None:
    path = written("flows.ipfix", octets)
    check_open(path, "ipfix")
    check_open(path)


@cache
def recorded() -> bytes:
    """A recording of messages of all protocols, over UDP and in a session."""
    folder = scratch() / "recording"
    recording = Recording(folder)
    messages = [item for version in (5, 9, 10) for item in exported(version)]
    recording.write(batch_of(messages, [i % len(EXPORTERS) for i in range(len(messages))]))
    recording.close()
    [path] = [path for path in folder.iterdir() if path.is_file()]
    return path.read_bytes()


def captured() -> list[bytes]:
    """Captures of an export: of each protocol, with a fragmented datagram, and with VLAN tags."""
    result = []
    for version in (5, 9, 10):
        packets = [
            build.Packet("192.0.2.1", "192.0.2.9", 17, 50000, 2055, payload=message).internet()
            for message in exported(version)
        ]
        made = [(NOW + i * 1000, build.ethernet(item, vlans=(7,) * (i % 2))) for i, item in enumerate(packets)]
        result.append(build.pcap(made))
    whole = build.Packet("192.0.2.1", "192.0.2.9", 17, 50000, 2055, payload=exported(5)[0])
    body = whole.transport()
    parts = []
    for at in range(0, len(body), 256):
        more = 0x2000 if at + 256 < len(body) else 0
        piece = build.Packet("192.0.2.1", "192.0.2.9", 17, payload=b"")
        head = piece.internet(fragment=more | at // 8, total=20 + len(body[at : at + 256]))[:20]
        parts.append(build.ethernet(head + body[at : at + 256]))
    result.append(build.pcap([(NOW + i, item) for i, item in enumerate(parts)]))
    return result


def seeds() -> list[bytes]:
    return [recorded(), *captured(), exported(5)[0], exported(9)[0], b"".join(exported(5))]


def check_stream(octets: bytes) -> None:
    """Messages in a stream; the first octet sets the size of reads, which must not matter."""
    if not octets:
        return
    step, data = octets[0] % 64 + 1, np.array(bytearray(octets[1:]), np.uint8)
    offset, size = np.zeros(64, np.int64), np.zeros(64, np.int32)
    whole: list[tuple[int, int]] = []
    at, end, fault = 0, 0, 0
    while not fault and end < len(data):
        end = min(end + step, len(data))
        while True:
            count, consumed, fault = frames(data, at, end, offset, size)
            assert at <= consumed <= end
            whole += list(zip(offset[:count].tolist(), size[:count].tolist(), strict=True))
            at = consumed
            if count < len(offset):
                break
    assert fault in {0, framing.BAD_VERSION, framing.BAD_LENGTH}
    place = 0
    for begin, length in whole:  # one behind the other, each of the length it states
        assert begin == place and length >= SHORTEST
        assert length == int.from_bytes(octets[1 + begin + 2 : 1 + begin + 4])
        place = begin + length


def check_listen(octets: bytes) -> None:
    """A listen address, and a list of prefixes."""
    text = octets.decode("utf-8", "surrogateescape")
    place = allowed(lambda: Listen.parse(text))
    if isinstance(place, Listen):
        assert allowed(lambda: Listen.parse(str(place))) == place
    allowed(lambda: Prefixes(text.split(",")))


def collector_states() -> list[bytes]:
    folder = scratch() / "states"
    folder.mkdir(exist_ok=True)
    state = CollectorState(
        number=3, rows=20, exporter_number=2, exporters={0: EXPORTERS[0]}, waiting_sets=1, output={"segments": 3},
        stages=StageState({"pairs": pl.DataFrame({"a": [1, 2], "b": ["x", None]})}, {"ports": np.arange(3)}),
        sequences=Sequences().state(), metadata=ExporterMetadata().state(), counters={"lost_waiting": 0},
    )  # fmt: skip
    result = [
        save_state(folder, SegmentName(number, NOW), one).read_bytes()
        for number, one in enumerate((state, CollectorState()))
    ]
    for path in folder.iterdir():
        path.unlink()
    return result


def check_collector_state(octets: bytes) -> None:
    """A state; then again with a valid checksum, as an editor of the file could produce."""
    head, line_end, payload = octets.partition(b"\n")
    path = written("collector.state", octets)
    allowed(lambda: load_state(path))
    try:
        fields = orjson.loads(head)
    except orjson.JSONDecodeError:
        return
    if isinstance(fields, dict):
        fields["sha256"] = hashlib.sha256(payload).hexdigest()
        path.write_bytes(orjson.dumps(fields) + line_end + payload)
        allowed(lambda: load_state(path))


URIS = (b"udp://127.0.0.1:2055", b"tcp://[::1]:4739", b"tls://collector.example", b"udp://[fe80::1%25eth0]:0",
        b"10.0.0.0/8,2001:db8::/32,192.0.2.1")  # fmt: skip

TARGETS = [
    Target("exports", seeds, check_exports, words=(b"\x0a\x0d\x0d\x0a", b"ethogram recording", b"\0\x09", b"\0\5")),
    Target("ipfix-file", lambda: [b"".join(exported(10)), b"".join(exported(10)[:2])], check_ipfix_file,
           words=(b"\0\x0a", b"\0\x10", b"\0\2", b"\1\0")),
    Target("stream", lambda: [bytes([7]) + b"".join(exported(10))], check_stream, compiled=True,
           words=(b"\0\x0a", b"\0\x10", b"\0\0")),
    Target("listen", lambda: list(URIS), check_listen, words=(b"udp://", b"[", b"]", b"%", b":", b"@", b"/", b"\0")),
    Target("collector-state", collector_states, check_collector_state,
           words=(b'"parts":', b"[]", b"{}", b"null", b"-1", b"1e99", b"frame:", b"array:")),
]  # fmt: skip
