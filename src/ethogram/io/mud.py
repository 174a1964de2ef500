"""MUD files (RFC 8520, with access lists of RFC 8519): to profiles and back.

Files of drafts are read, too: their access lists are named ``ietf-access-control-list:access-lists``, and
``direction-initiated`` stands without its module.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from ethogram.errors import InputError
from ethogram.schema import ICMP, ICMPV6, TCP, UDP, Accounting, MudPlace, MudProfile, MudRule

__all__ = ["mud_document", "parse_mud", "read_mud"]

_MAX_OCTETS = 1 << 24
_LISTS = ("ietf-access-control-list:acls", "ietf-access-control-list:access-lists")
_MUD, _ACL = "ietf-mud:mud", "ietf-access-control-list:acls"
_PLACES: tuple[MudPlace, ...] = (
    "local-networks", "same-manufacturer", "manufacturer", "model", "controller", "my-controller",
)  # fmt: skip
_FLAGS = ("local-networks", "same-manufacturer", "my-controller")
_INITIATED = ("ietf-mud:direction-initiated", "direction-initiated")
_L4 = {"tcp": (TCP, TCP), "udp": (UDP, UDP), "icmp": (ICMP, ICMPV6)}
_MOST_PORT = 65_535
_LONGEST_NAME = 64


class _MudError(ValueError):
    """What is wrong with a file, with the place in it."""


class _UnsupportedError(ValueError):
    """Why an entry cannot be used."""


def read_mud(path: Path) -> tuple[MudProfile, Accounting]:
    """Read a MUD file.

    Parameters
    ----------
    path
        A JSON file.

    Returns
    -------
    The profile, and the accounting of its access-control entries. Entries without IP, and those of lists that no policy
    names, are ignored; entries that match on something else than :class:`ethogram.schema.MudRule` has are dropped.

    Raises
    ------
    InputError
        If it cannot be read or is no MUD file; the message says where.
    """
    try:
        if path.stat().st_size > _MAX_OCTETS:
            raise InputError(f"no MUD file: larger than {_MAX_OCTETS} octets", file=path)
        return parse_mud(path.read_bytes())
    except OSError as error:
        raise InputError(error.strerror or str(error), file=path) from None
    except ValueError as error:
        raise InputError(f"no MUD file: {error}", file=path) from None


def parse_mud(data: bytes) -> tuple[MudProfile, Accounting]:
    """Parse the text of a MUD file; see :func:`read_mud`.

    Raises
    ------
    ValueError
        If it is no MUD file.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _MudError(f"not JSON: {error}") from None
    mud = _member(document, _MUD, dict)
    lists = next((_member(document, key, dict) for key in _LISTS if key in document), None)
    if lists is None:
        raise _MudError(f"{_ACL} is missing")
    directions = {
        name: outward for outward, side in ((True, "from"), (False, "to")) for name in _policy(mud, f"{side}-device")
    }
    accounting, rules = Accounting("rules"), []
    for where, name, entry in _entries(lists):
        accounting.read += 1
        if name not in directions:
            accounting.ignore("in no policy")
            continue
        try:
            read = list(_rules(entry, where, outward=directions[name]))
        except _UnsupportedError as error:
            accounting.drop(str(error))
            continue
        if read:
            accounting.used += 1
            rules += read
        else:
            accounting.ignore("not IP")
    accounting.check()
    return _profile(mud, tuple(rules)), accounting


