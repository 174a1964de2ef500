"""From biflows to the flow table: places, devices, service side, joining, pairing, names, and their laws."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

import ethogram
from ethogram._parse_address import parse_mac
from ethogram.config import NameSettings
from ethogram.errors import ConfigurationError
from ethogram.flow.devices import LocalDevices, Namer
from ethogram.flow.devices_file import DeviceFile
from ethogram.flow.join import Joining
from ethogram.flow.local import INSIDE, MULTICAST, OUTSIDE, UNSPECIFIED, LocalNetwork
from ethogram.flow.merge_records import LINKED
from ethogram.flow.names import Naming, _suffixes, domains, suffix_list_date
from ethogram.flow.orient import Orientation
from ethogram.flow.pair import Pairing
from ethogram.flow.relays import WINDOW_US, relays
from ethogram.schema import BIFLOW, FLOW, GROUP, NAME_ANSWER, NAME_QUESTION

T0 = datetime(2024, 5, 1, tzinfo=UTC)
LOCAL = ("10.0.0.0/8", "fe80::/10")
DEVICE, SERVER, RESOLVER = "10.0.0.5", "198.51.100.7", "10.0.0.1"


def biflow(**changes: object) -> dict[str, object]:
    start = T0 + timedelta(seconds=float(changes.pop("at", 0)))  # type: ignore[arg-type]
    row: dict[str, object] = dict.fromkeys(BIFLOW.names)
    row |= {"start": start, "end": start + timedelta(seconds=float(changes.pop("lasts", 1))),  # type: ignore[arg-type]
            "protocol": 6, "source_address": DEVICE, "destination_address": SERVER, "source_port": 50000,
            "destination_port": 443, "octets": 100, "packets": 2, "reverse_octets": 300, "reverse_packets": 3,
            "end_reason": 1}  # fmt: skip
    return row | changes


def table(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=BIFLOW.schema, orient="row")


def oriented(*rows: dict[str, object], namer: Namer | None = None) -> tuple[pl.DataFrame, Orientation]:
    stage = Orientation(LocalNetwork(LOCAL), namer or LocalDevices())
    flows = stage.rows(table(*rows).with_columns(joined=pl.lit(1, dtype=pl.UInt32)))
    stage.accounting.check()
    assert FLOW.matches(flows.schema) or flows.columns == FLOW.names
    return flows, stage


def test_places() -> None:
    cases = {"10.1.2.3": INSIDE, "10.1.2.255": MULTICAST, "255.255.255.255": MULTICAST, "239.255.255.250": MULTICAST,
             "198.51.100.255": OUTSIDE, "0.0.0.0": UNSPECIFIED, "::": UNSPECIFIED, "ff02::fb": MULTICAST,
             "fe80::1": INSIDE, "2001:db8::1": OUTSIDE, "11.0.0.1": OUTSIDE, "9.255.255.254": OUTSIDE}  # fmt: skip
    assert LocalNetwork(LOCAL).places(pl.Series(list(cases))).to_list() == list(cases.values())
    with pytest.raises(ConfigurationError, match=r"setting local: '10/33' is no prefix"):
        LocalNetwork(["10/33"])


@pytest.mark.parametrize(
    ("prefix", "address", "place"),
    [
        ("192.168.0.0/23", "192.168.0.255", INSIDE), ("192.168.0.0/23", "192.168.1.255", MULTICAST),
        ("192.168.0.0/22", "192.168.2.255", INSIDE), ("192.168.0.0/24", "192.168.0.255", MULTICAST),
        ("192.168.0.0/25", "192.168.0.127", MULTICAST), ("192.168.0.0/25", "192.168.0.255", OUTSIDE),
        ("192.168.0.0/16", "192.168.0.255", MULTICAST), ("192.168.0.255/32", "192.168.0.255", INSIDE),
    ],
)  # fmt: skip
def test_the_broadcast_address_is_the_last_of_its_prefix(prefix: str, address: str, place: int) -> None:
    assert LocalNetwork([prefix]).places(pl.Series([address])).to_list() == [place]


def test_an_address_that_sends_is_not_a_broadcast_address() -> None:
    host, silent = "10.0.0.255", "10.0.1.255"
    flows, stage = oriented(biflow(source_address=host), biflow(destination_address=silent, reverse_packets=0),
                            biflow(source_address=SERVER, destination_address=host))  # fmt: skip
    assert flows["device"].to_list() == [host, DEVICE, host]
    assert stage.rows(table(biflow(destination_address=host)).with_columns(
        joined=pl.lit(1, dtype=pl.UInt32)))["device"].to_list() == [DEVICE, host]  # fmt: skip
    # The last address of a prefix is none, whoever claims to be it.
    assert oriented(biflow(source_address="10.255.255.255"))[1].accounting.ignored == {"no device": 1}


# --- the service side ------------------------------------------------------------------------------------------

SYN, SYN_ACK, ACK = 2, 18, 16
SIDES = [
    # flags first, flags back, source port, destination port -> port that serves, correction
    (SYN, SYN_ACK, 50000, 443, 443, None),
    (SYN, None, 443, 50000, 50000, None),  # the handshake goes before the ports
    (SYN_ACK, ACK, 443, 50000, 443, "reversed by the handshake"),
    (SYN_ACK, None, 50000, 443, 50000, "reversed by the handshake"),
    (None, SYN, 443, 50000, 443, "reversed by the handshake"),
    (ACK, SYN_ACK, 443, 50000, 50000, None),
    (ACK, ACK, 443, 50000, 443, "reversed by port class"),
    (ACK, ACK, 8883, 50000, 8883, "reversed by port class"),
    (None, None, 50000, 8883, 8883, None),
    (None, None, 123, 123, 123, None),
    (None, None, 50000, 50001, 50001, None),  # a tie with nothing to tell: the meter's order
]


@pytest.mark.parametrize(("first", "back", "source", "destination", "serves", "correction"), SIDES)
def test_the_service_side_of_tcp(
    first: int | None, back: int | None, source: int, destination: int, serves: int, correction: str | None
) -> None:
    flows, stage = oriented(biflow(initial_tcp_flags=first, reverse_initial_tcp_flags=back, source_port=source,
                                   destination_port=destination))  # fmt: skip
    assert flows["service_port"].to_list() == [serves]
    assert dict(stage.accounting.corrected) == ({} if correction is None else {correction: 1})
    assert flows["initiator"].to_list() == ["remote" if correction else "device"]
    assert flows["role"].to_list() == ["server" if correction else "client"]


def test_dhcp_servers_and_multicast_groups_serve_on_any_port() -> None:
    udp = {"protocol": 17, "source_port": 67, "destination_port": 68}
    flows, _ = oriented(
        biflow(**udp, destination_address="10.0.0.9"),
        biflow(protocol=17, source_port=5000, destination_address="239.255.255.250", destination_port=40000),
    )
    assert flows.filter(pl.col("remote") == "10.0.0.9")["role"].to_list() == ["server"]
    multicast = flows.filter(pl.col("scope") == "multicast")
    assert multicast["service_port"].to_list() == [40000]
    assert multicast["role"].to_list() == ["client"]


def test_a_tie_goes_to_the_port_the_device_keeps_using() -> None:
    keeps = [biflow(at=i, protocol=17, source_port=6000, destination_port=20000 + i) for i in range(5)]
    flows, stage = oriented(*keeps)
    assert flows["service_port"].to_list() == [6000] * 5
    assert stage.accounting.corrected == {"reversed by the recurring port": 5}
    calls = [biflow(at=i, protocol=17, source_port=20000 + i, destination_port=6000) for i in range(5)]
    flows, stage = oriented(*calls)
    assert flows["service_port"].to_list() == [6000] * 5
    assert not stage.accounting.corrected


PORT = st.sampled_from([0, 53, 67, 68, 80, 443, 1023, 1024, 5353, 8883, 32767, 32768, 50000, 65535])
FLAGS = st.sampled_from([None, 0, 2, 16, 18, 4, 20, 24])
ADDRESS = st.sampled_from([DEVICE, "10.0.0.6", SERVER, "203.0.113.9", "224.0.0.251", "fe80::5", "ff02::fb", "0.0.0.0"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"at": st.integers(0, 5000), "lasts": st.sampled_from([0, 1, 100, 1800]),
         "protocol": st.sampled_from([1, 6, 17]), "source_address": ADDRESS, "destination_address": ADDRESS,
         "source_port": PORT, "destination_port": PORT, "initial_tcp_flags": FLAGS,
         "reverse_initial_tcp_flags": FLAGS, "octets": st.integers(0, 1 << 40), "packets": st.integers(0, 100),
         "reverse_octets": st.integers(0, 1 << 40), "reverse_packets": st.integers(0, 100),
         "end_reason": st.sampled_from([None, 1, 2])}
    ),
    max_size=30,
)  # fmt: skip


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_orientation_conserves_counts_and_ignores_the_direction_of_records(rows: list[dict[str, object]]) -> None:
    biflows = [biflow(**row) for row in rows]
    flows, stage = oriented(*biflows)
    by_device = {}
    for row in biflows:
        for side, sent, received in (
            ("source", "octets", "reverse_octets"),
            ("destination", "reverse_octets", "octets"),
        ):
            address = row[f"{side}_address"]
            itself = side == "destination" and row["source_address"] == address
            if LocalNetwork(LOCAL).places(pl.Series([address]))[0] == INSIDE and not itself:
                out, back = by_device.get(address, (0, 0))
                by_device[address] = (out + row[sent], back + row[received])
    got = flows.group_by("device").agg(pl.col("octets_out", "octets_in").sum())
    assert {device: (out, back) for device, out, back in got.rows()} == by_device
    assert stage.accounting.read == len(rows)
    assert ((flows["service_port"] == flows["local_port"]) | (flows["service_port"] == flows["remote_port"])).all()
    assert ((flows["role"] == "client") == (flows["initiator"] == "device")).all()
    assert not flows.filter((pl.col("packets_out") > 0) & (pl.col("packets_in") > 0) & ~pl.col("answered")).height


@given(PORT, PORT, FLAGS, FLAGS, st.sampled_from([6, 17]))
@settings(max_examples=150, deadline=None)
def test_a_reversed_record_gives_the_same_flow(
    a: int, b: int, first: int | None, back: int | None, protocol: int
) -> None:
    """Unless nothing decides (the meter's order is then all there is), turning a record round changes nothing."""
    row = biflow(source_port=a, destination_port=b, initial_tcp_flags=first, reverse_initial_tcp_flags=back,
                 protocol=protocol)  # fmt: skip
    twin = biflow(source_address=SERVER, destination_address=DEVICE, source_port=b, destination_port=a,
                  initial_tcp_flags=back, reverse_initial_tcp_flags=first, protocol=protocol, octets=300, packets=3,
                  reverse_octets=100, reverse_packets=2)  # fmt: skip
    one, stage = oriented(row)
    other, twin_stage = oriented(twin)
    turned = stage.accounting.corrected.total() + twin_stage.accounting.corrected.total()
    kinds = [None if flags is None else flags & 18 for flags in (first, back)]
    contradiction = protocol == 6 and kinds[0] == kinds[1] and kinds[0] in {2, 18}
    seen = protocol == 6 and not {2, 18}.isdisjoint(kinds)
    tie = sum(a >= edge for edge in (1024, 32768)) == sum(b >= edge for edge in (1024, 32768)) and {a, b} != {67, 68}
    if contradiction or (tie and not seen):
        assert turned in {0, 2}
    else:
        assert turned == 1
        assert one.equals(other)


def test_places_become_scopes_and_two_devices_two_rows() -> None:
    flows, stage = oriented(biflow(destination_address="10.0.0.6"), biflow(at=1), biflow(at=2, source_address=SERVER,
                            destination_address="203.0.113.9"))  # fmt: skip
    assert flows.select("device", "remote", "scope", "octets_out", "octets_in").rows() == [
        (DEVICE, "10.0.0.6", "lan", 100, 300), ("10.0.0.6", DEVICE, "lan", 300, 100), (DEVICE, SERVER, "wan", 100, 300),
    ]  # fmt: skip
    assert stage.accounting.ignored == {"no device": 1}
    assert stage.accounting.corrected["between two devices: a row for each"] == 1


# --- devices ---------------------------------------------------------------------------------------------------

MAC, ROUTER = "aa:bb:cc:00:01:02", "00:11:22:33:44:55"


def test_a_mac_names_a_device_but_a_router_s_does_not() -> None:
    rows = [biflow(source_mac=MAC, destination_mac=ROUTER), biflow(source_mac=MAC, source_address="fe80::5")]
    rows += [biflow(source_address=f"10.0.1.{i}", source_mac=ROUTER) for i in range(6)]
    rows += [biflow(source_address="0.0.0.0", source_mac=MAC, source_port=68, destination_port=67, protocol=17)]
    flows, _ = oriented(*rows)
    assert flows["device"].value_counts().sort("device").rows() == [*((f"10.0.1.{i}", 1) for i in range(6)), (MAC, 3)]
    flows, _ = oriented(*rows, namer=LocalDevices(by="address"))
    assert MAC not in flows["device"]


HOUR, WEEK = 3600, 7 * 86400


def in_blocks(*blocks: list[dict[str, object]], namer: Namer | None = None) -> list[str]:
    """Devices of the flows of several blocks, as a live stream sees them."""
    stage = Orientation(LocalNetwork([*LOCAL, "fc00::/7", "169.254.0.0/16"]), namer or LocalDevices())
    tables = [table(*block).with_columns(joined=pl.lit(1, dtype=pl.UInt32)) for block in blocks]
    return [device for each in tables for device in stage.rows(each)["device"].to_list()]


def at(seconds: float, address: str, mac: str = MAC) -> dict[str, object]:
    return biflow(at=seconds, source_address=address, source_mac=mac)


@pytest.mark.parametrize("step", [HOUR, WEEK])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_device_with_successive_leases_is_one_device(step: int, size: int) -> None:
    leases = [at(i * step, f"10.0.0.{50 + i % 7}") for i in range(100)]
    # A lease changes between two flows, and a self-assigned address comes before the first.
    leases += [at(100 * step, "169.254.3.4"), at(100 * step + 1, "10.0.0.90"), at(100 * step + 2, "10.0.0.91")]
    assert in_blocks(*(leases[i : i + size] for i in range(0, len(leases), size))) == [MAC] * 103


def test_simultaneous_addresses_of_different_kinds_are_one_device() -> None:
    addresses = ["10.0.0.5", "fe80::5", *(f"fd00::{i:x}" for i in range(20)), "169.254.1.1"]
    assert in_blocks([at(i, address) for i in range(3) for address in addresses]) == [MAC] * 69


@pytest.mark.parametrize("kind", ["10.0.0.{}", "fe80::{}"])
@pytest.mark.parametrize("apart", [1, 400])
def test_hosts_behind_a_repeater_are_separate_devices(kind: str, apart: int) -> None:
    hosts = [kind.format(i) for i in (50, 51, 52)]
    rows = [at(i * apart, hosts[i % 3]) for i in range(9)]
    rows += [biflow(at=9 * apart, source_address="fd00::9", source_mac=MAC)]
    assert in_blocks(rows) == hosts * 3 + ["fd00::9"]
    # Live, the third address tells, and it stays so.
    live = in_blocks(*([row] for row in [*rows, at(WEEK, hosts[0])]))
    assert live == [MAC] * 2 + (hosts * 3)[2:] + ["fd00::9", hosts[0]]
    _, stage = oriented(*rows[:9])
    assert stage.accounting.corrected["ends behind a router or repeater: named by address"] == 9


def test_a_repeater_is_recognised_by_simultaneous_long_flows() -> None:
    rows = [at(i * HOUR, f"10.0.0.{i}") | {"end": T0 + timedelta(hours=9)} for i in range(3)]
    assert in_blocks(rows) == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    # A long flow and two leases beside it are two at a time.
    rows[1]["end"] = T0 + timedelta(hours=1, seconds=9)
    assert in_blocks(rows) == [MAC] * 3


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5)), max_size=40), st.integers(1, 4))
def test_relays_are_those_with_too_many_addresses_in_any_window(uses: list[tuple[int, int]], most: int) -> None:
    rows = [{"mac": MAC, "kind": 4, "address": str(who), "since": t * 10**6, "until": t * 10**6} for t, who in uses]
    frame = pl.DataFrame(rows, schema={"mac": pl.String, "kind": pl.UInt8, "address": pl.String, "since": pl.Int64,
                                       "until": pl.Int64})  # fmt: skip
    window = WINDOW_US // 10**6
    many = any(len({who for t, who in uses if begin - window <= t <= begin}) > most for begin, _ in uses)
    assert relays(frame, most).to_list() == [MAC] * many


