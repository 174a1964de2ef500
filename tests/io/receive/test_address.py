"""Listen addresses and allowed senders."""

from __future__ import annotations

import pytest

from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.io.receive.address import Listen, Prefixes, address_of, key_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp://127.0.0.1:2055", Listen("udp", "127.0.0.1", 2055)),
        ("tcp://[::]:0", Listen("tcp", "::", 0)),
        ("tls://collector.example", Listen("tls", "collector.example", 4740)),
    ],
)
def test_a_listen_address_is_parsed_and_formatted(text: str, expected: Listen) -> None:
    assert Listen.parse(text) == expected
    assert Listen.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2055", "udp://", "sctp://h:1", "udp://h:70000", "udp://h:x", "udp://[::1:5", "udp://h:1/path", "udp://u@h:1"],
)
def test_an_invalid_listen_address_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid listen address"):
        Listen.parse(text)


def test_an_address_that_cannot_be_had_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^udp://192\.0\.2\.77:2055: cannot listen: "):
        Listen.parse("udp://192.0.2.77:2055").open()
    opened = Listen.parse("tcp://127.0.0.1:0").open()
    with opened, pytest.raises(InputError, match="cannot listen"):
        Listen("tcp", "127.0.0.1", opened.getsockname()[1]).open()


@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "fe80::1"])
def test_addresses_go_through_their_key(address: str) -> None:
    assert address_of(*key_of(address)) == address


def test_prefixes_of_both_families() -> None:
    prefixes = Prefixes(["192.0.2.0/24", "2001:db8:1::/48", "198.51.100.7"])
    for inside in ("192.0.2.0", "192.0.2.255", "2001:db8:1::5", "198.51.100.7", "::ffff:192.0.2.9"):
        assert prefixes.allow(inside), inside
    for outside in ("192.0.3.0", "2001:db8:2::5", "198.51.100.8", "::192.0.2.9"):
        assert not prefixes.allow(outside), outside
    assert Prefixes().allow("203.0.113.1")
    with pytest.raises(ConfigurationError, match="invalid prefix"):
        Prefixes(["10.0.0.0/33"])
