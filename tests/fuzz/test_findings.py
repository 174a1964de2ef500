"""Findings of fuzzing, as the shortest input that showed each, passed through the target that found it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import polars as pl
import pyarrow
import pyarrow.parquet
import pytest

from ethogram.io.parquet import BiflowParquetReader
from ethogram.schema import BIFLOW

from .exports import collector_states
from .files import library, states
from .harness import allowed, written
from .packets import packet_files
from .targets import TARGETS


def central(name: bytes, *, needed: int = 20, flags: int = 0, method: int = 0) -> bytes:
    """A zip of one empty member according to its central directory, without the member itself."""
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, needed, flags, method, 0, 33, 0, 0, 0, len(name),
                                        0, 0, 0, 0, 0, 0) + name  # fmt: skip
    return b"PK\x03\x04" + entry + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), 4, 0)


def state_with(json: bytes, table: bytes = b"", octets: int | None = None) -> bytes:
    """An exporter state with our settings; the target fixes the checksum."""
    digest = states()[0].split(b'"settings":"')[1][:25]
    size = len(json) if octets is None else octets
    return (
        b'{"format":"ethogram.exporter-state/1","settings":"%s","sha256":"","json_octets":%d}\n' % (digest, size)
        + json
        + table
    )


def absurd_length(state: bytes) -> bytes:
    """A state whose first compressed column (Zstandard) claims 7,378,697,629,483,820,646 octets uncompressed."""
    at = state.index(b"\x28\xb5\x2f\xfd")
    return state[: at - 8] + b"f" * 8 + state[at:]


def broken_array(state: bytes) -> bytes:
    """A collector state with an array whose header is truncated."""
    at = state.index(b"\x93NUMPY")
    end = state.index(b"}", at)
    return state[:end] + b" " + state[end + 1 :]


EMPTY_STATE = states()[0].partition(b"\n")[2]

FINDINGS: dict[str, tuple[str, bytes]] = {
    "zip member whose name is not the UTF-8 it claims": ("packed", central(b"\x87", flags=0x800)),
    "zip member that needs version 24": ("packed", central(b"a", needed=240)),
    "zip member without a name": ("packed", central(b"")),
    "zip member with a line end in its name": ("packed", central(b"a\nb", flags=1)),
    "zip member with a terminal code in its name": ("packed", central(b"a\x1b[2J")),
    "gzip whose data are damaged": ("library", b"\x1f\x8b\x08\0\0\0\0\0\x02\x03mQ\xe1Q\xc3\xc7g"),
    "Zeek fields of one name": ("zeek", b"#\n#fields\t\t\n\t-"),
    "nfdump fields of one name but for case": ("nfdump", b"ts,sa,da,pr,SA\n1,10.0.0.1,10.0.0.2,6,x\n"),
    "state without a table": ("state", state_with(EMPTY_STATE[: EMPTY_STATE.index(b"ARROW1")])),
    "state without a body": ("state", state_with(b"", b"ARROW1", 1)),
    "state whose body has other keys": ("state", state_with(b"{}", EMPTY_STATE[EMPTY_STATE.index(b"ARROW1") :])),
    "state with a column of absurd length": ("state", absurd_length(states()[1])),
    "collector state with a column of absurd length": ("collector-state", absurd_length(collector_states()[0])),
    "collector state with half a description": ("collector-state", broken_array(collector_states()[0])),
    "state whose table is cut": (
        "state",
        state_with(EMPTY_STATE[: EMPTY_STATE.index(b"ARROW1")], b"\xff\x14\0\0\0\4\0\1\0\0"),
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_findings_stay_fixed(name: str) -> None:
    target, octets = FINDINGS[name]
    TARGETS[target].check(octets)


def test_names_inside_archives_are_shown_without_what_controls_a_terminal() -> None:
    from ethogram.errors import InputError

    assert str(InputError("locked", file="x.zip:a\nb\x1b[2J")) == "x.zip:a\\x0ab\\x1b[2J: locked"


def test_repeated_column_names_are_numbered() -> None:
    from ethogram.io.delimited import distinct

    assert distinct(["a", " a", "b", "a", "a_2"]) == ["a", "a_2", "b", "a_3", "a_2_2"]


def test_the_sound_library_is_read() -> None:
    from ethogram.identify import library_file

    result = allowed(lambda: library_file.read(written("library.jsonl", library())))
    assert isinstance(result, library_file.Library)
    assert result.labels() == ["den camera"]


@pytest.mark.parametrize("place", ["metadata", "column"])
def test_parquet_with_invalid_utf8_is_damaged(place: str, tmp_path: Path) -> None:
    flows = BIFLOW.empty().with_row_index().drop("index")
    table = pl.concat([flows, pl.DataFrame({"source_address": ["??"]})], how="diagonal").to_arrow()
    path = tmp_path / "flows.parquet"
    if place == "metadata":
        table = table.replace_schema_metadata({b"key": b"\xd3\xff"})
    else:
        at = table.schema.get_field_index("source_address")
        broken = pyarrow.array([b"\xd3\xff"], pyarrow.binary()).view(pyarrow.string())
        table = table.set_column(at, "source_address", broken)
    pyarrow.parquet.write_table(table, path, store_schema=False)
    result: list[int] = []
    allowed(lambda: result.extend(frame.height for frame in BiflowParquetReader(path).batches()))
    # What is said of the columns is not needed; a column is.
    assert result == ([0] if place == "metadata" else [])


@pytest.mark.parametrize(
    ("was", "becomes", "reason"),
    [(b"element", b"\xf1lement", "not a readable Parquet file"), (b"\x16\x06", b"\x16\x08", "4 rows|damaged Parquet")],
    ids=["names of columns that are no text", "a footer that tells of other rows"],
)
def test_damaged_packet_files_are_reported(was: bytes, becomes: bytes, reason: str, tmp_path: Path) -> None:
    from ethogram.errors import InputError
    from ethogram.pipeline.packet_files import load_packets

    sound, path, result = packet_files()[1], tmp_path / "packets.parquet", []
    footer = sound.rindex(b"PAR1") - 4 - int.from_bytes(sound[-8:-4], "little")
    at = sound.find(was, footer)
    while at >= 0:
        path.write_bytes(sound[:at] + becomes + sound[at + len(was) :])
        try:
            assert len(load_packets(path)) == 3
        except InputError as error:
            result.append(str(error))
        at = sound.find(was, at + 1)
    assert any(re.search(reason, line) for line in result)
