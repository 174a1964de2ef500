"""Container files and files written by this project: compressed inputs, Parquet, libraries, states."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from datetime import UTC, datetime
from functools import cache

import lz4.frame
import orjson
import polars as pl
from backports import zstd

from ethogram.config import CaptureSettings, EncoderSettings
from ethogram.fingerprint import state
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.identify import library_file
from ethogram.identify.library import Entry, Identity, Library, Observation, Source
from ethogram.io.capture import open_capture
from ethogram.io.compressed import first_octets
from ethogram.io.tar import TarFile
from ethogram.io.unsupported import describe
from ethogram.representation.onnx_guard import check_onnx
from ethogram.schema import BIFLOW, FLOW

from .captures import pcaps
from .harness import INTERPRETED, Target, allowed, written
from .text_records import check_open, records

PACKERS = (bz2.compress, lzma.compress, zstd.compress, lz4.frame.compress)
SMALL = CaptureSettings(max_octets=1 << 24, max_ratio=100)


def check_packed(octets: bytes) -> None:
    """A file that may be compressed, read as text and as a capture."""
    file = written("packed", octets)
    check_open(file)
    allowed(lambda: first_octets(file))
    if not INTERPRETED:
        source = open_capture(file, SMALL)
        allowed(lambda: sum(map(len, source.batches())))
        source.accounting.check()


def packed() -> list[bytes]:
    text, capture = records.joy_json(), pcaps()[1]
    result = [gzip.compress(item, mtime=0) for item in (text, capture)] + [gzip.compress(text[:50], mtime=0) * 2]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        octets = io.BytesIO()
        with zipfile.ZipFile(octets, "w", method) as archive:
            archive.writestr("a/flows.json", text)
            archive.writestr("README", b"about")
            archive.writestr("b.pcap", capture)
            archive.writestr("c.json.gz", result[0])
        result.append(octets.getvalue())
    return [*result, *(pack(text) for pack in PACKERS), *tars(text, capture)]


def tars(text: bytes, capture: bytes) -> list[bytes]:
    """Tar archives with each form of header, with links, long names and compressed members; plain and compressed."""
    result = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        octets = io.BytesIO()
        with tarfile.open(fileobj=octets, mode="w", format=kind) as archive:
            for name, content in (("a/flows.json", text), (f"{'n' * 99}/b.pcap", capture),
                                  ("c.json.xz", lzma.compress(text))):  # fmt: skip
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "a/flows.json"
            archive.addfile(link)
        result += [octets.getvalue()[:6144], gzip.compress(octets.getvalue(), mtime=0)]
    return result


def check_tar(octets: bytes) -> None:
    """Tar headers alone, which a mutated compression would hide."""
    archive = TarFile(io.BytesIO(octets), "a.tar")

    def read() -> None:
        size = 0
        for entry in archive.members():
            assert entry.octets >= 0
            while piece := archive.read(1 << 12):
                size += len(piece)
        assert size <= len(octets)

    allowed(read)


def check_described(octets: bytes) -> None:
    """A file in an unsupported format, with its name before a zero octet."""
    name, _, head = octets.partition(b"\0")
    what = describe(head, name.decode("utf-8", "replace"))
    assert what is None or what.isprintable()


def check_parquet(octets: bytes) -> None:
    check_open(written("flows.parquet", octets), "parquet")


def tables() -> list[bytes]:
    result = []
    for table in (BIFLOW, FLOW):
        row = {c.name: [None if c.nullable else _some(c.dtype)] for c in table.columns}
        octets = io.BytesIO()
        pl.DataFrame(row, schema=table.schema).write_parquet(octets)
        result.append(octets.getvalue())
    loose = {"start": ["1714521600"], "end": [1_714_521_600_250], "protocol": ["tcp"], "source_address": [b"10.0.0.1"],
             "destination_address": ["::ffff:10.0.0.2"], "source_port": [50000.5], "destination_port": [443],
             "octets": [1e30], "packets": [[1]], "reverse_octets": [True], "reverse_packets": ["1,234"]}  # fmt: skip
    octets = io.BytesIO()
    pl.DataFrame(loose).write_parquet(octets)
    return [*result, octets.getvalue()]


def _some(kind: pl.DataType) -> object:
    if isinstance(kind, pl.Datetime):
        return datetime(2024, 5, 1, tzinfo=UTC)
    if isinstance(kind, pl.Enum):
        return kind.categories[0]
    return {pl.String: "10.0.0.1", pl.Boolean: True}.get(kind.base_type(), 1)


def check_library(octets: bytes) -> None:
    """A library as is, and with detected compression."""

    def read() -> None:
        library = library_file.read(written("library.jsonl", octets))
        library.windows()
        assert library_file.load(library_file.dump(library)) == library

    allowed(read)


@cache
def library() -> bytes:
    counts = tuple(
        (3600 * i, service, "client", scope, True, name, 3, 900, 5000, 9, 12, 1500)
        for i, (service, scope, name) in enumerate([("TCP/443", "wan", "site.example"), ("UDP/53", "lan", None)])
    )
    seen = Observation("camera", datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC), "home")
    entry = Entry(Identity("den camera", "m1", "acme", "camera", "camera"), (seen,), "open", counts)
    return library_file.dump(Library((entry,), (Source("home", "2024-05-03", "", "CC0", ""),)))


def onnx_models() -> list[bytes]:
    """An exported encoder of minimal size."""
    from ethogram.representation import baselines
    from ethogram.representation.export_onnx import export_dense

    drawn = baselines.random_projection(EncoderSettings(kind="random-projection", view="meta", d=3))
    return [export_dense(drawn.header, drawn.tensors), export_dense(drawn.header, drawn.tensors, half=True)]


def check_state(octets: bytes) -> None:
    """An exporter state; then again with a valid checksum, as an editor of the file could produce."""
    allowed(lambda: state.restore(written("state", octets)))
    head, line_end, payload = octets.partition(b"\n")
    try:
        fields = orjson.loads(head)
    except orjson.JSONDecodeError:
        return
    if isinstance(fields, dict):
        fields["sha256"] = hashlib.sha256(payload).hexdigest()
        sound = orjson.dumps(fields) + line_end + payload
        allowed(lambda: state.restore(written("state", sound)))
        allowed(lambda: state.restore(written("state", sound), clean_start=True))


def states() -> list[bytes]:
    file = written("saved", b"")
    exporter = FingerprintExporter()
    state.save(exporter, file)
    result = [file.read_bytes()]
    row = {"device": "camera", "device_address": "10.0.0.5", "remote": "198.51.100.7", "local_port": 40000,
           "remote_port": 443, "protocol": 6, "octets_out": 900, "octets_in": 5000, "packets_out": 9, "packets_in": 12,
           "initiator": "device", "service_port": 443, "role": "client", "scope": "wan", "answered": True,
           "joined": 1}  # fmt: skip
    times = [datetime(2024, 5, day, 12, tzinfo=UTC) for day in (1, 2, 3)]
    rows = [row | {"start": time, "end": time} for time in times]
    exporter.feed(FLOW.conform(pl.DataFrame(rows)))
    state.save(exporter, file)
    return [*result, file.read_bytes()]


TARGETS = [
    Target("packed", packed, check_packed, words=(b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04", b"\x1f\x8b\x08",
                                            b"\xfd7zXZ\0", b"BZh9", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")),
    Target("tar", lambda: tars(b"text", b"packets"), check_tar,
           words=(b"ustar\0", b"ustar  \0", b"././@LongLink", b"30 path=", b"20 size=99\n", b"0000700\0",
                  b"\x80\0\0\0")),
    Target("known", lambda: [b"x.erf\0snoop\0\0\0", b"x\0\x0c\xa5\x01\0", b"\0\xff\xfea\0b\0c\0d\0"],
           check_described),
    Target("parquet", tables, check_parquet, words=(b"PAR1",)),
    Target("library", lambda: [library(), gzip.compress(library(), mtime=0)], check_library,
           words=(b'"counts":', b"[]", b"{}", b"null", b"\n", b"-1", b"1e99", b"9999-12-31T23:59:59-14:00",
                  b"\n" * 1001)),
    Target("onnx", onnx_models, lambda octets: allowed(lambda: check_onnx(octets, "a.onnx")),
           words=(b"Loop", b"\x70\x01", b"\x6a\x00", b"\xff\xff\xff\xff\x0f")),
    Target("state", states, check_state, words=(b'"devices":', b"[]", b"{}", b"null", b"-1", b"1e99")),
]  # fmt: skip
