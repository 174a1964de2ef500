"""Records to biflows: precedence of elements, NAT, tunnels, dual stack, and records that are not flows."""

from __future__ import annotations

import pytest
from exports import COUNTS, KEY, NOW_MS, TIMES, Column, Export, biflows, ip, ip6

from ethogram.config import WireSettings
from ethogram.io.wire.template import v5_template
from ethogram.schema import BIFLOW


def both(*columns: Column) -> list[Column]:
    return [*KEY, *COUNTS, *TIMES, *columns]


def test_a_record_with_the_usual_elements_is_one_half_of_a_biflow() -> None:
    table = biflows(both())
    assert BIFLOW.matches(table.schema)
    first = table.row(0, named=True)
    assert (first["source_address"], first["destination_address"]) == ("192.168.1.2", "198.51.100.1")
    assert (first["source_port"], first["destination_port"], first["protocol"]) == (40000, 443, 6)
    assert (first["octets"], first["packets"], first["reverse_octets"], first["reverse_packets"]) == (1000, 10, 0, 0)
    assert first["start"].timestamp() * 1000 == NOW_MS - 5000
    assert first["end"].timestamp() * 1000 == NOW_MS - 1000
    assert first["one_way"] is True
    empty = {name for name, value in first.items() if value is None}
    assert empty == {column.name for column in BIFLOW.columns if column.nullable} - {"one_way"}


def test_reverse_elements_make_a_biflow() -> None:
    reverse: list[Column] = [(1, 8, [5000, 0]), (2, 8, [7, 0]), (6, 1, [0x12, 0])]
    table = biflows(both((6, 1, [0x1B, 0]), (136, 1, [3, 1])), reverse=reverse)
    assert table["reverse_octets"].to_list() == [5000, 0]
    assert table["reverse_packets"].to_list() == [7, 0]
    assert table["union_tcp_flags"].to_list() == [0x1B, None]
    assert table["reverse_union_tcp_flags"].to_list() == [0x12, None]
    assert table["end_reason"].to_list() == [3, 1]
    assert table["one_way"].to_list() == [False, False]


def test_yaf_says_the_first_flags_and_those_of_the_rest() -> None:
    columns = both((14, 1, [0x02, 0]), (15, 1, [0x1B, 0]))
    table = biflows(columns, enterprise={9: 6871, 10: 6871})
    assert table["initial_tcp_flags"].to_list() == [0x02, None]
    assert table["union_tcp_flags"].to_list() == [0x1B, None]


def test_initiator_and_responder_octets_make_a_biflow_and_one_alone_does_not() -> None:
    columns = [*KEY, *TIMES, (231, 4, [81, 0]), (232, 4, [763, 9]), (298, 4, [2, 0]), (299, 4, [3, 1])]
    table = biflows(columns)
    assert table.select("octets", "reverse_octets", "packets", "reverse_packets").rows() == [
        (81, 763, 2, 3),
        (0, 9, 0, 1),
    ]
    assert table["one_way"].to_list() == [False, False]
    alone = biflows(both((232, 2, [7, 7])))
    assert alone["reverse_octets"].to_list() == [0, 0]
    assert alone["one_way"].to_list() == [True, True]


@pytest.mark.parametrize(
    ("columns", "octets"),
    [
        ([(1, 4, [1, 2]), (85, 4, [10, 20])], [1, 2]),
        ([(85, 4, [10, 20]), (23, 4, [3, 4])], [10, 20]),
        ([(23, 4, [3, 4]), (352, 4, [30, 40])], [3, 4]),
        ([(352, 4, [30, 40])], [30, 40]),
        ([(1, 3, [1 << 20, 2])], [1 << 20, 2]),
    ],
)
def test_of_several_octet_counters_the_first_choice_counts(columns: list[Column], octets: list[int]) -> None:
    assert biflows([*KEY, *TIMES, *columns])["octets"].to_list() == octets