def test_an_address_without_a_mac_gets_the_only_mac_seen_with_it() -> None:
    rows = [biflow(source_mac=MAC), biflow(at=1), biflow(at=2, source_address=SERVER, destination_address=DEVICE)]
    flows, _ = oriented(*rows)
    assert flows["device"].to_list() == [MAC] * 3
    # Two devices have had this address: without a MAC it cannot be told which it is.
    flows, _ = oriented(*rows, biflow(at=3, source_mac="aa:bb:cc:00:09:09"))
    assert flows["device"].to_list() == [MAC, DEVICE, DEVICE, "aa:bb:cc:00:09:09"]


def device_file(folder: Path, text: str) -> Path:
    file = folder / "devices.csv"
    file.write_text(text)
    return file


def test_a_device_file_names_by_mac_then_address_in_its_time(tmp_path: Path) -> None:
    names = DeviceFile.load(device_file(tmp_path, (
        "device,mac,ip,from,to\n"
        f"camera,AA-BB-CC-0-1-2,,,\n"
        "plug,,10.0.0.7,2024-05-01,2024-05-02\n"
        "bulb,,10.0.0.7,2024-05-02T00:00:00Z,\n"
        "hub,,2001:DB8::7,,\n\n"
        f"router,{ROUTER},,,\n"
    )))  # fmt: skip
    flows, stage = oriented(
        biflow(source_mac=MAC), biflow(source_mac=MAC, source_address="10.0.0.7"),
        biflow(source_address="10.0.0.7", at=10), biflow(source_address="10.0.0.7", at=86400 + 10),
        biflow(source_address="10.0.0.7", at=-10), biflow(source_address="2001:db8::7"),
        # A remote host's MAC is its router's: it is not the router that talks.
        biflow(source_address="203.0.113.9", source_mac=ROUTER),
        namer=names,
    )  # fmt: skip
    assert sorted(flows["device"]) == ["bulb", "camera", "camera", "hub", "plug"]
    assert stage.accounting.ignored == {"no device": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,mac\nx,y\n", "needs the columns device and mac or ip"),
        ("device,mac,colour\n", "unknown column colour"),
        ("device,mac\n", "names no device"),
        ("device,mac\ncamera,xx\n", "devices.csv:2: 'xx' is no MAC"),
        ("device,ip\ncamera,10.0.0\n", "devices.csv:2: '10.0.0' is no IP address"),
        ("device,ip\n,10.0.0.1\n", "devices.csv:2: no device"),
        ("device,ip\ncamera,\n", "devices.csv:2: neither mac nor ip for 'camera'"),
        ("device,ip,from\ncamera,10.0.0.1,soon\n", "devices.csv:2: 'soon' is no time"),
        ("device,ip,from,to\nc,10.0.0.1,2024-02-01,2024-01-01\n", "devices.csv:2: 'to' is not after 'from'"),
    ],
)
def test_errors_in_a_device_file_name_the_line(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        DeviceFile.load(device_file(tmp_path, text))


def test_of_two_names_for_one_device_the_first_line_is_used(tmp_path: Path) -> None:
    file = device_file(tmp_path, (
        "device,ip,from,to\n"
        "hall,10.0.0.1,2024-05-10,2024-05-20\n"
        "porch,10.0.0.1,2024-05-15,2024-05-25\n"
        "hall,10.0.0.1,2024-05-18,2024-05-22\n"
        "den,10.0.0.1,2024-05-21,\n"
        "porch,10.0.0.1,2024-05-22,\n"
        "loft,10.0.0.1,2024-05-01,2024-05-10\n"
        "shed,10.0.0.2,,\n"
    ))  # fmt: skip
    names = DeviceFile.load(file)
    assert names.entries.select("key", "device").rows() == [
        ("10.0.0.1", "loft"), ("10.0.0.1", "hall"), ("10.0.0.1", "hall"), ("10.0.0.1", "porch"), ("10.0.0.2", "shed"),
    ]  # fmt: skip
    assert list(names.conflicts) == [
        f"{file}:3: 10.0.0.1 is 'hall' (line 2) and 'porch' at once; the first is used",
        f"{file}:5: 10.0.0.1 is 'hall' (line 2) and 'den' at once; the first is used",
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_a_row_is_used_unless_an_earlier_one_contradicts_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]]
) -> None:
    spans = [(device, min(a, b), max(a, b) + 1) for device, a, b in rows]
    text = "device,ip,from,to\n" + "".join(f"{d},10.0.0.1,2024-05-{a:02},2024-05-{b:02}\n" for d, a, b in spans)
    names = DeviceFile.load(device_file(tmp_path_factory.getbasetemp(), text))
    used: list[tuple[str, int, int]] = []
    for device, a, b in spans:
        if not any(device != other and a < end and begin < b for other, begin, end in used):
            used.append((device, a, b))
    entries = names.entries.select("device", pl.col("from").dt.day(), pl.col("to").dt.day()).rows()
    assert sorted(entries) == sorted(set(used))
    assert len(names.conflicts) == len(spans) - len(used)


