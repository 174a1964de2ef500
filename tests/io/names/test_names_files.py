"""Files that name devices: each known form is detected by content, and errors are counted with their lines."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import ConfigurationError, EthogramError
from ethogram.io.names.entries import Entries
from ethogram.io.names.open import read_names
from ethogram.io.names.table import load_mapping
from ethogram.schema import NAMED_DEVICE

CAM, LAMP = "aa:bb:cc:00:00:01", "aa:bb:cc:00:00:02"

DNSMASQ = f"""1714600000 {CAM} 192.168.1.5 cam 01:{CAM}
1714600000 {LAMP.upper()} 192.168.1.6 * *
duid 00:01:00:01:23:45
1714600000 1234567 fd00::5 cam 00:01:00:01
"""
ISC = """# The format of this file is documented in the dhcpd.leases(5) manual page.
lease 192.168.1.5 {
  starts 2 2024/04/30 12:00:00;
  ends 3 2024/05/01 12:00:00;
  binding state free;
  hardware ethernet aa:bb:cc:00:00:02;
}
lease 192.168.1.5 {
  starts epoch 1714564800; # Wed May 01 12:00:00 2024
  binding state active;
  hardware ethernet aa:bb:cc:00:00:01;
  set vendor-class-identifier = "udhcp";
  client-hostname "cam";
}
lease 192.168.1.9 {
  binding state abandoned;
}
host lamp { hardware ethernet aa:bb:cc:00:00:02; fixed-address 192.168.1.6; }
"""
KEA = f"""address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.168.1.5,{CAM},,3600,1714568400,1,0,0,old,0,,0
192.168.1.5,{CAM},,3600,1714568400,1,0,0,cam.home.,0,,0
192.168.1.7,,,3600,1714568400,1,0,0,,1,,0
"""
HOSTS = """127.0.0.1 localhost
192.168.1.5\tcam cam.home # in the hall
fd00::5 cam
0.0.0.0 ads.example
"""
IP_NEIGH = f"""192.168.1.5 dev br-lan lladdr {CAM} REACHABLE
192.168.1.7 dev br-lan  FAILED
fe80::5 dev br-lan lladdr {CAM} router STALE
"""
ARP_A = f"""cam.home (192.168.1.5) at {CAM} [ether] on eth0
? (192.168.1.6) at a:b:cc:0:0:2 on en0 ifscope [ethernet]
? (192.168.1.7) at <incomplete> on eth0
"""
ARP_N = f"""Address                  HWtype  HWaddress           Flags Mask            Iface
192.168.1.5              ether   {CAM}   C                     eth0
192.168.1.7                      (incomplete)                              eth0
"""
WINDOWS = """
Interface: 192.168.1.2 --- 0x5
  Internet Address      Physical Address      Type
  192.168.1.5           aa-bb-cc-00-00-01     dynamic