def test_the_device_keeps_its_address_behind_nat() -> None:
    # Out: the source is the one before translation. Back: the destination is the one behind it.
    outward = biflows(
        both((225, 4, [ip("203.0.113.9")] * 2), (227, 2, [61000] * 2), (226, 4, [0, 0]), (228, 2, [0, 0]))
    )
    assert outward["source_address"].to_list() == ["192.168.1.2", "192.168.1.3"]
    assert outward["destination_address"].to_list() == ["198.51.100.1", "198.51.100.2"]
    assert outward["destination_port"].to_list() == [443, 53]
    back: list[Column] = [
        (8, 4, [ip("198.51.100.1")]), (12, 4, [ip("203.0.113.9")]), (7, 2, [443]), (11, 2, [61000]), (4, 1, [6]),
        (226, 4, [ip("192.168.1.2")]), (228, 2, [40000]), (1, 4, [1]), (2, 4, [1]),
    ]  # fmt: skip
    row = biflows(back).row(0, named=True)
    assert (row["source_address"], row["source_port"]) == ("198.51.100.1", 443)
    assert (row["destination_address"], row["destination_port"]) == ("192.168.1.2", 40000)


def test_a_translator_between_address_families() -> None:
    columns: list[Column] = [
        (27, 16, [ip6(5)]), (28, 16, [ip6(6)]), (226, 4, [ip("198.51.100.7")]), (4, 1, [6]), (1, 4, [1]), (2, 4, [1]),
    ]  # fmt: skip
    row = biflows(columns).row(0, named=True)
    assert (row["source_address"], row["destination_address"]) == ("2001:db8::5", "198.51.100.7")


def test_fortios_writes_the_translated_address_into_answers_too_so_it_is_left_out() -> None:
    translated: list[Column] = [(226, 4, [ip("203.0.113.9")] * 2)]
    plain = [*KEY, *COUNTS, (21, 4, [2, 2]), (22, 4, [1, 1])]
    assert biflows([*plain, *translated], version=9)["destination_address"][0] == "203.0.113.9"
    marked = [*plain, *translated, (65, 2, [1, 1])]
    assert biflows(marked, version=9)["destination_address"][0] == "198.51.100.1"


def test_of_two_families_the_one_that_is_not_zero_counts() -> None:
    zeros: list[Column] = [(27, 16, [b"\0" * 16, ip6(1)]), (28, 16, [b"\0" * 16, ip6(2)])]
    only: list[Column] = [(8, 4, [ip("192.168.1.2"), 0]), (12, 4, [ip("198.51.100.1"), 0])]
    mixed = [*only, *(item for item in both() if item[0] not in {8, 12})]
    for columns in ([*mixed, *zeros], [*zeros, *mixed]):
        table = biflows(columns)
        assert table["source_address"].to_list() == ["192.168.1.2", "2001:db8::1"]
        assert table["destination_address"].to_list() == ["198.51.100.1", "2001:db8::2"]


def test_where_both_families_are_filled_in_the_ip_version_decides() -> None:
    columns = both((27, 16, [ip6(1), ip6(2)]), (28, 16, [ip6(3), ip6(4)]), (60, 1, [4, 6]))
    assert biflows(columns)["source_address"].to_list() == ["192.168.1.2", "2001:db8::2"]


def test_inside_a_tunnel_the_innermost_packet_counts() -> None:
    # The protocol is repeated: outer IPv6 with inner IPv4; the second record has nothing inside.
    columns: list[Column] = [
        (27, 16, [ip6(1), ip6(2)]), (28, 16, [ip6(3), ip6(4)]), (7, 2, [0, 7]), (11, 2, [0, 8]), (4, 1, [4, 17]),
        (6, 1, [0, 0]), (8, 4, [ip("192.0.2.110"), 0]), (12, 4, [ip("192.0.2.14"), 0]), (7, 2, [2222, 0]),
        (11, 2, [1111, 0]), (4, 1, [6, 0]), (6, 1, [2, 0]), (1, 4, [10, 20]), (2, 4, [1, 2]),
    ]  # fmt: skip
    table = biflows(columns)
    names = ("source_address", "source_port", "destination_port", "protocol", "union_tcp_flags")
    assert table.select(names).rows() == [("192.0.2.110", 2222, 1111, 6, 2), ("2001:db8::2", 7, 8, 17, None)]