@given(st.binary(min_size=6, max_size=6).filter(any))
def test_all_spellings_of_a_mac_are_equal(octets: bytes) -> None:
    plain = octets.hex(":")
    short = ":".join(f"{octet:x}" for octet in octets)
    for text in (plain, plain.upper(), plain + ":", octets.hex("-"), octets.hex(), octets.hex(".", 2), short):
        assert parse_mac(text) == plain


# --- joining and pairing ---------------------------------------------------------------------------------------


def joined(*blocks: list[dict[str, object]], gap: float = 120, active: float = 1800) -> tuple[pl.DataFrame, Joining]:
    stage = Joining(gap, active)
    frames = [stage.flows(table(*block), last=i == len(blocks) - 1) for i, block in enumerate(blocks)]
    stage.accounting.check()
    return pl.concat(frames).sort("start"), stage


def cut(at: float, reason: int | None = 2, lasts: float = 1800, **changes: object) -> dict[str, object]:
    return biflow(at=at, lasts=lasts, end_reason=reason, **changes)


TURNED = {"source_address": SERVER, "destination_address": DEVICE, "source_port": 443, "destination_port": 50000,
          "octets": 300, "reverse_octets": 100, "packets": 3, "reverse_packets": 2}  # fmt: skip


def test_a_cut_record_is_joined_with_its_continuation_in_either_direction() -> None:
    rows = [cut(0, initial_tcp_flags=2, union_tcp_flags=0x1A), cut(1801, **TURNED, reverse_union_tcp_flags=0x10),
            biflow(at=3602, union_tcp_flags=0x11), biflow(at=3700)]  # fmt: skip
    flows, stage = joined(rows)
    assert flows["joined"].to_list() == [3, 1]
    first = flows.row(0, named=True)
    assert (first["octets"], first["reverse_octets"], first["packets"]) == (300, 900, 6)
    assert (first["source_address"], first["initial_tcp_flags"], first["union_tcp_flags"]) == (DEVICE, 2, 0x1B)
    assert (first["start"], first["end"]) == (T0, T0 + timedelta(seconds=3603))
    assert first["end_reason"] == 1
    assert stage.accounting.corrected == {"joined with the record before": 2}


