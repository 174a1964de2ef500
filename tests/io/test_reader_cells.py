"""All readers: any text in a numeric cell is parsed to its value or counted, never read as another value."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from ethogram.config import FlowSettings
from ethogram.io.capture import is_capture
from ethogram.io.open import open_inputs
from ethogram.io.parse_columns import UNSET
from ethogram.io.record_reader import RecordReader
from ethogram.pipeline.flows import read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import BIFLOW, FLOW
from flow_records import MAPPED_CSV, MAPPING, NFDUMP_HEADER, ZEEK_FIELDS, ZEEK_ROWS, joy_json, nfdump_csv, yaf, zeek_tsv

LAW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
FIELDS = ("octets", "packets", "source_port", "destination_port", "duration")
START = datetime(2019, 5, 1, 0, 0, 1, tzinfo=UTC)
BIFLOW_ROW = {
    "start": START, "end": START, "protocol": 6, "source_address": "192.168.1.5",
    "destination_address": "198.51.100.7", "source_port": 50000, "destination_port": 443, "octets": 1500,
    "packets": 12, "reverse_octets": 5600, "reverse_packets": 10,
}  # fmt: skip

NAMES: dict[str, tuple[str, ...]] = {
    "zeek": ("orig_ip_bytes", "orig_pkts", "id.orig_p", "id.resp_p", "duration"),
    "zeek json": ("orig_ip_bytes", "orig_pkts", "id.orig_p", "id.resp_p", "duration"),
    "nfdump": ("ibyt", "ipkt", "sp", "dp", "td"),
    "yaf": ("octetTotalCount", "packetTotalCount", "sourceTransportPort", "destinationTransportPort"),
    "joy": ("bytes_out", "num_pkts_out", "sp", "dp"),
    "csv": ("bytes", "pkts", "fp", "tp", "secs"),
    "parquet": ("octets", "packets", "source_port", "destination_port"),
}
"""Field names of each reader, by reader; see :data:`FIELDS`."""


def written(form: str, name: str, junk: str, folder: Path) -> Path:
    """A file with one record and a given text in one cell."""
    file = folder / ("flows.parquet" if form == "parquet" else "records")
    if form == "zeek":
        row = [junk if field == name else value for field, value in zip(ZEEK_FIELDS, ZEEK_ROWS[1], strict=True)]
        file.write_bytes(zeek_tsv(rows=[row]))
    elif form == "zeek json":
        file.write_text(json.dumps(dict(zip(ZEEK_FIELDS, ZEEK_ROWS[1], strict=True)) | {name: junk}))
    elif form == "nfdump":
        header = NFDUMP_HEADER.split(",")
        cells = nfdump_csv().decode().split("\n")[3].split(",")
        cells[header.index("te")] = cells[0] if name == "td" else cells[header.index("te")]
        cells[header.index(name)] = junk
        file.write_text(f"{NFDUMP_HEADER}\n{','.join(cells)}\n")
    elif form == "yaf":
        file.write_text(json.dumps({"flows": yaf(**{name: junk})}))
    elif form == "joy":
        file.write_text(json.dumps(json.loads(joy_json().split(b"\n")[1]) | {name: junk}))
    elif form == "csv":
        header, _, line, _ = MAPPED_CSV.decode().strip().split("\n")
        cells = line.split(";")
        cells[header.split(";").index(name)] = junk
        file.write_text(f"{header}\n{';'.join(cells)}\n")
    else:
        pl.DataFrame([BIFLOW_ROW]).with_columns(pl.lit(junk).alias(name)).write_parquet(file)
    return file


def read(form: str, file: Path, folder: Path) -> tuple[pl.DataFrame, RecordReader]:
    mapping = folder / "map.toml"
    mapping.write_text(MAPPING)
    (opened,) = open_inputs(
        file, FlowSettings(), is_capture, form=form.split(" ", maxsplit=1)[0],
        mapping=mapping if form == "csv" else None,
    )  # fmt: skip
    assert opened.source is not None
    source = opened.source()
    rows = pl.concat([BIFLOW.empty(), *source.batches()])
    source.accounting.check()
    assert isinstance(source, RecordReader)
    assert source.accounting.used == rows.height
    return rows, source


def meaning(text: str, form: str) -> Decimal | None:
    """The value of a cell by the simplest interpretation; None if it has none."""
    bare = text.strip()
    if bare.lower() in UNSET:
        return Decimal(0)
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", bare):
        return Decimal(int(bare, 16))
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", bare):
        return Decimal(bare)
    rounded = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) *([KMGT])", bare)
    if form == "nfdump" and rounded:
        return Decimal(rounded[1]) * 1000 ** ("KMGT".index(rounded[2]) + 1)
    return None


junk_text = st.one_of(
    st.text(st.sampled_from("0123456789.'+-eExX_ KMGTB٣２naif:/"), max_size=9),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=',;"\t\u2028\u2029\x85'), max_size=6),
    st.sampled_from(["1,234", "12,5", "1.234", "1'234", "2.3 M", "NULL", "inf", "nan", "0x400", "1e6", "-5", "50001.9",
                     "18446744073709551616", "9223372036854775808", "00:00:04.096", "1_000", "+5", "true"]),
)  # fmt: skip


@pytest.mark.parametrize(("form", "field"), [(form, f) for form, names in NAMES.items() for f in FIELDS[: len(names)]])
def test_what_stands_in_a_cell_is_read_or_counted(
    form: str, field: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cells")
    name = NAMES[form][FIELDS.index(field)]

    @LAW
    @given(junk_text)
    @example("1.234")
    @example("2.3 M")
    @example("٣")
    def law(junk: str) -> None:
        assume("," not in junk or form not in {"zeek", "nfdump"})
        rows, source = read(form, written(form, name, junk, folder), folder)
        counts = source.accounting
        assert counts.read == 1
        message = meaning(junk, form)
        if not rows.height:
            (reason,) = counts.dropped
            shown = field.replace("_", " ")
            ports = {"no port"} if field.endswith("port") else set()
            assert reason in {f"unreadable {shown}", f"{shown} out of range", *ports}
            assert source.first_problem is not None
        elif field == "duration":
            took = (rows["end"] - rows["start"])[0]
            if message is None:  # a clock
                assert re.fullmatch(r"\s*[0-9]*:[0-5]\d:[0-5]\d(\.\d+)?\s*", junk, re.ASCII)
            elif not (form == "nfdump" and message == 0):
                assert abs(took - timedelta(seconds=float(message))) <= timedelta(microseconds=1)
        else:
            payload = form.startswith("zeek") and field == "octets" and junk.strip().lower() in UNSET
            assert rows[field][0] == (900 if payload else message)
        if junk.strip().lower() not in {*UNSET} and message is None and field != "duration":
            assert not rows.height
            assert counts.dropped

    law()


@pytest.mark.parametrize("values", [[1700000000], [1700000000000], [1700000000000000], [1700000000000000000]])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String])
def test_parquet_times_as_numbers_are_read_by_their_size(values: list[int], dtype: pl.DataType, tmp_path: Path) -> None:
    numbers = pl.Series(values).cast(pl.Int64).cast(dtype)
    file = tmp_path / "flows.parquet"
    pl.DataFrame([BIFLOW_ROW]).with_columns(start=numbers, end=numbers).write_parquet(file)
    rows, _ = read("parquet", file, tmp_path)
    assert rows["start"].to_list() == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_port": -1}, "source port out of range"), ({"source_port": 50001.9}, "unreadable source port"),
        ({"octets": 1000.7}, "unreadable octets"), ({"octets": float("inf")}, "unreadable octets"),
        ({"protocol": 300}, "protocol out of range"), ({"source_address": "host-a"}, "unreadable source address"),
        ({"start": None}, "no start time"), ({"start": datetime(1, 1, 1, tzinfo=UTC)}, "unreadable start time"),
        ({"start": True}, "unreadable start time"),
        ({"destination_address": b"\xff"}, "unreadable destination address"),
        ({"packets": [1]}, "unreadable packets"), ({"destination_port": None}, "no port"),
    ],
)  # fmt: skip
def test_one_bad_value_drops_its_row_alone(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    good = pl.DataFrame([BIFLOW_ROW])
    ((name, value),) = changes.items()
    column = pl.Series(name, [value]) if value is not None else pl.Series(name, [None], dtype=good.schema[name])
    file = tmp_path / "flows.parquet"
    if isinstance(value, bool | bytes | list):
        good.with_columns(column).write_parquet(file)
        used = 0
    else:
        bad = good.with_columns(column)
        pl.concat([good, bad, good], how="vertical_relaxed").write_parquet(file)
        used = 2
    rows, source = read("parquet", file, tmp_path)
    assert rows.height == used
    assert source.accounting.dropped == {reason: 1}
    assert source.first_problem == (2 if used else 1, reason)


def test_parquet_addresses_macs_and_ends_are_normalised(tmp_path: Path) -> None:
    row = BIFLOW_ROW | {
        "source_address": "::FFFF:192.168.1.5", "destination_address": "FE80:0:0::5%eth0",
        "source_mac": "AA-BB-CC-00-00-01", "destination_mac": "nonsense", "end": START - timedelta(seconds=5),
    }  # fmt: skip
    file = tmp_path / "flows.parquet"
    pl.DataFrame([row]).write_parquet(file)
    rows, source = read("parquet", file, tmp_path)
    got = rows.row(0, named=True)
    assert (got["source_address"], got["destination_address"]) == ("192.168.1.5", "fe80::5")
    assert (got["source_mac"], got["destination_mac"]) == ("aa:bb:cc:00:00:01", None)
    assert (got["start"], got["end"]) == (START - timedelta(seconds=5), START)
    assert source.accounting.corrected == {"end before start": 1, "unreadable destination MAC": 1}


def test_a_flow_table_goes_through_the_same_checks(tmp_path: Path) -> None:
    row = {"device": "::ffff:192.168.1.5", "device_address": "::ffff:192.168.1.5", "remote": "2001:DB8::7",
           "local_port": 50000, "remote_port": 443, "protocol": 6, "start": START, "end": START - timedelta(seconds=5),
           "octets_out": 1, "octets_in": 2, "packets_out": 1, "packets_in": 2, "initiator": "device",
           "service_port": 443, "role": "client", "scope": "wan", "answered": True, "joined": 1}  # fmt: skip
    rows = [row, row | {"local_port": 70000}, row | {"role": "master"}, row | {"remote": None}]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / "f.parquet")
    run = read_flows([tmp_path / "f.parquet"])
    table = pl.concat(list(run.batches()))
    assert FLOW.matches(table.schema)
    assert table.select("device", "device_address", "remote").rows() == [("192.168.1.5", "192.168.1.5", "2001:db8::7")]
    assert table.select("start", "end").rows() == [(START - timedelta(seconds=5), START)]
    (report,) = run.reports
    assert report.accounting.dropped == {
        "local port out of range": 1, "unreadable role": 1, "empty required column": 1,
    }  # fmt: skip
    assert report.accounting.corrected == {"end before start": 1}
    assert report.first_problem == f"{tmp_path / 'f.parquet'}:2: local port out of range"


def test_strict_stops_at_an_optional_field_too(tmp_path: Path) -> None:
    from ethogram.errors import InputError

    file = tmp_path / "yaf.json"
    file.write_text("\n".join(json.dumps({"flows": yaf(**changes)}) for changes in ({}, {"vlanId": "many"})))
    run = read_flows([file])
    assert sum(batch.height for batch in run.batches()) == 2
    assert run.reports[0].accounting.corrected == {"unreadable vlan": 1}
    with pytest.raises(InputError, match=r"yaf.json:2: unreadable vlan"):
        list(read_flows([file], ReadOptions(strict=True)).batches())


@pytest.mark.parametrize(
    ("te", "td", "lasts", "corrected"),
    [
        ("2019-05-01 00:00:01", "0.500", 0.5, 0), ("2019-05-01 00:00:11.000", "0.000", 10, 0),
        ("2019-05-01 00:00:01", "3.000", 3, 1), ("2019-04-30 23:00:21", "20.000", 20, 0),
        ("2019-05-01 00:00:05", "-", 4, 0), ("2019-05-01 00:00:05", "00:00:04.096", 4.096, 0),
    ],
)  # fmt: skip
def test_the_duration_of_nfdump_goes_before_its_end_time(
    te: str, td: str, lasts: float, corrected: int, tmp_path: Path
) -> None:
    cells = nfdump_csv().decode().split("\n")[3].split(",")
    cells[1], cells[2] = te, td
    (tmp_path / "records").write_text(f"{NFDUMP_HEADER}\n{','.join(cells)}\n")
    rows, source = read("nfdump", tmp_path / "records", tmp_path)
    assert (rows["end"] - rows["start"])[0] == timedelta(seconds=lasts)
    assert source.accounting.corrected.total() == corrected


def table_of(toml: str, text: str, folder: Path) -> tuple[pl.DataFrame, RecordReader]:
    (folder / "map.toml").write_text(toml)
    (folder / "flows.csv").write_text(text)
    (opened,) = open_inputs(folder / "flows.csv", FlowSettings(), is_capture, mapping=folder / "map.toml")
    assert opened.source is not None
    source = opened.source()
    assert isinstance(source, RecordReader)
    return pl.concat([BIFLOW.empty(), *source.batches()]), source


def test_a_mapping_states_decimal_and_thousands_marks(tmp_path: Path) -> None:
    text = MAPPED_CSV.decode().split("\n")[0] + "\n1700000000,25;12,5;10.0.0.1;10.0.0.2;40000;53;u;1.234.567;1.234\n"
    rows, source = table_of(MAPPING + 'decimal = ","\nthousands = "."\n', text, tmp_path)
    assert rows.select("octets", "packets").rows() == [(1_234_567, 1_234)]
    assert (rows["end"] - rows["start"])[0] == timedelta(seconds=12.5)
    assert rows["start"][0] == datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)
    rows, source = table_of(MAPPING, text.replace("1700000000,25", "1700000000"), tmp_path)
    assert source.accounting.dropped == {"unreadable duration": 1}