def test_protocols_without_ports_have_none() -> None:
    columns = [(4, 1, [1, 6]) if item[0] == 4 else item for item in both()]
    assert biflows(columns).select("source_port", "destination_port").rows() == [(0, 0), (40001, 53)]


def test_ports_of_one_protocol_each() -> None:
    columns = [item for item in both() if item[0] not in {7, 11}]
    columns += [(182, 2, [5, 0]), (180, 2, [0, 6]), (183, 2, [443, 0]), (181, 2, [0, 53])]
    assert biflows(columns).select("source_port", "destination_port").rows() == [(5, 443), (6, 53)]


def test_macs_are_those_of_the_devices_and_zero_is_none() -> None:
    columns = both(
        (56, 6, [0x0A0000000001, 0]), (80, 6, [0x0A0000000002, 0x0A0000000003]), (57, 6, [0x0A0000000004, 0])
    )
    table = biflows(columns)
    assert table["source_mac"].to_list() == ["0a:00:00:00:00:01", None]
    assert table["destination_mac"].to_list() == ["0a:00:00:00:00:04", "0a:00:00:00:00:03"]


def test_vlan_direction_and_end_reason_outside_their_values_are_null() -> None:
    table = biflows(both((58, 2, [12, 0]), (61, 1, [1, 255]), (136, 1, [2, 9])))
    assert table.select("vlan", "direction", "end_reason").rows() == [(12, 1, 2), (None, None, None)]


@pytest.mark.parametrize("element", [233, 40005])
def test_firewall_events_count_when_they_count_something(element: int) -> None:
    columns: list[Column] = [
        (8, 4, [1, 2, 3, 4, 5]), (12, 4, [6, 7, 8, 9, 10]), (4, 1, [6] * 5), (7, 2, [1] * 5), (11, 2, [2] * 5),
        (1, 4, [0, 100, 0, 200, 70]), (element, 1, [1, 2, 3, 5, 1]),
    ]  # fmt: skip
    export = Export(9)
    export.send(columns)
    assert export.table()["octets"].to_list() == [100, 200, 70]
    assert export.biflows.accounting.ignored == {"firewall event: flow created": 1, "firewall event: flow denied": 1}


def test_records_that_are_not_flows_are_ignored_by_reason() -> None:
    for columns, reason in (
        ([(365, 6, [1]), (1, 4, [5])], "no source and destination address"),
        ([*KEY, (230, 1, [1, 2])], "NAT event without octets and packets"),
        ([*KEY, (233, 1, [1, 2])], "firewall event without octets and packets"),
        ([item for item in both() if item[0] != 4], "no protocol"),
        ([(8, 4, [0]), (12, 4, [0]), (4, 1, [0]), (1, 4, [82])], "no address"),
    ):
        export = Export()
        export.send(columns)
        assert export.table().height == 0
        assert list(export.biflows.accounting.ignored) == [reason]


def test_a_source_that_is_the_responder_is_turned_round() -> None:
    columns = both((239, 1, [2, 1]), (56, 6, [0x0A0000000001] * 2))
    table = biflows(columns, reverse=[(1, 4, [70, 80]), (2, 4, [7, 8])])
    names = ("source_address", "source_port", "octets", "reverse_octets", "destination_mac")
    assert table.select(names).rows() == [("198.51.100.1", 443, 70, 1000, "0a:00:00:00:00:01"),
                                          ("192.168.1.3", 40001, 2000, 80, None)]  # fmt: skip


def test_names_belong_to_the_server() -> None:
    key: list[Column] = [
        (8, 4, [ip("192.168.1.2"), ip("198.51.100.1"), 9]), (12, 4, [ip("198.51.100.1"), ip("192.168.1.2"), 8]),
        (7, 2, [40000, 443, 1]), (11, 2, [443, 40000, 2]), (4, 1, [6] * 3), (1, 4, [1] * 3), (2, 4, [1] * 3),
    ]  # fmt: skip
    name: Column = (460, 65535, [b"Example.ORG:8080", b"example.org.", b"\xff\xfe"])
    table = biflows([*key, name])
    assert table["destination_name"].to_list() == ["example.org", None, None]
    assert table["source_name"].to_list() == [None, "example.org", None]
    table = biflows([*key, name], reverse=[(1, 4, [1, 1, 1])])
    assert table["destination_name"].to_list() == ["example.org", "example.org", None]


