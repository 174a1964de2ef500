"""Aliases of OPNsense from profiles, for *Firewall: Aliases*, *Upload*.

The form is the JSON that the same page downloads and that ``POST /api/firewall/alias/import`` reads: aliases by UUID
with the fields of the model ``Alias.xml``. An alias of the same name is replaced.

References
----------
https://docs.opnsense.org/manual/aliases.html; https://github.com/opnsense/core, ``AliasController.php``,
``Alias.xml``, ``AliasNameField.php`` and ``AliasContentField.php``.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Sequence

from ethogram._text import json_text
from ethogram.export.policy import Policy, PolicyRule, write_policies
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import TCP, UDP, MudRule

__all__ = ["write"]

_NAMESPACE = uuid.UUID("b0a5f4f2-53f6-5d1e-8a53-2a7cf39f8d10")
_LONGEST_NAME, _LONGEST_TEXT = 31, 255
_Alias = dict[str, str]


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:
    """One file of aliases; with a dry run, what rules with them would drop.

    Each device is an alias of its addresses, or of its MACs. The other ends of a service are aliases of hosts, which
    OPNsense resolves, or of networks, and its ports an alias of ports. The description says which rule uses them.
    """
    return write_policies(data, options, _aliases_file)


def _aliases_file(all_policies: Sequence[Policy]) -> str:
    aliases = {str(uuid.uuid5(_NAMESPACE, alias["name"])): alias
               for policy in all_policies for alias in _aliases(policy)}  # fmt: skip
    return json_text({"aliases": {"alias": aliases}}, indent=True)


def _alias(name: str, kind: str, content: list[str], text: str) -> _Alias:
    return {"enabled": "1", "name": name[:_LONGEST_NAME], "type": kind, "proto": "", "content": "\n".join(content),
            "description": _description(text)}  # fmt: skip


def _description(text: str) -> str:
    """What all versions allow in a description: letters, digits, spaces and a few marks."""
    return re.sub(r"[^0-9A-Za-z .,_-]", "_", text)[:_LONGEST_TEXT]


def _base(policy: Policy) -> str:
    """Start of the names of a device's aliases, different for each device."""
    digest = hashlib.sha256(policy.device.id.encode()).hexdigest()[:6]
    return f"eg_{re.sub(r'[^a-z0-9]', '_', policy.name)[:12]}_{digest}"


def _aliases(policy: Policy) -> Iterator[_Alias]:
    if not policy.rules:
        return
    device, base = policy.device, _base(policy)
    addresses = [each for each in device.addresses if "%" not in each]
    content, kind = (addresses, "host") if addresses else (list(device.macs), "mac")
    yield _alias(base, kind, content, f"Device {policy.name}")
    groups: dict[tuple[bool, int | None, str], list[PolicyRule]] = {}
    for each in policy.rules:
        # Rules of pf keep state: those of answers are not needed.
        if each.rule.action == "accept" and _begins(each.rule):
            groups.setdefault((each.rule.outward, each.rule.protocol, _port(each.rule)), []).append(each)
    for number, ((outward, protocol, port), rules) in enumerate(groups.items()):
        word = {TCP: "TCP", UDP: "UDP", None: "any protocol"}.get(protocol, f"IP protocol {protocol}")
        way = f"from {base} to" if outward else f"to {base} from"
        ends = _ends(rules)
        for kind, (letter, items) in ends.items():
            name = f"{base}_{letter}{number}"
            yield _alias(name, kind, items, f"Pass {word} {way} {name}{f', port {port}' if port else ''}")
        if not ends:
            yield _alias(f"{base}_p{number}", "port", [port.replace("-", ":") or "1:65535"],
                         f"Pass {word} {way} any, port {base}_p{number}")  # fmt: skip


def _begins(rule: MudRule) -> bool:
    """Whether the rule is of the direction in which flows begin."""
    if rule.initiated:
        return (rule.initiated == "from-device") == rule.outward
    return rule.outward or rule.device_ports is not None


def _port(rule: MudRule) -> str:
    """Port of the service, or its range."""
    ports = (rule.remote_ports if rule.outward else rule.device_ports) or rule.remote_ports
    return "" if ports is None else f"{ports[0]}" if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def _ends(rules: list[PolicyRule]) -> dict[str, tuple[str, list[str]]]:
    """Other ends as content of aliases of hosts and of networks; empty if any end is permitted."""
    hosts: dict[str, None] = {}
    networks: dict[str, None] = {}
    for each in rules:
        if each.networks is None:
            return {}
        if each.rule.name:
            hosts[each.rule.name] = None
            continue
        for network in each.networks:
            address, _, length = network.partition("/")
            single = length in ("", "128" if ":" in network else "32")
            (hosts if single else networks)[address if single else network] = None
    return {kind: (letter, list(items)) for kind, letter, items in
            (("host", "h", hosts), ("network", "n", networks)) if items}  # fmt: skip
