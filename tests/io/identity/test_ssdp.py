"""SSDP: announcements and answers are read, searches are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.identity.ssdp import read_ssdp

NOTIFY = b"""NOTIFY * HTTP/1.1\r
HOST: 239.255.255.250:1900\r
SERVER: Linux/3.14 UPnP/1.0 Hub/1.9\r
nt: urn:schemas-upnp-org:device:Basic:1\r
USN: uuid:2f402f80::upnp:rootdevice\r
\r
"""


def test_announcements_and_answers_state_server_and_type() -> None:
    facts = (("ssdp_server", "Linux/3.14 UPnP/1.0 Hub/1.9"), ("ssdp_type", "urn:schemas-upnp-org:device:Basic:1"))
    assert read_ssdp(NOTIFY)[0].facts == facts
    answer = NOTIFY.replace(b"NOTIFY * HTTP/1.1", b"HTTP/1.1 200 OK").replace(b"nt:", b"ST:")
    assert read_ssdp(answer)[0].facts == facts


def test_searches_and_unique_ids_state_nothing() -> None:
    assert read_ssdp(b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\nSERVER: x\r\n\r\n") == []
    assert read_ssdp(b"NOTIFY * HTTP/1.1\r\nNT: uuid:2f402f80\r\n\r\n") == []


@given(st.binary(max_size=300))
def test_random_octets_never_raise(octets: bytes) -> None:
    for message in (octets, b"NOTIFY " + octets, NOTIFY + octets):
        assert all(0 < len(value) <= 255 for statement in read_ssdp(message) for _, value in statement.facts)
