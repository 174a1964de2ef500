"""The contract of all readers of flow records, which are discovered from the registry."""

from __future__ import annotations

import gzip
import random
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from ethogram.config import FlowSettings
from ethogram.errors import ConfigurationError, EthogramError, InputError, UsageError
from ethogram.io.capture import is_capture
from ethogram.io.open import READERS, Input, open_inputs
from ethogram.io.open_files import expand
from ethogram.schema import BIFLOW, FLOW
from flow_records import MAPPED_CSV, MAPPING, TEXTS, yaf


def opened(path: Path, form: str | None = None, mapping: Path | None = None) -> Input:
    (result,) = open_inputs(path, FlowSettings(), is_capture, form=form, mapping=mapping)
    return result


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    file = tmp_path / "map.toml"
    file.write_text(MAPPING)
    return file


def written(folder: Path, name: str, content: bytes | None = None) -> Path:
    file_name, text = TEXTS[name]
    file = folder / file_name
    file.write_bytes(text if content is None else content)
    return file


def all_rows(opening: Input) -> tuple[pl.DataFrame, object]:
    assert opening.source is not None
    source = opening.source()
    frames = list(source.batches())
    assert all(BIFLOW.matches(frame.schema) for frame in frames)
    source.accounting.check()
    return pl.concat([BIFLOW.empty(), *frames]), source


def test_every_reader_of_the_registry_has_an_example() -> None:
    assert {name.split(" ")[0] for name in TEXTS} - {"mapped"} == set(READERS)


@pytest.mark.parametrize("name", TEXTS)
def test_a_reader_gives_the_flows_that_were_written(name: str, tmp_path: Path, mapping: Path) -> None:
    result = opened(written(tmp_path, name), mapping=mapping if name == "mapped" else None)
    assert result.format == {"mapped": "csv"}.get(name, name.split(" ", maxsplit=1)[0])
    rows, source = all_rows(result)
    count = 5 if name.startswith("nfdump") else 3
    assert (source.accounting.read, source.accounting.used) == (count, count)  # type: ignore[attr-defined]
    ends = rows.select("source_address", "source_port", "destination_address", "destination_port", "protocol").rows()
    assert ("192.168.1.5", 40000, "192.168.1.1", 53, 17) in ends
    assert ("203.0.113.9", 51000, "192.168.1.5", 23, 6) in ends
    tls = rows.filter(pl.col("destination_port") == 443).row(0, named=True)
    assert tls["start"] == datetime(2019, 5, 1, 0, 0, 1, tzinfo=UTC)
    assert tls["end"] == datetime(2019, 5, 1, 0, 0, 11, tzinfo=UTC)
    assert (tls["octets"], tls["packets"]) == (1500, 12)
    one_way = name == "mapped" or name.startswith("nfdump")
    assert (tls["reverse_octets"], tls["reverse_packets"]) == ((0, 0) if one_way else (5600, 10))
    if not one_way:
        assert (tls["initial_tcp_flags"], tls["reverse_initial_tcp_flags"]) == (2, 18)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_cut_gives_what_was_whole_and_the_sums_hold(name: str, tmp_path: Path, mapping: Path) -> None:
    whole = TEXTS[name][1]
    for share in (0.3, 0.55, 0.8, 0.97):
        cut = whole[: int(len(whole) * share)]
        file = written(tmp_path, name, cut)
        form = "csv" if name == "mapped" else name.split(" ", maxsplit=1)[0]
        try:
            rows, source = all_rows(opened(file, form=form, mapping=mapping if name == "mapped" else None))
        except EthogramError as error:
            assert "\n" not in str(error)
            continue
        assert rows.height <= 5
        assert source.accounting.used == rows.height  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", TEXTS)
def test_random_octets_raise_our_error_or_nothing(name: str, tmp_path: Path, mapping: Path) -> None:
    chance = random.Random(name)
    whole = bytearray(TEXTS[name][1])
    form = "csv" if name == "mapped" else name.split(" ", maxsplit=1)[0]
    for attempt in range(12):
        noise = bytes(chance.randrange(256) for _ in range(600))
        if attempt % 2:  # damage inside a good text reaches deeper than noise alone
            noise = bytes(chance.randrange(256) if chance.random() < 0.03 else octet for octet in whole)
        file = written(tmp_path, name, noise)
        try:
            all_rows(opened(file, form=form, mapping=mapping if name == "mapped" else None))
        except EthogramError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("form", [*READERS, "parquet", None])