def test_tls_server_names_of_meters_go_before_http_hosts() -> None:
    columns = both((294, 65535, [b"tls.example", b""]), (117, 65535, [b"web.example", b"web.example"]))
    table = biflows(columns, enterprise={9: 6871, 10: 6871}, reverse=[(1, 4, [1, 1])])
    assert table["destination_name"].to_list() == ["tls.example", "web.example"]


def test_ntop_counts_the_other_direction_in_out_octets() -> None:
    columns = [*KEY, *COUNTS, (23, 4, [7, 8]), (24, 4, [1, 2]), (57590, 2, [1, 1])]
    table = biflows(columns, version=9)
    assert table["reverse_octets"].to_list() == [7, 8]
    assert table["one_way"].to_list() == [False, False]


def test_version_5_is_read_as_the_others_are() -> None:
    export = Export(5, domain=0)
    values = {8: ip("192.168.1.2"), 12: ip("198.51.100.1"), 2: 3, 1: 180, 22: 990_000, 21: 995_000, 7: 40000, 11: 443,
              6: 0x1B, 4: 6}  # fmt: skip
    export.send([(field.id, field.length, [values.get(field.id, 0)]) for field in v5_template(0).fields])
    row = export.table().row(0, named=True)
    assert (row["source_address"], row["destination_port"], row["octets"], row["packets"]) == (
        "192.168.1.2",
        443,
        180,
        3,
    )
    assert row["start"].timestamp() * 1000 == NOW_MS - 10_000
    assert row["end"].timestamp() * 1000 == NOW_MS - 5_000
    assert row["union_tcp_flags"] == 0x1B
    assert row["raw_octets"] is None


def test_scaling_can_be_left_off() -> None:
    columns = both((34, 4, [100, 100]))
    assert biflows(columns)["octets"].to_list() == [100_000, 200_000]
    export = Export(settings=WireSettings(scale_sampling=False))
    export.send(columns)
    table = export.table()
    assert table["octets"].to_list() == [1000, 2000]
    assert table["raw_octets"].null_count() == 2


@pytest.mark.parametrize("value", [(1 << 64) - 1, 1 << 63, 1 << 56])
@pytest.mark.parametrize("field", [1, 2])
def test_implausible_counters_are_dropped_by_reason(value: int, field: int) -> None:
    counts: list[Column] = [(1, 8, [1000, 2000]), (2, 8, [10, 20])]
    counts[field - 1] = (field, 8, [value, (1 << 56) - 1])
    export = Export()
    export.send([*KEY, *counts, *TIMES])
    table = export.table()
    assert table["source_address"].to_list() == ["192.168.1.3"]
    assert table["octets" if field == 1 else "packets"].to_list() == [(1 << 56) - 1]
    assert export.biflows.accounting.dropped == {"implausible counters": 1}


@pytest.mark.parametrize("outer_six", [False, True])
def test_flows_of_virtual_machines_count_and_not_the_tunnel_that_carries_them(outer_six: bool) -> None:
    tenant: list[Column] = [
        (881, 4, [ip("10.0.0.5"), 0]), (882, 4, [ip("10.0.0.6"), 0]), (880, 1, [6, 0]), (886, 2, [50001, 0]),
        (887, 2, [443, 0]),
    ]  # fmt: skip
    six: list[Column] = [(27, 16, [bytes(16)] * 2), (28, 16, [bytes(16)] * 2)] if outer_six else []
    columns = [*KEY, *six, *COUNTS, *TIMES, *tenant]
    first = len(columns) - len(tenant)
    table = biflows(columns, enterprise={first + i: 6876 for i in range(len(tenant))})
    result = table.select("source_address", "destination_address", "protocol", "source_port", "destination_port").rows()
    assert result == [
        ("10.0.0.5", "10.0.0.6", 6, 50001, 443), ("192.168.1.3", "198.51.100.2", 17, 40001, 53),
    ]  # fmt: skip