def _profile(mud: Mapping[str, Any], rules: tuple[MudRule, ...]) -> MudProfile:
    update = _member(mud, "last-update", str, _MUD)
    try:
        updated = datetime.fromisoformat(update)
    except ValueError:
        raise _MudError(f"{_MUD}/last-update: not a time: {update!r}") from None
    updated = updated.replace(tzinfo=UTC) if updated.tzinfo is None else updated.astimezone(UTC)
    texts = {key: mud[key] for key in ("systeminfo", "mfg-name", "model-name", "documentation")
             if isinstance(mud.get(key), str)}  # fmt: skip
    hours = mud.get("cache-validity", 48)
    if not isinstance(hours, int) or isinstance(hours, bool):
        raise _MudError(f"{_MUD}/cache-validity: not a number of hours")
    return MudProfile(
        url=_member(mud, "mud-url", str, _MUD), updated=updated, rules=rules, cache_hours=hours,
        supported=bool(mud.get("is-supported", True)), system_info=texts.get("systeminfo", ""),
        manufacturer=texts.get("mfg-name", ""), model=texts.get("model-name", ""),
        documentation=texts.get("documentation", ""),
    )  # fmt: skip


def _member(parent: Any, key: str, kind: type, where: str = "") -> Any:
    """A member of a JSON object, of one type."""
    place = f"{where}/{key}" if where else key
    if not isinstance(parent, dict):
        raise _MudError(f"{where or 'the file'} is not an object")
    if key not in parent:
        raise _MudError(f"{place} is missing")
    if not isinstance(parent[key], kind):
        raise _MudError(f"{place} is not {'an object' if kind is dict else 'a list' if kind is list else 'a text'}")
    return parent[key]


def _policy(mud: Mapping[str, Any], side: str) -> Iterator[str]:
    """Names of the access lists of one direction."""
    if f"{side}-policy" not in mud:
        return
    where = f"{_MUD}/{side}-policy"
    lists = _member(_member(mud, f"{side}-policy", dict, _MUD), "access-lists", dict, where)
    for number, entry in enumerate(_member(lists, "access-list", list, where)):
        yield _member(entry, "name", str, f"{where}/access-list[{number}]")