def test_an_empty_file_is_refused_in_one_line(form: str | None, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    with pytest.raises(InputError, match=r"empty: the file is empty$"):
        opened(file, form=form)


@pytest.mark.parametrize("name", TEXTS)
def test_packed_texts_read_as_plain_ones(name: str, tmp_path: Path, mapping: Path) -> None:
    file_name, text = TEXTS[name]
    with_mapping = mapping if name == "mapped" else None
    plain, _ = all_rows(opened(written(tmp_path, name), mapping=with_mapping))
    (tmp_path / "x.gz").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(file_name, text)
    for file in (tmp_path / "x.gz", tmp_path / "x.zip"):
        rows, _ = all_rows(opened(file, mapping=with_mapping))
        assert rows.equals(plain)


def test_a_truncated_gzip_yields_its_rows_and_is_reported(tmp_path: Path) -> None:
    text = TEXTS["zeek tsv"][1] + b"".join(b"%d.5\tC\t10.0.0.1\t1\t10.0.0.2\t53\tudp\n" % i for i in range(50_000))
    file = tmp_path / "conn.log.gz"
    file.write_bytes(gzip.compress(text)[:-3000])
    source = opened(file).source()  # type: ignore[misc]
    got = 0
    with pytest.raises(InputError, match=r"conn.log.gz: the compressed file is truncated"):
        for frame in source.batches():
            got += frame.height
    assert got >= 3
    source.accounting.check()


def test_line_and_reason_of_the_first_broken_record(tmp_path: Path) -> None:
    text = TEXTS["yaf"][1].split(b"\n")
    file = tmp_path / "yaf.json"
    file.write_bytes(b"\n".join([text[0], b"", b'{"flows": {"flowStart', text[1], b'"a string"']))
    rows, source = all_rows(opened(file))
    assert rows.height == 2
    assert source.first_problem == (3, "broken JSON line")  # type: ignore[attr-defined]
    assert source.accounting.dropped == {"broken JSON line": 2}  # type: ignore[attr-defined]


def test_values_that_do_not_fit_are_dropped_by_reason(tmp_path: Path) -> None:
    import json

    records = [
        yaf(), yaf(sourceIPv4Address="10.0.0"), yaf(flowStartMilliseconds="yesterday"), yaf(protocolIdentifier=None),
        yaf(sourceTransportPort=70000), yaf(octetTotalCount=-1),
        yaf(flowEndMilliseconds="2019-05-01 00:00:00.500"),
    ]  # fmt: skip
    file = tmp_path / "yaf.json"
    file.write_text("\n".join(json.dumps({"flows": record}) for record in records))
    rows, source = all_rows(opened(file))
    accounting = source.accounting  # type: ignore[attr-defined]
    assert rows.height == accounting.used == 2
    assert accounting.dropped == {
        "unreadable source address": 1, "unreadable start time": 1, "no protocol": 1, "source port out of range": 1,
        "octets out of range": 1,
    }  # fmt: skip
    assert accounting.corrected == {"end before start": 1}
    assert source.first_problem == (2, "unreadable source address")  # type: ignore[attr-defined]


def test_arbitrary_content_has_no_format(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(InputError, match=r"notes.txt: unknown format; CSV with other columns needs --mapping"):
        opened(file)
    with pytest.raises(UsageError, match="unknown format 'netflow'; expected one of yaf, zeek"):
        opened(file, form="netflow")


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("", r"\[columns\] is missing or empty"),
        ("[columns]\n", r"\[columns\] is missing or empty"),
        ('[columns]\nstart = ""\n', "field 'start' has no column name"),
        ('[columns]\nbegin = "x"\n', "unknown field 'begin'"),
        ('[columns]\nstart = "begin"\n', "no column for source_address, destination_address, protocol"),
        ("start = begin", "not TOML"),
        (MAPPING + '[time]\nzone = "Mars/Olympus"\n', "unknown time zone 'Mars/Olympus'"),
        (MAPPING + '[units]\nduration = "weeks"\n', "units.duration must be one of s, ms, us, ns"),
        (MAPPING + "[colour]\n", "unknown section 'colour'"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(toml: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text(toml)
    with pytest.raises(ConfigurationError, match=rf"mapping .*map.toml: {reason}"):
        opened(written(tmp_path, "mapped"), mapping=file)


def test_a_mapping_to_a_column_that_is_not_there_says_which_there_are(tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text(MAPPING.replace('"begin"', '"began"'))
    with pytest.raises(
        ConfigurationError, match=r"start is mapped to column 'began', but .*flows.csv has only begin"
    ):
        all_rows(opened(written(tmp_path, "mapped"), mapping=file))


def test_totals_of_both_directions_are_halved_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text(MAPPING.replace("octets =", "total_octets =").replace("packets =", "total_packets ="))
    rows, _ = all_rows(opened(written(tmp_path, "mapped", MAPPED_CSV), mapping=file))
    assert (rows["octets"] + rows["reverse_octets"]).to_list() == [58, 1500, 60]
    assert rows["packets"].to_list() == [1, 6, 1]
    assert rows["reverse_packets"].to_list() == [0, 6, 0]


def test_parquet_tables_are_distinguished_by_columns(tmp_path: Path) -> None:
    BIFLOW.empty().write_parquet(tmp_path / "b.parquet")
    FLOW.empty().write_parquet(tmp_path / "f.parquet")
    pl.DataFrame({"start": [1]}).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-20])
    assert opened(tmp_path / "b.parquet").format == "parquet"
    assert opened(tmp_path / "f.parquet").format == "flow-table"
    with pytest.raises(InputError, match=r"x.parquet: not a biflow table: the Parquet file has no column end"):
        opened(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"cut.parquet: not a readable Parquet file"):
        opened(tmp_path / "cut.parquet")


def test_directories_and_globs_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.json", "a.json", "b/1.json", ".hidden", "b/.git/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [str(path.relative_to(tmp_path)) for path, _ in expand([tmp_path])]
    assert names == ["a.json", "b/1.json", "b/2.json"]
    twice = expand([f"{tmp_path}/b/*.json", tmp_path / "b/2.json"])
    assert [(path.name, by_user) for path, by_user in twice] == [("1.json", False), ("2.json", True)]
    with pytest.raises(InputError, match="no such file"):
        expand([tmp_path / "gone"])
    with pytest.raises(InputError, match="contains no files"):
        expand([f"{tmp_path}/*.nothing"])
    with pytest.raises(InputError, match="an input is empty"):
        expand([""])
