"""nfdump text output: concatenated outputs give the sum of their parts."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.config import FlowSettings
from ethogram.io.nfdump import NfdumpReader, sniff
from ethogram.io.open_text import TextInput
from ethogram.schema import BIFLOW
from flow_records import NFDUMP_HEADER, TEXTS

SUMMARY_16 = b"Summary\nflows,bytes,packets,avg_bps,avg_pps,avg_bpp\n5,7306,25,1,1,1\n"
SUMMARY_17 = (
    b"Summary: total flows: 5, total bytes: 7.3 K, total packets: 25, avg bps: 1, avg pps: 1, avg bpp: 1\n"
    b"Time window: 2019-05-01 00:00:00 - 2019-05-01 00:00:11\n"
    b"Total flows processed: 5, Blocks skipped: 0, Bytes read: 1024\n"
    b"Sys: 0.001s flows/second: 5000 Wall: 0.001s flows/second: 5000\n"
)
OLD, NEW = TEXTS["nfdump csv"][1].split(b"Summary")[0], TEXTS["nfdump new csv"][1] + b"\n"
ROW_17 = b"2019-05-01 00:00:09.000,1.000,TCP,192.168.1.5,50009,198.51.100.7,443,10,1000,0,0,0,1\n"
HEADER_17 = NEW.split(b"\n")[0] + b"\n"


def read(folder: Path, *parts: bytes) -> tuple[pl.DataFrame, NfdumpReader]:
    file = folder / "joined"
    file.write_bytes(b"".join(parts))
    source = NfdumpReader(TextInput(file), FlowSettings())
    rows = pl.concat([BIFLOW.empty(), *source.batches()])
    source.accounting.check()
    return rows, source


def ordered(frames: list[pl.DataFrame]) -> pl.DataFrame:
    together = pl.concat([BIFLOW.empty(), *frames])
    return together.sort([name for name in together.columns if together[name].dtype != pl.Null])


PARTS = [OLD, NEW, OLD + SUMMARY_16, NEW + SUMMARY_17, NFDUMP_HEADER.encode() + b"\nNo matched flows\n",
         HEADER_17 + ROW_17 * 3, SUMMARY_16, SUMMARY_17, b"\n"]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_joined_outputs_of_any_version_are_the_sum_of_their_parts(tmp_path: Path, parts: list[bytes]) -> None:
    together, source = read(tmp_path, *parts)
    alone = [read(tmp_path, part)[0] for part in parts]
    assert source.accounting.read == source.accounting.used == together.height
    assert ordered([together]).equals(ordered(alone))


@given(st.lists(st.integers(0, 5), max_size=4), st.sampled_from([(OLD, SUMMARY_16), (NEW, SUMMARY_17)]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_output_may_be_cut_before_any_record(
    tmp_path: Path, cuts: list[int], output: tuple[bytes, bytes]
) -> None:
    header, *rows = output[0].splitlines(keepends=True)
    places = sorted({0, len(rows), *cuts})
    parts = [header + b"".join(rows[a:b]) + output[1] for a, b in itertools.pairwise(places)]
    assert read(tmp_path, *parts)[0].equals(read(tmp_path, *output)[0])


def test_records_after_a_summary_need_no_second_header(tmp_path: Path) -> None:
    rows, source = read(tmp_path, HEADER_17, ROW_17, SUMMARY_17, ROW_17)
    assert rows.height == source.accounting.used == 2


def test_totals_that_are_missing_do_not_take_a_record_with_them(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, HEADER_17, ROW_17, b"Summary\n", ROW_17, b"Summary\nflows,bytes,packets\n", ROW_17)
    assert rows.height == 3


def test_what_has_another_number_of_columns_is_dropped_by_reason(tmp_path: Path) -> None:
    old_row = OLD.splitlines(keepends=True)[1]
    _, source = read(tmp_path, HEADER_17, ROW_17, SUMMARY_17, old_row, b"Unknown words of a later version\n")
    assert source.accounting.used == 1
    assert source.accounting.dropped == {"broken line": 2}


def test_a_header_in_capitals_or_after_an_empty_output_is_recognised(tmp_path: Path) -> None:
    assert sniff(HEADER_17.upper())
    assert sniff(b"No matched flows\n\n" + SUMMARY_16 + NEW)
    assert not sniff(SUMMARY_16) and not sniff(ROW_17) and not sniff(b"")
    assert read(tmp_path, HEADER_17.upper(), ROW_17)[0].height == 1


def test_rows_before_any_header_are_dropped_by_reason(tmp_path: Path) -> None:
    rows, source = read(tmp_path, ROW_17, HEADER_17, ROW_17)
    assert rows.height == 1
    assert source.accounting.dropped == {"no header before it": 1}


@given(st.lists(st.sampled_from(["nfdump json", "nfdump ndjson"]), min_size=1, max_size=4), st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_joined_json_is_the_sum_of_its_parts(tmp_path: Path, names: list[str], spoken: bool) -> None:
    parts = [TEXTS[name][1].rstrip(b"\n") + b"\n" for name in names]
    between = b"No matched flows\n" if spoken else b""
    rows, source = read(tmp_path, *(part + between for part in parts))
    assert rows.height == 5 * len(parts)
    assert source.accounting.dropped.total() == (len(parts) if spoken else 0)


def test_a_cut_json_output_does_not_take_the_next_one_along(tmp_path: Path) -> None:
    whole = TEXTS["nfdump json"][1]
    rows, source = read(tmp_path, whole[: len(whole) - 30], b"\n", whole)
    assert rows.height == 9
    assert source.accounting.dropped == {"broken JSON line": 1}