"""
PROC = f"""IP address       HW type     Flags       HW address            Mask     Device
192.168.1.5      0x1         0x2         {CAM}     *        br-lan
"""
NETBOX = """Name,Status,Tenant,Site,Rack,Role,Manufacturer,Type,IP Address
Hall camera,Active,,Home,,Camera,Acme,C-100,192.168.1.5/24
"""
CONTROLLER = """{"meta": {"rc": "ok"}, "data": [
  {"mac": "aa:bb:cc:00:00:01", "ip": "192.168.1.5", "hostname": "cam", "name": "Hall camera", "oui": "Acme"},
  {"mac": "aa:bb:cc:00:00:02", "last_ip": "192.168.1.6"}]}"""


def read(path: Path, content: str, **options: object) -> tuple[str, Entries]:
    path.write_text(content)
    return read_names(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "form", "rows"),
    [
        (DNSMASQ, "dnsmasq leases", [(CAM, "192.168.1.5", "cam"), (LAMP, "192.168.1.6", None),
                                     (None, "fd00::5", "cam")]),
        (ISC, "ISC dhcpd leases", [(LAMP, "192.168.1.6", "lamp"), (LAMP, "192.168.1.5", None),
                                   (CAM, "192.168.1.5", "cam")]),
        (KEA, "Kea leases", [(CAM, "192.168.1.5", "cam.home")]),
        (HOSTS, "hosts", [(None, "192.168.1.5", "cam"), (None, "fd00::5", "cam")]),
        (IP_NEIGH, "neighbour table", [(CAM, "192.168.1.5", None), (CAM, "fe80::5", None)]),
        (ARP_A, "neighbour table", [(CAM, "192.168.1.5", "cam.home"), ("0a:0b:cc:00:00:02", "192.168.1.6", None)]),
        (ARP_N, "neighbour table", [(CAM, "192.168.1.5", None)]),
        (WINDOWS, "neighbour table", [(CAM, "192.168.1.5", None)]),
        (PROC, "neighbour table", [(CAM, "192.168.1.5", None)]),
        (NETBOX, "CSV", [(None, "192.168.1.5", "Hall camera")]),
        (CONTROLLER, "JSON", [(CAM, "192.168.1.5", "Hall camera"), (LAMP, "192.168.1.6", None)]),
        ("device,mac,ip\nDen,aa-bb-cc-00-00-01,\n", "CSV", [(CAM, None, "Den")]),
        ("MAC Address;Host Name\naabb.cc00.0001;cam\n", "CSV", [(CAM, None, "cam")]),
        ('[{"dst": "192.168.1.5", "dev": "lan", "lladdr": "aa:bb:cc:00:00:01"}]', "JSON", [(CAM, "192.168.1.5", None)]),
        ('{"aa:bb:cc:00:00:01": {"name": "Den"}}', "JSON", [(CAM, None, "Den")]),
        ('{"mac": "aa:bb:cc:00:00:01", "name": "Den"}\n{"mac": "x"}\n', "JSON", [(CAM, None, "Den")]),
    ],
)  # fmt: skip
def test_each_form_is_told_by_content(
    tmp_path: Path, content: str, form: str, rows: list[tuple[str | None, ...]]
) -> None:
    read_back, entries = read(tmp_path / "devices.txt", content)
    assert read_back == form
    table = entries.table()
    assert NAMED_DEVICE.matches(table.schema)
    names = table["name"].zip_with(table["name"].is_not_null(), table["host_name"])
    assert list(zip(table["mac"], table["address"], names, strict=True)) == rows
    assert table["source"].unique().to_list() == [f"devices.txt ({form})"]
    entries.accounting.check()


def test_what_an_inventory_knows_of_a_device(tmp_path: Path) -> None:
    _, entries = read(tmp_path / "netbox.csv", NETBOX)
    [row] = entries.table().select("vendor", "model", "kind", "line").rows()
    assert row == ("Acme", "C-100", "Camera", 2)


def test_leases_say_since_when_a_mac_has_its_address(tmp_path: Path) -> None:
    begins = read(tmp_path / "dhcpd.leases", ISC)[1].table()["begin"]
    assert begins[1:].to_list() == [datetime(2024, 4, 30, 12, tzinfo=UTC), datetime(2024, 5, 1, 12, tzinfo=UTC)]
    assert read(tmp_path / "kea.csv", KEA)[1].table()["begin"].to_list() == [datetime(2024, 5, 1, 12, tzinfo=UTC)]


def test_what_is_wrong_is_counted_and_the_rest_used(tmp_path: Path) -> None:
    _, entries = read(tmp_path / "leases", DNSMASQ + "1714600000 nothing 192.168.1.8 x *\nfine\n")
    assert entries.table().height == 3
    assert entries.accounting.dropped == {"no MAC": 1, "unreadable entry": 1}
    assert entries.first_problem == (5, "'nothing' is no MAC")
    _, entries = read(tmp_path / "dhcpd.leases", ISC + "lease 192.168.1.8 {\n  starts 2 2024/04/30 12:00:00;\n")
    assert entries.first_problem == (19, "lease 192.168.1.8 does not end with }")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"), (b"\0\1\2", "a NUL octet"), ("x".encode("utf-16"), "UTF-16"),
        (b"1.5,2,3\n4,5,6\n", "names no devices in a known form; expected one of Kea leases, "),
        (b'{"a": 1}', "JSON, but no list of objects with a MAC or an address in it"),
        (b"#fields\tts\tuid\n1\t2\n", "names no devices in a known form"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "leases"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as error:
        read_names(file)
    assert str(error.value).startswith(f"names file {file}")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mapping_names_the_columns(tmp_path: Path) -> None:
    mapping = tmp_path / "map.toml"
    mapping.write_text('[columns]\nmac = "Hardware"\nname = "Client"\n')
    columns = load_mapping(mapping)
    _, entries = read(tmp_path / "clients.csv", "Client,Hardware,IP\nDen,aa-bb-cc-00-00-01,10.0.0.5\n", columns=columns)
    assert entries.table().select("mac", "address", "name").rows() == [(CAM, None, "Den")]
    with pytest.raises(ConfigurationError, match="no columns Client, Hardware"):
        read(tmp_path / "other.csv", "a,b\n1,2\n", columns=columns)
    mapping.write_text('[columns]\nmac = "net.mac"\nname = "Client"\n')
    text = '[{"net": {"mac": "aa:bb:cc:00:00:01"}, "Client": "Den"}]'
    assert read(tmp_path / "clients.json", text, columns=load_mapping(mapping))[1].table()["mac"].to_list() == [CAM]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[columns", "not TOML"), ("[other]\na=1", "expected a section"), ('[columns]\nx = "y"', "unknown field 'x'"),
     ('[columns]\nname = "y"', "no column for mac or address"), ("[columns]\nmac = 1", "has no column name")],
)  # fmt: skip
def test_a_wrong_mapping_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        load_mapping(file)


SAMPLES = [DNSMASQ, ISC, KEA, HOSTS, IP_NEIGH, ARP_A, ARP_N, WINDOWS, PROC, NETBOX, CONTROLLER]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 600), st.text(string.printable + "é", max_size=4)),
                                          max_size=5))  # fmt: skip
def test_changed_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, changes: list[tuple[int, str]]
) -> None:
    for at, new in changes:
        text = text[:at] + new + text[at + len(new) :]
    file = tmp_path_factory.getbasetemp() / "names"
    file.write_text(text)
    try:
        _, entries = read_names(file)
    except EthogramError as error:
        assert "\n" not in str(error)
    else:
        entries.accounting.check()
        assert NAMED_DEVICE.matches(entries.table().schema)
