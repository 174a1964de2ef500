"""Label files: parsing, errors with line numbers, and matching by device and time."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethogram.errors import ConfigurationError, EthogramError, InputError
from ethogram.identify.labels import label_device, match_labels, read_labels
from ethogram.identify.library import Identity

from .traffic import days, windows_of


def written(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_text(text)
    return file


def test_columns_may_have_any_order(tmp_path: Path) -> None:
    file = written(tmp_path, "type,label,device,vendor\ncamera, den ,aa:bb,acme\n")
    assert read_labels(file)[0].identity == Identity("den", "", "acme", "camera")


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("", InputError, "labels.csv: the file is empty"),
        ("device,label\n", InputError, "labels.csv: no device is labelled"),
        ("device,name\na,b\n", ConfigurationError, "no label"),
        ("device,label,colour\na,b,c\n", ConfigurationError, "no column 'colour'"),
        ("device,label\na,b\n,c\n", InputError, "labels.csv:3: no device"),
        ("device,label\na,\n", InputError, "labels.csv:2: no label"),
        ("device,label\na,b,c\n", InputError, "labels.csv:2: more fields"),
        ("device,label,from\na,b,soon\n", InputError, "labels.csv:2: from 'soon' is not a time"),
    ],
)
def test_errors_name_line_and_reason(tmp_path: Path, text: str, error: type, reason: str) -> None:
    with pytest.raises(error) as raised:
        read_labels(written(tmp_path, text))
    assert reason in str(raised.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"device,label\n\xff\xfe,\x00\n")
    with pytest.raises(EthogramError, match="not UTF-8"):
        read_labels(tmp_path / "b.csv")


def test_labels_apply_within_their_time_and_ignore_case(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "device,label,from,to\nAA:BB,old,,2024-03-05\naa:bb,new,2024-03-05,\nmissing,x,,\n",
    )
    windows = windows_of(days("plug", "aa:bb", 3), days("plug", "bare", 1))
    matched = match_labels(windows, read_labels(file))
    assert [i and i.label for i in matched.identities] == ["old", "new", "new", None]
    assert matched.devices_without_label == ["bare"]
    assert matched.labels_without_device == ["missing"]


def test_a_label_is_added_and_replaced_and_other_rows_stay(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    assert label_device(file, "AA:00:00:00:00:01", Identity("porch", type="camera")).endswith("1 row in all")
    label_device(file, "desk, left", Identity("plug", vendor="acme"))
    line = label_device(file, "aa-00-00-00-00-01", Identity("yard"))
    assert line.endswith("aa-00-00-00-00-01 is yard (was porch); 2 rows in all")
    assert file.read_text() == 'device,label,type,vendor\naa-00-00-00-00-01,yard,,\n"desk, left",plug,,acme\n'
    label_device(file, "desk, left", Identity("plug", model="p1"))
    assert [label.identity for label in read_labels(file)] == [Identity("yard"), Identity("plug", "p1", "acme")]


def test_rows_with_an_end_stay_and_an_overlap_is_never_written(tmp_path: Path) -> None:
    file = written(tmp_path, "device,label,from,to\ncam,old,,2024-01-01\ncam,now,2024-01-01,\n")
    label_device(file, "cam", Identity("new"))
    assert file.read_text() == "device,label,from,to\ncam,old,,2024-01-01\ncam,new,2024-01-01,\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("device,name\na,b\n", "no label"), ("device,label\na,b,c\n", "labels.csv:2: more fields"), ("\x00", "NUL")],
)
def test_a_file_that_is_no_label_file_is_left_alone(tmp_path: Path, text: str, reason: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(EthogramError, match=reason):
        label_device(file, "a", Identity("b"))
    assert file.read_text() == text
    with pytest.raises(InputError, match="no label is given"):
        label_device(file, "a", Identity(" "))


def test_a_file_of_column_names_alone_is_filled(tmp_path: Path) -> None:
    file = written(tmp_path, "device,label\n")
    label_device(file, "a", Identity("b"))
    assert file.read_text() == "device,label\na,b\n"
