"""The table of information elements: complete, unambiguous, and equal to the registry where used."""

from __future__ import annotations

import typing

import pytest

from ethogram.io.wire.elements import ENTERPRISES, Element, Type, element, elements


def test_the_table_is_in_order_and_every_type_is_one_of_rfc_7012() -> None:
    keys = list(elements())
    assert keys == sorted(set(keys))
    assert len([key for key in keys if key[0] == 0 and key[1] < 513]) > 480
    known = typing.get_args(Type)
    for result in elements().values():
        assert result.type in known
        assert result.name[0].isalpha() and " " not in result.name
        assert result.enterprise in ENTERPRISES


def test_names_are_given_once_in_each_enterprise() -> None:
    names = [(result.enterprise, result.name) for result in elements().values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("key", "name", "kind", "length"),
    [
        ((0, 1), "octetDeltaCount", "unsigned64", 8),
        ((0, 8), "sourceIPv4Address", "ipv4Address", 4),
        ((0, 28), "destinationIPv6Address", "ipv6Address", 16),
        ((0, 57), "postDestinationMacAddress", "macAddress", 6),
        ((0, 154), "flowStartMicroseconds", "dateTimeMicroseconds", 8),
        ((0, 160), "systemInitTimeMilliseconds", "dateTimeMilliseconds", 8),
        ((0, 226), "postNATDestinationIPv4Address", "ipv4Address", 4),
        ((0, 311), "samplingProbability", "float64", 8),
        ((0, 434), "mibObjectValueInteger", "signed32", 4),
        ((6871, 294), "sslServerName", "string", 65535),
    ],
)
def test_elements_that_flows_are_made_of(key: tuple[int, int], name: str, kind: str, length: int) -> None:
    result = element(*key)
    assert (result.name, result.type, result.length, result.known) == (name, kind, length, True)


def test_an_unknown_element_is_kept_by_its_number() -> None:
    assert element(99999, 3) == Element(99999, 3, "99999.3", "octetArray", "", known=False)


def test_field_types_of_version_9_stand_for_elements_of_an_enterprise() -> None:
    assert element(0, 57591) is element(35632, 119)