def _entries(lists: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Place, name of the list, and entry."""
    for number, access_list in enumerate(_member(lists, "acl", list, _ACL)):
        where = f"acl[{number}]"
        name = _member(access_list, "name", str, where)
        entries = _member(_member(access_list, "aces", dict, where), "ace", list, f"{where}/aces")
        for at, entry in enumerate(entries):
            yield f"{where}/ace[{at}]", name, entry


def _rules(entry: Mapping[str, Any], where: str, *, outward: bool) -> Iterator[MudRule]:
    """The rules of one entry; none if it is not about IP."""
    matches = _member(entry, "matches", dict, where)
    rest = set(matches) - {"eth", "ipv4", "ipv6", "tcp", "udp", "icmp", _MUD, "mud"}
    if rest:
        raise _UnsupportedError(f"matches on {min(rest)}")
    version: Literal[4, 6] = 6 if "ipv6" in matches else 4
    l4 = [name for name in _L4 if name in matches]
    mud: Any = next((matches[key] for key in (_MUD, "mud") if key in matches), {})
    if not l4 and "ipv4" not in matches and "ipv6" not in matches and "eth" in matches:
        return
    if not matches:
        raise _UnsupportedError("matches everything")
    packet = _member(matches, f"ipv{version}", dict, where) if f"ipv{version}" in matches else {}
    rule = MudRule(outward, version, _protocol(packet, l4, version), action=_action(entry, where))
    rule = _with_end(rule, packet, where)
    rule = _with_place(rule, mud, where)
    transport = _member(matches, l4[0], dict, where) if l4 else {}
    if l4 == ["icmp"]:
        rule = _with_icmp(rule, transport)
    elif l4:
        _only(transport, {"source-port", "destination-port", *_INITIATED})
        initiated: Any = next((transport[key] for key in _INITIATED if key in transport), "")
        if initiated not in ("", "from-device", "to-device"):
            raise _MudError(f"{where}: direction-initiated is {initiated!r}")
        rule = replace(rule, initiated=initiated)
    device, remote = ("source-port", "destination-port") if outward else ("destination-port", "source-port")
    for device_ports in _port_ranges(transport.get(device), where):
        for remote_ports in _port_ranges(transport.get(remote), where):
            yield replace(rule, device_ports=device_ports, remote_ports=remote_ports)


def _only(values: Mapping[str, Any], known: set[str]) -> None:
    rest = set(values) - known
    if rest:
        raise _UnsupportedError(f"matches on {min(rest)}")


def _protocol(packet: Mapping[str, Any], l4: Sequence[str], version: Literal[4, 6]) -> int | None:
    value = packet.get("protocol", _L4[l4[0]][version == 6] if l4 else None)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255):
        return value
    raise _MudError(f"protocol is {value!r}")


def _action(entry: Mapping[str, Any], where: str) -> Literal["accept", "drop", "reject"]:
    value = str(_member(entry, "actions", dict, where).get("forwarding", "")).rpartition(":")[2]
    if value not in ("accept", "drop", "reject"):
        raise _MudError(f"{where}/actions: forwarding is {value!r}")
    return value  # type: ignore[return-value]  # one of the three


def _with_end(rule: MudRule, packet: Mapping[str, Any], where: str) -> MudRule:
    """A rule with the name and addresses of the other end."""
    end, side = ("dst", "destination") if rule.outward else ("src", "source")
    network = f"{side}-ipv{rule.version}-network"
    _only(packet, {"protocol", f"ietf-acldns:{end}-dnsname", network})
    name = packet.get(f"ietf-acldns:{end}-dnsname", "")
    if not isinstance(name, str):
        raise _MudError(f"{where}: {end}-dnsname is not a text")
    prefix = packet.get(network, "")
    if prefix:
        try:
            prefix = str(ipaddress.ip_network(prefix, strict=False))
        except ValueError:
            raise _MudError(f"{where}: {network} is {prefix!r}") from None
    return replace(rule, name=name.lower().rstrip("."), network=prefix)


def _with_place(rule: MudRule, mud: Any, where: str) -> MudRule:
    if not isinstance(mud, dict):
        raise _MudError(f"{where}/{_MUD} is not an object")
    _only(mud, {*_PLACES, *_INITIATED})
    places: list[MudPlace] = [place for place in _PLACES if place in mud]
    if len(places) > 1:
        raise _UnsupportedError("several classes of other ends")
    if places:
        place = places[0]
        value = "" if place in _FLAGS else mud[place]
        if not isinstance(value, str):
            raise _MudError(f"{where}: {place} is not a text")
        return replace(rule, place=place, place_value=value)
    return rule


def _with_icmp(rule: MudRule, icmp: Mapping[str, Any]) -> MudRule:
    _only(icmp, {"type", "code"})
    kind, code = icmp.get("type"), icmp.get("code")
    if any(isinstance(n, bool) or not isinstance(n, int | None) for n in (kind, code)):
        raise _MudError("a type or code of ICMP is not a number")
    return rule if kind is None else replace(rule, icmp=(kind, code))


def _port_ranges(ports: Any, where: str) -> list[tuple[int, int] | None]:
    """Ranges of ports that an operator stands for (RFC 8519, port-range-or-operator)."""
    if ports is None:
        return [None]
    if not isinstance(ports, dict):
        raise _MudError(f"{where}: a port is not an object")
    _only(ports, {"operator", "port", "lower-port", "upper-port"})
    numbers = [ports[key] for key in ("port", "lower-port", "upper-port") if key in ports]
    if not numbers or any(not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= _MOST_PORT for n in numbers):
        raise _MudError(f"{where}: not a port: {orjson.dumps(ports).decode()}")
    if "lower-port" in ports:
        return [(ports["lower-port"], ports.get("upper-port", _MOST_PORT))]
    if "port" not in ports:
        raise _MudError(f"{where}: a range of ports has no lower port")
    port, operator = ports["port"], ports.get("operator", "eq")
    if not isinstance(operator, str):
        raise _MudError(f"{where}: an operator is not a text")
    ranges = {
        "eq": [(port, port)], "lte": [(0, port)], "gte": [(port, _MOST_PORT)],
        "neq": [(0, port - 1), (port + 1, _MOST_PORT)],
    }.get(operator)  # fmt: skip
    if ranges is None:
        raise _MudError(f"{where}: unknown operator {operator!r}")
    return [each for each in ranges if each[0] <= each[1]]


# Writing


def mud_document(profile: MudProfile) -> dict[str, Any]:
    """A profile as the JSON object of a MUD file.

    Rules keep their order within an access list; there is one list for each direction and version of IP.

    Examples
    --------
    >>> rule = MudRule(True, 4, 17, name="pool.ntp.org", remote_ports=(123, 123))
    >>> made = mud_document(MudProfile("https://example.com/plug", datetime(2026, 1, 1, tzinfo=UTC), (rule,)))
    >>> made["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"][0]["matches"]["ipv4"]
    {'protocol': 17, 'ietf-acldns:dst-dnsname': 'pool.ntp.org'}
    """
    file = profile.url.rpartition("/")[2].lower().removesuffix(".json")
    slug = re.sub(r"[^a-z0-9]+", "-", file).strip("-") or "device"
    lists: list[dict[str, Any]] = []
    policies: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    for outward, version in ((True, 4), (True, 6), (False, 4), (False, 6)):
        rules = [rule for rule in profile.rules if (rule.outward, rule.version) == (outward, version)]
        if not rules:
            continue
        prefix = f"{'from' if outward else 'to'}-ipv{version}-"
        name = prefix + slug[: _LONGEST_NAME - len(prefix)]
        policies[outward].append({"name": name})
        entries = [_entry(f"rule-{number}", rule) for number, rule in enumerate(rules)]
        lists.append({"name": name, "type": f"ipv{version}-acl-type",
                      "aces": {"ace": entries}})  # fmt: skip
    mud: dict[str, Any] = {
        "mud-version": 1, "mud-url": profile.url,
        "last-update": profile.updated.astimezone(UTC).isoformat(timespec="seconds"),
        "cache-validity": profile.cache_hours, "is-supported": profile.supported,
    }  # fmt: skip
    texts = {"systeminfo": profile.system_info, "mfg-name": profile.manufacturer, "model-name": profile.model,
             "documentation": profile.documentation}  # fmt: skip
    mud |= {key: text for key, text in texts.items() if text}
    for outward, names in policies.items():
        mud[f"{'from' if outward else 'to'}-device-policy"] = {"access-lists": {"access-list": names}}
    return {_MUD: mud, _ACL: {"acl": lists}}


def _entry(name: str, rule: MudRule) -> dict[str, Any]:
    matches: dict[str, Any] = {}
    if rule.place:
        matches[_MUD] = {rule.place: [None] if rule.place in _FLAGS else rule.place_value}
    end, side = ("dst", "destination") if rule.outward else ("src", "source")
    packet: dict[str, Any] = {} if rule.protocol is None else {"protocol": rule.protocol}
    if rule.name:
        packet[f"ietf-acldns:{end}-dnsname"] = rule.name
    if rule.network:
        packet[f"{side}-ipv{rule.version}-network"] = rule.network
    matches[f"ipv{rule.version}"] = packet
    transport: dict[str, Any] = {}
    near, far = ("source-port", "destination-port") if rule.outward else ("destination-port", "source-port")
    for key, ports in ((near, rule.device_ports), (far, rule.remote_ports)):
        if ports is not None:
            transport[key] = _ports(*ports)
    if rule.initiated:
        transport["ietf-mud:direction-initiated"] = rule.initiated
    if rule.icmp is not None:
        kind, code = rule.icmp
        matches["icmp"] = {"type": kind} | ({} if code is None else {"code": code})
    elif transport and rule.protocol in (TCP, UDP):
        matches["tcp" if rule.protocol == TCP else "udp"] = transport
    return {"name": name, "matches": matches, "actions": {"forwarding": rule.action}}


def _ports(first: int, last: int) -> dict[str, Any]:
    if first == last:
        return {"operator": "eq", "port": first}
    return {"lower-port": first, "upper-port": last}
