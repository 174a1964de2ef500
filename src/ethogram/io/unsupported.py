"""Describe common files in unsupported formats, recognised by their first octets, and advise how to convert them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ethogram.io.encoding import encoding_of

__all__ = ["describe"]

_EDITCAP = "write it as pcap with 'editcap -F pcap FILE FILE.pcap'"
_UNPACK = "unpack it first"
_NFDUMP = "write it as text with 'nfdump -r FILE -o csv > FILE.csv'"

_MAGICS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x0c\xa5\x01\0", "an nfcapd file of nfdump 1.6", _NFDUMP),
    (0, b"\xa5\x0c\0\x01", "an nfcapd file of nfdump 1.6", _NFDUMP),
    (0, b"\x0c\xa5\x02\0", "an nfcapd file of nfdump 1.7", _NFDUMP),
    (0, b"\xa5\x0c\0\x02", "an nfcapd file of nfdump 1.7", _NFDUMP),
    (0, b"\x0c\xa5", "an nfcapd file", _NFDUMP),
    (0, b"\xa5\x0c", "an nfcapd file", _NFDUMP),
    (0, b"\xde\xad\xbe\xef", "a SiLK file", "write it as IPFIX with 'rwsilk2ipfix FILE --ipfix-output=FILE.ipfix'"),
    (0, b"snoop\0\0\0", "a snoop capture", _EDITCAP),
    (0, b"GMBU", "a Network Monitor capture", _EDITCAP),
    (0, b"RTSS", "a Network Monitor capture", _EDITCAP),
    (0, b"TRSNIFF data", "a Sniffer capture", _EDITCAP),
    (0, b"XCP\0", "a NetXRay capture", _EDITCAP),
    (0, b"iptrace ", "an iptrace capture", _EDITCAP),
    (0, b"\x7fver", "an OmniPeek capture", _EDITCAP),
    (0, b"ElfFile\0", "a Windows event log", "export its connections as CSV and give a --mapping"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"MSCF", "a cabinet archive", _UNPACK),
    (0, b"\x1f\x9d", "a file compressed with compress (.Z)", _UNPACK),
    (0, b"LZIP", "a file compressed with lzip", _UNPACK),
    (0, b"\x89LZO", "a file compressed with lzop", _UNPACK),
    (0, b"\x02\x21\x4c\x18", "a file in LZ4's legacy form", _UNPACK),
    (0, b"\xff\x06\0\0sNaPpY", "a file compressed with Snappy", _UNPACK),
    (0, b"]\0\0", "a file compressed with lzma", _UNPACK),
    (0, b"PK\x07\x08", "part of a split zip archive", _UNPACK),
    (0, b"070701", "a cpio archive", _UNPACK),
    (0, b"!<arch>\n", "an ar archive", _UNPACK),
    (0, b"-----BEGIN PGP", "an encrypted file", "decrypt it first"),
    (0, b"Salted__", "an encrypted file", "decrypt it first"),
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with 'git lfs pull'"),
    (0, b"\x7fELF", "a program", ""),
    (0, b"MZ\x90", "a program", ""),
    (0, b"#!/", "a script", ""),
    (0, b"%PDF", "a PDF", ""),
    (0, b"\x89PNG", "an image", ""),
    (0, b"\xff\xd8\xff", "an image", ""),
    (0, b"GIF8", "an image", ""),
    (0, b"SQLite format 3\0", "an SQLite database", "export its flows as CSV and give a --mapping"),
    (0, b"\x89HDF\r\n", "an HDF5 file", "export its flows as CSV or Parquet"),
    (0, b"Obj\x01", "an Avro file", "export its flows as CSV or Parquet"),
    (0, b"ORC", "an ORC file", "export its flows as CSV or Parquet"),
    (0, b"ARROW1", "an Arrow file", "write it as Parquet"),
    (0, b"\x93NUMPY", "a NumPy file", "export its flows as CSV or Parquet"),
    (0, b"PCK\0", "a k12 capture", _EDITCAP),
    (0, b"{\\rtf", "a rich text document", ""),
    (0, b"\xd0\xcf\x11\xe0", "an Office document", "export its table as CSV and give a --mapping"),
)  # fmt: skip
"""Offset, octets, description, advice. Longer magic numbers precede shorter ones with the same beginning."""

_ARGUS = b"\xe5\x71\x2d"
_WORDS: tuple[tuple[bytes, str, str], ...] = (
    (b"<!doctype html", "a web page", "the download may have failed"),
    (b"<html", "a web page", "the download may have failed"),
    (b"<pdml", "packets as XML", "give the capture itself"),
    (b"<?xml", "XML", ""),
    (b"date first seen", "nfdump's human-readable table", "write 'nfdump -r FILE -o csv > FILE.csv'"),
    (b"version account-id interface-id", "an AWS VPC flow log", "give a --mapping with text.delimiter = \" \""),
)  # fmt: skip
_PIECES: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b'"event_type"', b'"src_ip"'), "Suricata's EVE JSON", "export its flow records as CSV and give a --mapping"),
    ((b'"_source"', b'"layers"'), "packets as JSON", "give the capture itself"),
    ((b'"id":', b'"orig_h"', b'"resp_h"'), "a Zeek log with nested id fields", "flatten them to id.orig_h and so on"),
    ((b"id_orig_h", b"id_resp_h"), "a Zeek log whose field names have underscores",
     "set Zeek's scope separator to '.'"),
    ((b'"StartTime"', b'"SrcAddr"'), "Argus records as JSON", "write CSV with 'ra -r FILE -c,' and give a --mapping"),
    ((b"StartTime,", b"SrcAddr"), "Argus records as CSV", "give a --mapping"),
)  # fmt: skip
_NO_HEADER = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?,){2}[\d.:]+,[0-9a-fA-F.:]{3,},")
_RECORDS = {1: (16, 52), 7: (24, 52)}
"""Unsupported NetFlow versions: octets of the header and of a record."""
_SUFFIXES = {
    ".erf": ("an ERF capture", _EDITCAP),
    ".etl": ("a Windows event trace", "convert it with 'etl2pcapng FILE FILE.pcapng'"),
    ".silk": ("a SiLK file", "write it as IPFIX with rwsilk2ipfix"),
    ".argus": ("an Argus file", "write CSV with 'ra -r FILE -c,' and give a --mapping"),
}  # fmt: skip


def describe(head: bytes, file_name: str = "") -> str | None:
    """Describe a file in an unsupported format by its first octets; None if unknown.

    Parameters
    ----------
    head
        First octets, unpacked.
    file_name
        Its suffix identifies formats without a magic number.

    Examples
    --------
    >>> describe(bytes.fromhex("0ca50100"))
    "an nfcapd file of nfdump 1.6: write it as text with 'nfdump -r FILE -o csv > FILE.csv'"
    >>> describe(b"a,b,c")
    """
    if head and not head.strip(b"\0"):
        return "nothing but zero octets: the download or the disk may have failed"
    for at, magic, what, advice in _MAGICS:
        if head.startswith(magic, at):
            return _with_advice(what, advice)
    if _ARGUS in head[:64]:
        return _with_advice("an Argus file", "write CSV with 'ra -r FILE -c,' and give a --mapping")
    lower = head[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for word, what, advice in _WORDS:
        if lower.startswith(word):
            return _with_advice(what, advice)
    for pieces, what, advice in _PIECES:
        if all(piece in head for piece in pieces):
            return _with_advice(what, advice)
    if _NO_HEADER.match(head):
        return _with_advice("CSV without a header line, as written by 'nfdump -q'", "omit -q")
    export = _export(head)
    if export is not None:
        return f"{export}, which is not supported"
    suffix = PurePosixPath(file_name).suffix.lower()
    if suffix in _SUFFIXES and not _is_text(head):
        return _with_advice(*_SUFFIXES[suffix])
    if encoding_of(head) != "utf-8":
        encoding = encoding_of(head).removesuffix("-le").removesuffix("-be").upper()
        return f"{encoding} text of an unknown format"
    return None


def _export(head: bytes) -> str | None:
    """Type of a NetFlow or sFlow datagram whose length is consistent with its record count."""
    version, count = int.from_bytes(head[:2]), int.from_bytes(head[2:4])
    if version in _RECORDS and count and len(head) == _RECORDS[version][0] + count * _RECORDS[version][1]:
        return f"NetFlow version {version}"
    if head[:3] == bytes(3) and head[3:4] in {b"\2", b"\4", b"\5"} and head[4:8] in {b"\0\0\0\1", b"\0\0\0\2"}:
        return f"sFlow version {head[3]}"
    return None


def _is_text(head: bytes) -> bool:
    return b"\0" not in head


def _with_advice(what: str, advice: str) -> str:
    return f"{what}: {advice}" if advice else what
