"""Messages about unusable inputs: link type, program, version, compression, encoding."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from capture_builder import Packet, enhanced, ethernet, interface, pcap, section
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import InputError
from ethogram.io.capture import open_capture
from ethogram.io.link_types import MOST, link_type_reason
from ethogram.io.unsupported import describe
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.wire import inspect
from flow_records import TEXTS, zeek_tsv

NOW = 1_700_000_000_000_000_000
FRAME = ethernet(Packet(source_port=1).internet())


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as raised:
        collect(read_flows([path], **options))  # type: ignore[arg-type]
    return str(raised.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (struct.pack("<HH", 0xA50C, 1), "an nfcapd file of nfdump 1.6: write it as text with 'nfdump -r FILE -o csv"),
        (struct.pack(">HH", 0xA50C, 2), "an nfcapd file of nfdump 1.7: write it as text with 'nfdump -r FILE -o csv"),
        (b"\xde\xad\xbe\xef\0\1", "a SiLK file: write it as IPFIX"),
        (b"snoop\0\0\0\0\0\0\2", "a snoop capture: write it as pcap"),
        (b"\x7fELF\2\1\1", "a program"),
        (b"\n<!DOCTYPE html><html>", "a web page: the download may have failed"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive: unpack it first"),
        (b'{"timestamp":"2024","event_type":"flow","src_ip":"10.0.0.1"}', "Suricata's EVE JSON"),
        (b"\x80\x01\0\x20\xe5\x71\x2d\xcb", "an Argus file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (bytes(600), "nothing but zero octets"),
        (struct.pack(">HH", 7, 1) + bytes(72), "NetFlow version 7, which is not supported"),
        (struct.pack(">III", 5, 1, 0), "sFlow version 5, which is not supported"),
        ("words of no kind".encode("utf-16"), "UTF-16 text of an unknown format"),
        (b"2023-11-14 22:13:20,2023-11-14 22:13:22,1.5,192.168.1.5,198.51.100.7,1,2\n", "CSV without a header line"),
        (b"Date first seen          Duration Proto", "nfdump's human-readable table"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named(tmp_path: Path, head: bytes, what: str) -> None:
    file = tmp_path / "given"
    file.write_bytes(head)
    assert refusal(file).startswith(f"unknown format: {what}")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(head))
    assert refusal(tmp_path / "packed.gz").startswith(f"unknown format: {what}")


def test_captures_of_other_formats_are_named_where_a_capture_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "day.cap"
    file.write_bytes(b"snoop\0\0\0" + bytes(40))
    with pytest.raises(InputError, match="not a capture: a snoop capture: write it as pcap"):
        list(open_capture(file).batches())
    with pytest.raises(InputError, match="neither a capture nor export messages: a snoop capture"):
        inspect([file])
    with pytest.raises(InputError, match="an ERF capture"):
        read_flows([_written(tmp_path / "day.erf", b"\x01\x02\x03\0\x05\x06\x07\x08\x02\x04\0\x50\0\0\0\x40")])


def _written(file: Path, octets: bytes) -> Path:
    file.write_bytes(octets)
    return file


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_octets_are_described_or_not(head: bytes, name: str) -> None:
    what = describe(head, name)
    assert what is None or "\n" not in what


@pytest.mark.parametrize("name", TEXTS)
def test_supported_formats_are_not_described_as_unsupported(name: str) -> None:
    assert describe(TEXTS[name][1][:600], TEXTS[name][0]) is None


@pytest.mark.parametrize("link", [195, 201, 239, 258, 400, MOST, 60_000])
def test_packets_of_a_link_type_that_is_not_read_name_it(tmp_path: Path, link: int) -> None:
    file = _written(tmp_path / "x.pcap", pcap([(NOW, FRAME), (NOW + 1, FRAME)], link=link))
    assert refusal(file) == f"none of the packets can be used: {link_type_reason(link)} 2"


def test_each_link_type_of_a_pcapng_is_counted_by_its_number(tmp_path: Path) -> None:
    octets = section() + interface(239) + interface(1) + interface(195)
    octets += enhanced(FRAME, 5, 0) + enhanced(FRAME, 6, 1) + enhanced(FRAME, 7, 2) + enhanced(FRAME, 8, 2)
    source = open_capture(_written(tmp_path / "x.pcapng", octets))
    assert sum(map(len, source.batches())) == 1
    assert source.accounting.ignored == {"link type 239 (NFLOG)": 1, "link type 195 (IEEE 802.15.4 with FCS)": 2}
    source.accounting.check()


def test_inputs_of_which_nothing_can_be_used_are_refused_with_the_reasons(tmp_path: Path) -> None:
    arp = _written(tmp_path / "arp.pcap", pcap([(NOW, ethernet(bytes(28), 0x0806))]))
    assert refusal(arp) == "none of the packets can be used: arp 1"
    bare = _written(tmp_path / "x.pcapng", section() + enhanced(FRAME, 5, 0))
    assert refusal(bare) == "none of the packets can be used: unknown interface 1"
    log = _written(tmp_path / "dns.log", zeek_tsv(path="dns"))
    assert refusal(log, format="zeek") == "none of the records can be used: Zeek log dns 3"
    with pytest.raises(InputError, match=r"^none of the packets can be used: arp 1, unknown interface 1$"):
        collect(read_flows([arp, bare]))
    conn = _written(tmp_path / "conn.log", zeek_tsv())
    assert collect(read_flows([arp, conn])).height > 0, "one that gives flows is enough"
