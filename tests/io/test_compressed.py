"""Compressed inputs: any packing gives the same records, within limits, and nothing is written to disk."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import polars as pl
import pytest
from backports import zstd
from capture_builder import Packet, ethernet, pcap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.config import CaptureSettings, FlowSettings, MeterSettings
from ethogram.errors import InputError
from ethogram.io import compressed, tar
from ethogram.io.capture import is_capture, open_capture
from ethogram.io.compressed import PackedFile, open_members
from ethogram.io.open import Input, open_inputs
from ethogram.io.tar import TarFile
from ethogram.pipeline.capture import capture_flows
from ethogram.pipeline.flows import read_flows, write_flows
from ethogram.schema import BIFLOW
from flow_records import TEXTS

NOW = 1_700_000_000_000_000_000
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
    ".lz4": lz4.frame.compress,
}
CAPTURE = pcap([(NOW + i, ethernet(Packet(source_port=40_000 + i).internet())) for i in range(20)])
FORMATS = {name: octets for name, (_, octets) in TEXTS.items() if name != "mapped"} | {"capture": CAPTURE}
once = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tarred(*files: tuple[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w", format=kind) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return octets.getvalue()


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return octets.getvalue()


def opened(path: Path) -> list[Input]:
    return list(open_inputs(path, FlowSettings(), is_capture))


def rows_of(inputs: list[Input]) -> pl.DataFrame:
    frames = [BIFLOW.empty()]
    for item in inputs:
        if item.passed_over is None:
            source = capture_flows(item.path, MeterSettings()) if item.source is None else item.source()
            frames += [*source.batches()]
            source.accounting.check()
    return pl.concat(frames)


def packed(content: bytes, layers: list[str], archive: str) -> bytes:
    for layer in layers:
        content = PACKERS[layer](content)
    if archive == "zip":
        return zipped(("a/inputs", content))
    return tarred(("a/inputs", content)) if archive == "tar" else content


@given(st.sampled_from(list(FORMATS)), st.lists(st.sampled_from(list(PACKERS)), max_size=2),
       st.sampled_from(["", "zip", "tar"]), st.sampled_from(list(PACKERS)))  # fmt: skip
@once
def test_any_packing_of_an_input_gives_the_same_records(
    tmp_path: Path, name: str, layers: list[str], archive: str, outer: str
) -> None:
    plain, file = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(FORMATS[name])
    whole = packed(FORMATS[name], layers, archive)
    file.write_bytes(whole if archive == "zip" else PACKERS[outer](whole))
    [result] = opened(file)
    assert rows_of([result]).equals(rows_of(opened(plain)))


@pytest.mark.parametrize("suffix", PACKERS)
def test_streams_that_follow_each_other_are_one(tmp_path: Path, suffix: str) -> None:
    text = FORMATS["joy"] + b"\n"
    file = tmp_path / f"two.json{suffix}"
    file.write_bytes(PACKERS[suffix](text) + b"\0" * (512 if suffix else 0) + PACKERS[suffix](text))
    assert rows_of(opened(file)).height == 6


@pytest.mark.parametrize("suffix", list(PACKERS)[1:])
def test_what_follows_compressed_data_and_is_not_of_them_is_reported(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"more.json{suffix}"
    file.write_bytes(PACKERS[suffix](FORMATS["joy"] + b"\n") + b"garbage")
    source = opened(file)[0].source
    assert source is not None
    batches, rows = source().batches(), 0
    with pytest.raises(InputError, match="follow the compressed data"):
        for frame in batches:
            rows += frame.height
    assert rows == 3


@pytest.mark.parametrize("suffix", list(PACKERS)[1:])
def test_a_truncated_compressed_file_is_reported_and_keeps_earlier_records(tmp_path: Path, suffix: str) -> None:
    lines = b"".join(FORMATS["joy"].replace(b"40000", b"%d" % port) + b"\n" for port in range(30_000, 40_000))
    file = tmp_path / f"cut.json{suffix}"
    file.write_bytes(PACKERS[suffix](lines)[:-9])
    source = opened(file)[0].source
    assert source is not None
    rows = 0
    with pytest.raises(InputError, match=r"cut.json\S*: the compressed file is truncated"):
        for frame in source().batches():
            rows += frame.height
    assert rows > 1000


@given(st.sampled_from(list(PACKERS)[1:]), st.integers(0), st.integers(1, 255))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_in_compressed_data_is_our_error_or_nothing(tmp_path: Path, suffix: str, at: int, change: int) -> None:
    octets = bytearray(PACKERS[suffix](FORMATS["joy"] * 3))
    octets[at % len(octets)] ^= change
    file = tmp_path / "damaged"
    file.write_bytes(octets)
    try:
        for member in open_members(file):
            member.fill(memoryview(bytearray(1 << 16)))
    except InputError as error:
        assert "\n" not in str(error)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=150)


@given(st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=4, unique_by=lambda pair: pair[0]),
       st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_members_of_a_tar_are_those_that_were_written(files: list[tuple[str, bytes]], kind: int) -> None:
    archive = TarFile(io.BytesIO(tarred(*files, kind=kind)), "a.tar")
    assert [(entry.name, archive.read(1 << 20)) for entry in archive.members()] == files


@given(st.binary(max_size=2000), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_octets_are_no_tar_or_end_in_our_error(noise: bytes, damaged: bool) -> None:
    sound = tarred(("a", b"x" * 700), ("b" * 150, b"y"))
    octets = sound[: len(noise)] + noise + sound[len(noise) :] if damaged else noise
    archive = TarFile(io.BytesIO(octets), "a.tar")
    try:
        for _, _ in itertools.product(range(1), archive.members()):
            archive.read(100)
    except InputError as error:
        assert "\n" not in str(error)


def test_links_devices_and_other_entries_are_passed_over_by_reason(tmp_path: Path) -> None:
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "passwd"), (tarfile.LNKTYPE, "hard"), (tarfile.CHRTYPE, "zero"),
                           (tarfile.FIFOTYPE, "pipe"), (tarfile.DIRTYPE, "folder")):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        for name, content in (("../../etc/flows.json", FORMATS["joy"]), ("README", b"about"), ("._flows.json", b"x")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    file = tmp_path / "set.tar.gz"
    file.write_bytes(gzip.compress(octets.getvalue()))
    before = set(tmp_path.rglob("*"))
    run = read_flows([file])
    write_flows(run, tmp_path / "flows.parquet")
    assert dict(run.skipped) == {
        f"{file}:passwd": "a symbolic link", f"{file}:hard": "a hard link", f"{file}:zero": "a device",
        f"{file}:pipe": "a named pipe", f"{file}:README": "unknown format",
    }  # fmt: skip
    assert [report.accounting.used for report in run.reports] == [3]
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "flows.parquet"}


def test_an_archive_may_hold_captures_records_and_other_archives(tmp_path: Path) -> None:
    inner = gzip.compress(tarred(("day/conn.log.xz", lzma.compress(FORMATS["zeek tsv"]))))
    content = [("a.pcap", CAPTURE), ("logs.tar.gz", inner), ("z.zip", zipped(("x", b""))), ("notes", b"words")]
    for file, octets in ((tmp_path / "set.tar", tarred(*content)), (tmp_path / "set.zip", zipped(*content))):
        file.write_bytes(octets)
        result = opened(file)
        used = [part for part in result if part.passed_over is None]
        assert [(part.format, part.name.removeprefix(str(file))) for part in used] == [
            ("capture", ""), ("zeek", ":logs.tar.gz:day/conn.log.xz"),
        ]  # fmt: skip
        reasons = {part.name.removeprefix(str(file)): part.passed_over for part in result if part.passed_over}
        assert set(reasons) == {":z.zip", ":notes"}
        assert reasons[":z.zip"] == "a zip inside another file is not supported: unpack it first"
        assert rows_of(result).height == 20 + 3


def test_members_in_order_take_one_pass_and_in_any_order_are_the_same(tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "many.tar.gz"
    file.write_bytes(gzip.compress(tarred(*((f"{i}", b"%d" % i * 1000) for i in range(9)))))
    passes = []
    begin = open_members
    monkeypatch.setattr(compressed, "open_members", lambda path: passes.append(path) or begin(path))
    archive = PackedFile(file)

    def content(place: int) -> bytes:
        buffer = bytearray(2000)
        member = archive.open(place)
        assert member.peek(4) == b"%d" % place * 4
        return bytes(buffer[: archive.open(place).fill(memoryview(buffer))])

    assert [content(i) for i in range(9)] == [b"%d" % i * 1000 for i in range(9)]
    assert len(passes) == 1
    assert [content(i) for i in (5, 2, 2, 8)] == [b"%d" % i * 1000 for i in (5, 2, 2, 8)]
    half = archive.open(3)
    half.fill(memoryview(bytearray(500)))
    assert content(0) == b"0" * 1000
    assert half.fill(memoryview(bytearray(2000))) == 500, "what is being read goes on"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".lz4"])
def test_a_bomb_ends_at_a_cap(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "RATIO_FROM", 1 << 20)
    file = tmp_path / f"bomb{suffix}"
    bomb = PACKERS[suffix](bytes(1 << 24))
    for octets, cap in ((bomb, CaptureSettings(max_ratio=20)), (tarred(("a", bomb), ("b", bomb)),
                        CaptureSettings(max_octets=1 << 23))):  # fmt: skip
        file.write_bytes(octets)
        with pytest.raises(InputError, match=r"max_(ratio|octets)"):
            for member in open_members(file, cap):
                while member.fill(memoryview(bytearray(1 << 20))) == 1 << 20:
                    pass


def test_members_headers_and_depth_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep"
    octets = b"text"
    for _ in range(5):
        octets = tarred(("in", octets))
    file.write_bytes(octets)
    [member] = open_members(file)
    assert member.problem == "more than 3 nested archives"
    for _ in range(5):
        octets = gzip.compress(octets)
    file.write_bytes(octets)
    [member] = open_members(file)
    assert member.problem == "more than 3 nested compression layers"
    monkeypatch.setattr(compressed, "MAX_MEMBERS", 3)
    file.write_bytes(tarred(*((f"{i}", b"") for i in range(4))))
    with pytest.raises(InputError, match="the archive has more than 3 members"):
        list(open_members(file))
    long_name = tarred(("n" * 5000, b""))
    monkeypatch.setattr(tar, "MAX_HEADER", 100)
    file.write_bytes(long_name)
    with pytest.raises(InputError, match="a header of more than 100 octets in the archive"):
        list(open_members(file))


def test_a_damaged_archive_yields_earlier_members_and_is_reported(tmp_path: Path) -> None:
    whole = tarred(("a.json", FORMATS["joy"]), ("b.json", FORMATS["joy"]))
    second = whole.index(b"b.json")
    file = tmp_path / "cut.tar"
    for octets, used in ((whole[: second + 512 + 600], {4, 5}),
                         (whole[:second] + b"x" * 512 + whole[second + 512 :], {3})):  # fmt: skip
        file.write_bytes(octets)
        run = read_flows([file])
        list(run.batches())
        assert sum(report.accounting.used for report in run.reports) in used
        assert run.errors and all("archive" in error for error in run.errors)


def test_an_encrypted_member_is_skipped_among_others_and_refused_alone(tmp_path: Path) -> None:
    octets = bytearray(zipped(("a.json", FORMATS["joy"]), ("b.json", FORMATS["joy"]), method=zipfile.ZIP_STORED))
    second = octets.rfind(b"PK\x01\x02")
    octets[second + 8] |= 1
    file = tmp_path / "locked.zip"
    file.write_bytes(octets)
    assert [item.passed_over for item in opened(file)] == [None, "the zip is password-protected"]
    octets[octets.find(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(octets)
    with pytest.raises(InputError, match="password-protected"):
        opened(file)


def test_a_capture_inside_an_archive_is_metered_and_its_neighbours_are_no_damage(tmp_path: Path) -> None:
    file = tmp_path / "set.tar.xz"
    file.write_bytes(lzma.compress(tarred(("README", b"about"), ("a.pcap.zst", zstd.compress(CAPTURE)))))
    source = open_capture(file)
    assert sum(map(len, source.batches())) == 20
    assert source.notes == []