def test_a_long_connection_gives_a_flow_in_each_hour_with_its_first_direction() -> None:
    rows = [cut(0, initial_tcp_flags=2), cut(1801, **TURNED), cut(3602, **TURNED), biflow(at=5403, **TURNED)]
    whole, _ = joined(rows)
    assert whole["joined"].to_list() == [4]
    # T0 may lie anywhere in its hour, so the expected split is taken from the clock.
    hours = [(T0 + timedelta(seconds=at)).replace(minute=0, second=0, microsecond=0) for at in (0, 1801, 3602, 5403)]
    stage = Joining(120, 1800, 3600)
    flows = stage.flows(table(*rows), last=True).sort("start")
    assert flows["joined"].to_list() == [hours.count(hour) for hour in sorted(set(hours))]
    assert len(set(hours)) > 1
    assert set(flows["source_address"]) == {DEVICE}
    assert set(flows["initial_tcp_flags"]) == {2}
    assert flows["octets"].sum() == whole["octets"].sum()


@pytest.mark.parametrize(
    "second",
    [
        biflow(at=1800 + 121),  # after the gap
        biflow(at=1801, initial_tcp_flags=2),  # a new handshake
        biflow(at=1801, source_port=50001),
        biflow(at=1801, protocol=17),
        biflow(at=1801, source_port=443, destination_port=50000),  # ports crossed: another five-tuple
    ],
)
def test_records_that_do_not_continue_are_not_joined(second: dict[str, object]) -> None:
    flows, _ = joined([cut(0), second])
    assert flows["joined"].to_list() == [1, 1]


