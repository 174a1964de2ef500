"""SSDP: the server line and the device types that a device announces or answers with.

Announcements (NOTIFY) and answers to a search are read. Types that are only a unique id, and searches, say nothing of
the device.

Reference: UPnP Device Architecture 2.0, sections 1.2.2 and 1.3.3.
"""

from __future__ import annotations

from ethogram.io.identity.statement import Statement, decoded

__all__ = ["SSDP", "read_ssdp"]

SSDP = 1900
_MAX_LINES = 64
_FACTS = {b"server": "ssdp_server", b"nt": "ssdp_type", b"st": "ssdp_type"}


def read_ssdp(message: bytes) -> list[Statement]:
    r"""Read one SSDP message; empty if it is a search, something else, or states nothing.

    >>> read_ssdp(b"NOTIFY * HTTP/1.1\r\nServer: Linux UPnP/1.0 Hub/1\r\nNT: upnp:rootdevice\r\n\r\n")[0].facts
    (('ssdp_server', 'Linux UPnP/1.0 Hub/1'), ('ssdp_type', 'upnp:rootdevice'))
    """
    first, *lines = message.split(b"\n", _MAX_LINES)[:_MAX_LINES]
    if not first.startswith((b"NOTIFY ", b"HTTP/1.1 200", b"HTTP/1.0 200")):
        return []
    facts: dict[tuple[str, str], None] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fact, text = _FACTS.get(name.strip().lower()), decoded(value)
        if fact is not None and text and not text.startswith("uuid:"):
            facts[fact, text] = None
    return [Statement(tuple(facts))] if facts else []
