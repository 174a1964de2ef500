"""Firewall rules from profiles: read by nft itself, tried on flows, and safe whatever devices are called."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.export import nftables, opnsense
from ethogram.export.policy import policies, try_policies
from ethogram.export.registry import ExportData, ExportOptions
from ethogram.io.mud import mud_document
from ethogram.schema import ExportedDevice, MudProfile, MudRule

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LOCAL = ("192.168.0.0/16", "fe80::/10")
RULES = (
    MudRule(True, 4, 6, name="api.example.com", remote_ports=(443, 443), initiated="from-device"),
    MudRule(False, 4, 6, name="api.example.com", remote_ports=(443, 443), initiated="from-device"),
    MudRule(True, 4, 17, place="controller", place_value="urn:ietf:params:mud:dns", remote_ports=(53, 53)),
    MudRule(True, 6, 58, icmp=(128, 0), network="2001:db8::/32"),
    MudRule(True, 6, 17, name="v6.example.com", remote_ports=(9000, 9010)),
    MudRule(True, 4, 2, network="224.0.0.22/32"),
    MudRule(False, 4, 6, place="local-networks", device_ports=(8080, 8080), initiated="to-device"),
    MudRule(False, 4, None, network="198.51.100.0/24", action="drop"),
    MudRule(True, 4, 17),
    MudRule(True, 4, 6, name='x"; } evil', remote_ports=(1, 1)),
)  # fmt: skip
ENDS = pl.DataFrame({"name": ["api.example.com"] * 2, "address": ["192.0.2.1", "2001:db8::1"], "flows": [1, 1]})
HOSTILE = ('"; } table inet evil { ', "cam\n} flush ruleset\n", "cam\\", "# {", "\u202ecam\x1b[2J", "😀" * 80,
           "$(reboot)", "include \"/etc/passwd\"")  # fmt: skip


def data_of(*devices: ExportedDevice, rules: tuple[MudRule, ...] = RULES) -> ExportData:
    profile = MudProfile("https://example.com/cam", NOW, rules)
    return ExportData(devices, NOW, ends=ENDS, profiles={"": profile}, local=LOCAL)


CAMERA = ExportedDevice("1", "Cam #1", ("192.168.1.5", "fe80::5"), ("02:00:00:00:00:05",))


def written(module: Any, data: ExportData) -> tuple[str, list[str]]:
    parts = list(module.write(data, ExportOptions()))
    return "".join(part.text for part in parts), [part.note for part in parts if part.note]


def check_with_nft(text: str, folder: Path) -> None:
    """Let nft read the rules; it needs a network namespace of its own where it may not read that of the system."""
    path = folder / "rules.nft"
    path.write_text(text, encoding="utf-8")
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed: apt-get install nftables")
    tries = [["nft", "-c", "-f", str(path)]]
    if shutil.which("unshare"):
        tries.append(["unshare", "-rn", "nft", "-c", "-f", str(path)])
    errors = []
    for command in tries:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode == 0:
            return
        errors.append(done.stderr)
    if all("not permitted" in error or "denied" in error for error in errors):
        pytest.skip(f"nft may not run here: {errors[-1].splitlines()[0]}")
    pytest.fail(errors[0])


def test_nft_reads_the_rules_of_all_kinds(tmp_path: Path) -> None:
    text, notes = written(nftables, data_of(CAMERA))
    check_with_nft(text, tmp_path)
    lines = [line.strip() for line in text.splitlines()]
    assert "ip daddr @host_api_example_com_4 tcp dport 443 ct direction original counter accept" in lines
    assert "ip saddr @host_api_example_com_4 tcp sport 443 ct direction reply counter accept" in lines
    assert "ip daddr 192.168.0.0/16 udp dport 53 counter accept" in lines
    assert "ip6 daddr 2001:db8::/32 icmpv6 type 128 icmpv6 code 0 counter accept" in lines
    assert "ip saddr 192.168.0.0/16 tcp dport 8080 ct direction original counter accept" in lines
    assert "ip saddr 198.51.100.0/24 counter drop" in lines
    assert "elements = { 192.0.2.1 }" in lines
    assert "ip saddr @dev_cam_1_4 jump dev_cam_1_from" in lines
    assert "# nftset=/v6.example.com/6#inet#ethogram#host_v6_example_com_6" in lines
    assert lines.count("counter drop") == 2
    assert notes == ["Cam #1: 1 rule left out: the host name is not valid",
                     "Cam #1: 1 host name without a known address: a resolver must give it"]  # fmt: skip


def test_names_of_devices_never_become_rules(tmp_path: Path) -> None:
    devices = [ExportedDevice(str(i), name, (f"192.168.1.{i + 1}",)) for i, name in enumerate(HOSTILE)]
    text, _ = written(nftables, data_of(*devices))
    plain, _ = written(nftables, data_of(*(ExportedDevice(str(i), "device", (f"192.168.1.{i + 1}",))
                                           for i in range(len(HOSTILE)))))  # fmt: skip
    check_with_nft(text, tmp_path)
    code, expected = ([re.sub(r"dev_[a-z0-9_]+", "dev", line) for line in each.splitlines() if "#" not in line]
                      for each in (text, plain))  # fmt: skip
    assert code == expected
    assert text.isascii()
    document = json.loads(written(opnsense, data_of(*devices))[0])
    for alias in document["aliases"]["alias"].values():
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]{0,30}", alias["name"])
        assert re.fullmatch(r"[0-9A-Za-z .,_-]{1,255}", alias["description"])
        assert all(re.fullmatch(r"[0-9a-zA-Z.:/_-]+", item) for item in alias["content"].split("\n"))


def test_opnsense_aliases_have_the_fields_of_its_model() -> None:
    document = json.loads(written(opnsense, data_of(CAMERA))[0])
    aliases = list(document["aliases"]["alias"].values())
    assert len({alias["name"] for alias in aliases}) == len(aliases)
    assert {tuple(alias) for alias in aliases} == {("enabled", "name", "type", "proto", "content", "description")}
    by_type = {kind: [alias["content"] for alias in aliases if alias["type"] == kind] for kind in
               ("host", "network", "port", "mac")}  # fmt: skip
    assert by_type["host"] == ["192.168.1.5\nfe80::5", "api.example.com", "v6.example.com", "224.0.0.22"]
    assert by_type["network"] == ["192.168.0.0/16", "2001:db8::/32", "192.168.0.0/16"]
    assert (by_type["port"], by_type["mac"]) == (["1:65535"], [])
    assert "Pass TCP from eg_cam_1" in aliases[1]["description"]
    assert written(opnsense, data_of(CAMERA))[0] == written(opnsense, data_of(CAMERA))[0]


@pytest.mark.parametrize(("device", "jumps"), [
    (ExportedDevice("1", "mac", (), ("02:00:00:00:00:05",)), ["ether saddr 02:00:00:00:00:05 jump dev_mac_from"]),
    (ExportedDevice("1", "v6", ("2001:db8::5", "fe80::1%eth0")), ["ip6 saddr @dev_v6_6 jump dev_v6_from",
                                                                  "ip6 daddr @dev_v6_6 jump dev_v6_to"]),
    (ExportedDevice("1", "none"), []),
])  # fmt: skip
def test_devices_are_matched_by_what_is_known(device: ExportedDevice, jumps: list[str], tmp_path: Path) -> None:
    text, _ = written(nftables, data_of(device))
    check_with_nft(text, tmp_path)
    assert [line.strip() for line in text.splitlines() if " jump " in line] == jumps


def test_an_empty_network_is_an_empty_table(tmp_path: Path) -> None:
    text, _ = written(nftables, ExportData((), NOW))
    check_with_nft(text, tmp_path)
    assert json.loads(written(opnsense, ExportData((), NOW))[0]) == {"aliases": {"alias": {}}}


def day(folder: Path, name: str, *ports: int) -> Path:
    """A camera that speaks to one server on ports, ten times each, 60 octets each way."""
    packets: list[P] = []
    for minute in range(10):
        for number, port in enumerate(ports):
            at = (1_714_521_600 + minute * 60 + number) * 1_000_000_000
            sent = P(at, "192.168.1.5", "198.51.100.7", 40_000 + minute, port, source_mac="02:00:00:00:00:05")
            packets += [sent, sent.back(at + 100_000_000)]
    (folder / name).write_bytes(capture(packets))
    return folder / name


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("form", ["nftables", "opnsense"])
def test_a_dry_run_counts_what_would_be_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    usual, later = day(tmp_path, "usual.pcap", 443), day(tmp_path, "later.pcap", 443, 23)
    assert main(["export", form, str(usual), "--dry-run", "--traffic", str(usual)]) == 0
    (total,) = rows_of(capsys.readouterr().out)
    assert (total["rule"], total["flows"], total["flows_in_all"]) == ("dropped", "0", "10")
    assert main(["export", form, str(usual), "--dry-run", "--traffic", str(later)]) == 0
    out, into, total = rows_of(capsys.readouterr().out)
    assert {out["direction"], into["direction"]} == {"from", "to"}
    assert out["rule"] == "TCP/23 client wan"
    began = out if out["direction"] == "from" else into
    assert (began["flows"], began["packets"], total["flows"], total["flows_in_all"]) == ("10", "10", "10", "20")
    assert int(total["octets"]) == int(out["octets"]) + int(into["octets"]) > 0


def test_a_profile_of_a_file_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual, mud = day(tmp_path, "usual.pcap", 443), tmp_path / "cam.json"
    rule = MudRule(True, 4, 6, network="203.0.113.0/24", remote_ports=(8883, 8883))
    mud.write_text(json.dumps(mud_document(MudProfile("https://example.com/cam", NOW, (rule,)))))
    assert main(["export", "nftables", str(usual), "--profile", f"192.168.1.5={mud}"]) == 0
    text = capsys.readouterr().out
    assert "ip daddr 203.0.113.0/24 tcp dport 8883 counter accept" in text
    assert "dport 443" not in text
    assert main(["export", "nftables", str(usual), "--profile", f"nobody={mud}"]) == 3
    assert "--profile: there is no device 'nobody'" in capsys.readouterr().err


def test_a_trial_is_of_addresses_and_not_of_names() -> None:
    """A name whose address is known permits that address, regardless of the name that a device asked for."""
    (policy,) = policies(data_of(CAMERA, rules=RULES[:2]))
    assert [each.networks for each in policy.rules] == [("192.0.2.1",), ("192.0.2.1",)]
    assert rows_of(try_policies([policy], [])) == [
        {"device": "Cam #1", "direction": "all", "rule": "dropped", "flows": "0", "packets": "0", "octets": "0",
         "flows_in_all": "0"},
    ]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), [
    (["csv", "--dry-run"], "--dry-run: has no effect on csv"),
    (["mud", "--traffic", "x"], "--traffic: has no effect on mud"),
    (["nftables", "--dry-run"], "--dry-run and --traffic belong together"),
    (["nftables", "--url", "https://netbox.example"], "--url: has no effect on nftables"),
    (["opnsense", "--profile", "{here}"], "not a MUD file"),
])  # fmt: skip
def test_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = [text.replace("{here}", str(tmp_path)) for text in arguments]
    assert main(["export", given[0], str(tmp_path / "no.pcap"), *given[1:]]) in (2, 3)
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