def test_without_an_end_reason_the_duration_decides() -> None:
    assert joined([cut(0, None), biflow(at=1801)])[0]["joined"].to_list() == [2]
    assert joined([cut(0, None, lasts=1000), biflow(at=1001)])[0]["joined"].to_list() == [1, 1]
    assert joined([cut(0, 1), biflow(at=1801)])[0]["joined"].to_list() == [1, 1]


@given(ROWS, st.integers(1, 29))
@settings(max_examples=50, deadline=None)
def test_joining_conserves_counts_and_does_not_depend_on_blocks(rows: list[dict[str, object]], size: int) -> None:
    biflows = sorted((biflow(**row) for row in rows), key=lambda row: row["start"])
    whole, _ = joined(biflows)
    parts, _ = joined(*[biflows[i : i + size] for i in range(0, len(biflows), size)] or [[]])
    order = [c for c in whole.columns if c not in {"start"}]
    assert whole.sort("start", *order).equals(parts.sort("start", *order))
    assert whole["joined"].sum() == len(rows)
    for name in ("octets", "reverse_octets"):
        other = "reverse_octets" if name == "octets" else "octets"
        assert whole[name].sum() + whole[other].sum() == sum(r["octets"] + r["reverse_octets"] for r in biflows)


def halves(*rows: dict[str, object]) -> pl.DataFrame:
    return table(*rows).with_columns(
        one_way=pl.lit(value=True), joined=pl.lit(1, dtype=pl.UInt32), last_cut=pl.lit(value=False),
        began=pl.col("start"),
    )  # fmt: skip


