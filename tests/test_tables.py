"""Text files that people write: encodings, headers and spellings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram._tables import TextFileError, rows_of, utf8_text
from ethogram.errors import ConfigurationError, EthogramError, InputError
from ethogram.flow.devices_file import DeviceFile
from ethogram.identify.labels import read_labels
from ethogram.io.mapping import Mapping

LATIN = "device,label\r\nporch,Küche\r\n".encode("latin-1")


@given(st.binary(max_size=60))
def test_any_octets_are_rows_or_not_readable(content: bytes) -> None:
    try:
        names, rows = rows_of(content)
        for line, row in rows:
            assert line >= 1
            assert list(row) == names
    except TextFileError as error:
        assert error.reason


@given(st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"])))
def test_utf8_is_read_with_and_without_a_byte_order_mark(text: str) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        assert utf8_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (LATIN, 2, "not UTF-8: octet 0xfc at column 8, perhaps Latin-1 or Windows-1252; save it as UTF-8"),
        ("device,label\na,b\n".encode("utf-16"), None, "it is UTF-16"),
        ("device,label\na,b\n".encode("utf-16-le"), 1, "a NUL octet"),
        (b"\x1f\x8b\x08\x00", None, "a gzip file, not UTF-8 text; unpack it"),
        (b'device,label\n"a,b\n', 2, "unexpected end"),
        (b"device,Device ,label\n", 1, "two columns 'device'"),
        (b"device,label\na,b,c\n", 2, "more fields than columns"),
        (b"device,label,,\na,b,,\na,b,c,\n", 3, "a value in a column without a name"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(content: bytes, line: int | None, says: str) -> None:
    with pytest.raises(TextFileError) as error:
        list(rows_of(content)[1])
    assert says in error.value.reason
    assert error.value.line == line


@pytest.mark.parametrize("read", [read_labels, DeviceFile.load, Mapping.load])
def test_labels_devices_and_mappings_name_file_line_and_encoding(tmp_path: Path, read: object) -> None:
    assert callable(read)
    path = tmp_path / "file"
    path.write_bytes(LATIN)
    with pytest.raises(EthogramError) as error:
        read(path)
    assert f"{path}:2: not UTF-8" in str(error.value)
    assert "codec" not in str(error.value)


def test_headers_of_labels_and_devices_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text('Device , LABEL\n 192.168.1.5 , "camera, big"\n')
    assert [(item.device, item.identity.label) for item in read_labels(path)] == [("192.168.1.5", "camera, big")]
    path.write_text("Device , MAC, Ip\n porch , 00-17-88-0A-0B-0C ,\n")
    assert DeviceFile.load(path).entries["key"].to_list() == ["00:17:88:0a:0b:0c"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.168.1.5", "192.168.1.5"), ("porch", "Porch"), ("00:17:88:0a:0b:0c", "0-17-88-A-B-C"),
        ("0017.880a.0b0c", "00:17:88:0A:0B:0C"), ("fd00::1", "FD00:0::1"), ("192.168.1.5", "::ffff:192.168.1.5"),
    ],
)  # fmt: skip
def test_two_labels_of_one_device_at_one_time_are_refused(tmp_path: Path, first: str, second: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"device,label\n{first},camera\n{second},plug\n")
    with pytest.raises(InputError, match=r"labels.csv:3: .* is labelled 'camera' \(line 2\) and 'plug' at once"):
        read_labels(path)
    path.write_text(f"device,label,from,to\n{first},camera,,2024-05-02\n{second},plug,2024-05-01,\n")
    with pytest.raises(InputError, match="at once"):
        read_labels(path)
    path.write_text(f"device,label,from,to\n{second},plug,2024-05-02,\n{first},camera,,2024-05-02\n")
    assert len(read_labels(path)) == 2
    path.write_text(f"device,label\n{first},camera\n{second},camera\n")
    assert len(read_labels(path)) == 2


def test_a_device_file_with_more_fields_than_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    path.write_text("device,mac\nporch,00:17:88:0a:0b:0c,192.168.1.5\n")
    with pytest.raises(ConfigurationError, match=r"devices.csv:2: more fields than columns"):
        DeviceFile.load(path)