def test_one_way_records_become_biflows() -> None:
    silent = {"reverse_octets": 0, "reverse_packets": 0}
    back = TURNED | silent
    rows = [biflow(**silent), biflow(at=0.5, **back), biflow(at=100, **silent), biflow(at=100, source_port=1, **silent),
            biflow(at=300, **silent), biflow(at=300.5, **back), biflow(at=300.6, **silent)]  # fmt: skip
    stage = Pairing(gap_s=10)
    flows = pl.concat([stage.flows(halves(*rows[:1])), stage.flows(halves(*rows[1:]), last=True)]).sort("start")
    stage.accounting.check()
    assert flows["reverse_octets"].to_list() == [300, 0, 0, 300, 0]
    assert stage.accounting.corrected == {"paired with the opposite direction": 2}
    assert dict(flows.schema) == LINKED


# --- names -----------------------------------------------------------------------------------------------------


def answer(at: float, name: str, client: str = DEVICE, address: str = SERVER, ttl: int = 60) -> dict[str, object]:
    return {"time": T0 + timedelta(seconds=at), "client": client, "address": address, "name": name, "ttl_s": ttl}


def named(answers: list[dict[str, object]], *rows: dict[str, object], hold: float = 100) -> list[str | None]:
    naming = Naming(NameSettings(hold_s=hold))
    naming.learn(pl.DataFrame(answers, schema=NAME_ANSWER.schema, orient="row"))
    naming.learn(pl.DataFrame(answers, schema=NAME_ANSWER.schema, orient="row"))
    flows, _ = oriented(*rows)
    result = naming.named(flows)
    assert result.columns == FLOW.names
    return result["remote_name"].to_list()


def test_an_answer_names_later_flows_during_its_lifetime() -> None:
    first = [answer(10, "api.example.com")]
    at = [9.9, 10, 60, 169.9, 170, 170.1]
    names = named(first, *(biflow(at=t) for t in at))
    assert names == [None, *["api.example.com"] * 4, None]
    assert named(first, biflow(at=11, destination_address="203.0.113.9")) == [None]


def test_the_name_in_the_record_precedes_the_device_s_answer_and_that_of_others() -> None:
    both = [answer(0, "mine.example.com"), answer(5, "other.example.org", client="10.0.0.9")]
    assert named(both, biflow(at=10)) == ["mine.example.com"]
    assert named(both, biflow(at=10, source_address="10.0.0.6")) == ["other.example.org"]
    assert named(both, biflow(at=10, destination_name="SNI.example.net:443")) == ["sni.example.net"]
    assert named([*both, answer(6, "newer.example.com")], biflow(at=10)) == ["newer.example.com"]


def test_a_dns_exchange_is_named_by_its_question() -> None:
    def question(at: float, name: str, **changes: object) -> dict[str, object]:
        time = T0 + timedelta(seconds=at)
        return {"time": time, "client": DEVICE, "client_port": 4000, "server": RESOLVER, "name": name} | changes

    def exchange(at: float, **changes: object) -> dict[str, object]:
        fixed: dict[str, object] = {"protocol": 17, "source_port": 4000, "destination_port": 53}
        return biflow(at=at, lasts=20, destination_address=RESOLVER, **(fixed | changes))

    asked = [question(1, "a.example.com"), question(2, "b.example.com"), question(90, "late.example.com"),
             question(1, "other.example.org", client_port=4001)]  # fmt: skip
    naming = Naming(NameSettings())
    naming.learn_questions(pl.DataFrame(asked, schema=NAME_QUESTION.schema, orient="row"))
    flows, _ = oriented(exchange(0), exchange(40), exchange(200, source_port=4001), biflow(at=0))
    # The resolver is a device too, and has rows of its own.
    by_start = naming.named(flows).filter(pl.col("device") == DEVICE).sort("start", "protocol")
    assert by_start["remote_name"].to_list() == [None, "b.example.com", None, None]
    assert by_start["remote_domain"].to_list() == [None, "example.com", None, None]


def test_the_domain_of_a_multicast_group_is_its_address() -> None:
    rows = [biflow(at=i, protocol=17, destination_address=address, destination_port=1900)
            for i, address in enumerate(["239.255.255.250", "224.0.0.251", "10.0.0.255", SERVER])]  # fmt: skip
    for enabled in (True, False):
        flows, _ = oriented(*rows)
        named = Naming(NameSettings(enabled=enabled)).named(flows).sort("start")
        assert named["remote_domain"].to_list() == ["239.255.255.250", "224.0.0.251", None, None]
        assert named["remote_name"].null_count() == 4


def test_names_can_be_switched_off() -> None:
    flows, _ = oriented(biflow(destination_name="a.example.com"))
    off = Naming(NameSettings(enabled=False)).named(flows)
    assert off["remote_name"].to_list() == off["remote_domain"].to_list() == [None]


def test_domains_follow_the_public_suffix_list() -> None:
    cases = {"a.b.example.co.uk": "example.co.uk", "Example.COM.": "example.com", "localhost": None, "10.0.0.1": None,
             "2001:db8::1": None, "bad name.example.com": None, "": None, "x" * 300: None, "co.uk": None,
             "printer.local": None, "me.github.io": "me.github.io",
             "a.b.city.kobe.jp": "city.kobe.jp", "a.b.kobe.jp": "a.b.kobe.jp", "a.xn--p1ai": "a.xn--p1ai",
             "a.example.xn--p1ai": "example.xn--p1ai"}  # fmt: skip
    assert domains(pl.Series(list(cases)))["remote_domain"].to_list() == list(cases.values())
    assert suffix_list_date() is not None


def test_rules_of_other_scripts_are_those_of_the_suffix_list() -> None:
    assert _suffixes()._publicsuffix == PublicSuffixList(accept_unknown=False, only_icann=True)._publicsuffix


def test_domains_below_a_shared_parent_keep_the_label_of_the_customer() -> None:
    cases = {"maker.s3.eu-west-1.amazonaws.com": "maker.s3.amazonaws.com",
             "a1b2c3d4e5f6-ats.iot.us-east-1.amazonaws.com": "a1b2c3d4e5f6.iot.amazonaws.com",
             "2.maker.pool.ntp.org": "maker.pool.ntp.org", "0.us.pool.ntp.org": "pool.ntp.org"}  # fmt: skip
    assert domains(pl.Series(list(cases)))["remote_domain"].to_list() == list(cases.values())


def test_domains_in_the_bundled_libraries_are_registrable_domains() -> None:
    """A newer suffix list that cuts a name elsewhere would make the names of a library and of a network differ."""
    folder = Path(ethogram.__file__).parent / "data"
    for path in sorted(folder.glob("*.jsonl.gz")):
        lines = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        names = sorted({count[5] for line in lines for count in line.get("counts", ()) if count[5] is not None})
        hosts = [name for name in names if not re.search(GROUP, name)]
        assert domains(pl.Series(hosts, dtype=pl.String))["remote_domain"].to_list() == hosts
