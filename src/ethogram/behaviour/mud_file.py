"""Reader of MUD files (RFC 8520 in JSON, RFC 7951), strict: what it does not understand is an error.

Entries whose conditions flow records cannot show are kept without these conditions, and named in the notices of the
profile: types of ICMP, flags of TCP. Entries of other layers (ARP, EAPOL) are left out and counted there.

The name ``ietf-access-control-list:access-lists`` of the drafts is read as ``ietf-access-control-list:acls``, since
widely used generators write it.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

from ethogram._text import visible
from ethogram.errors import InputError
from ethogram.schema import ICMP, ICMPV6, TCP, UDP, Profile, ProfileRule

__all__ = ["is_mud_file", "read_mud"]

MOST_OCTETS = 4 << 20
MOST_RULES = 5000
_ACLS = ("ietf-access-control-list:acls", "ietf-access-control-list:access-lists")
_MUD = "ietf-mud:mud"
_LAST_PORT = 65_535
_MUD_FIELDS = frozenset({
    "mud-version", "mud-url", "last-update", "mud-signature", "cache-validity", "is-supported", "systeminfo",
    "mfg-name", "model-name", "firmware-rev", "software-rev", "documentation", "extensions", "from-device-policy",
    "to-device-policy",
})  # fmt: skip
_PEERS = ("manufacturer", "same-manufacturer", "model", "local-networks", "controller", "my-controller")
_ETHERNET = frozenset({"ethertype", "source-mac-address", "destination-mac-address", "source-mac-address-mask",
                       "destination-mac-address-mask"})  # fmt: skip
_ETHERTYPES = {"0x0800": 4, "0x86dd": 6}
_UNSEEN = {"icmp": "types of ICMP", "dscp": "DSCP", "ecn": "ECN", "length": "lengths", "ttl": "time to live",
           "ihl": "header lengths", "flags": "flags", "offset": "fragment offsets", "identification": "identifications",
           "flow-label": "flow labels", "sequence-number": "sequence numbers",
           "acknowledgement-number": "acknowledgement numbers", "data-offset": "data offsets",
           "reserved": "reserved bits", "window-size": "window sizes", "options": "options"}  # fmt: skip


def is_mud_file(path: str | Path) -> bool:
    """Whether a file is JSON with a MUD container; the file is not checked further."""
    try:
        with Path(path).open("rb") as file:
            return b'"ietf-mud:mud"' in file.read(MOST_OCTETS)
    except OSError:
        return False


def read_mud(path: str | Path) -> Profile:
    """Read a MUD file as a profile.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The profile: one rule per access control entry that concerns IP, in the order of the file.

    Raises
    ------
    InputError
        With the file, the place in it and the reason, if it is not a MUD file of version 1, or an entry cannot be
        understood.

    References
    ----------
    RFC 8520 sections 2 to 7; RFC 8519 for access control lists; ``ietf-acldns`` of RFC 8520 section 5.
    """
    return _Reader(Path(path)).read()


class _Reader:
    """Reads one file; ``fail`` ends the reading with the place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unseen: Counter[str] = Counter()

    def fail(self, place: str, reason: str) -> NoReturn:
        raise InputError(f"{place}: {reason}" if place else reason, file=self._path)

    def read(self) -> Profile:
        try:
            size = self._path.stat().st_size
            content = self._path.read_bytes() if size <= MOST_OCTETS else b""
        except OSError as error:
            self.fail("", f"cannot be read: {error.strerror or error}")
        if size > MOST_OCTETS:
            self.fail("", f"{size:,} octets; a MUD file has at most {MOST_OCTETS:,}")
        try:
            document = json.loads(content, object_pairs_hook=self._unique)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None)
            reason = getattr(error, "msg", None) or "not UTF-8"
            raise InputError(f"not JSON: {reason}", file=self._path, line=line) from None
        except RecursionError:
            self.fail("", "not JSON that can be read: nested too deeply")
        if not isinstance(document, dict) or _MUD not in document:
            self.fail("", f"not a MUD file: no {_MUD!r}")
        mud = self._object(document[_MUD], _MUD)
        self._known(mud, _MUD_FIELDS, _MUD)
        if mud.get("mud-version") != 1:
            self.fail(f"{_MUD}/mud-version", f"{_shown(mud.get('mud-version'))} is not 1, the only version")
        lists = [name for name in _ACLS if name in document]
        if len(lists) != 1:
            self.fail("", f"expected one {_ACLS[0]!r}, found {len(lists)}")
        for name in document:
            if name not in (_MUD, *_ACLS):
                self.fail(_shown(name), "unknown container")
        acls = self._lists(document[lists[0]], lists[0])
        rules: list[ProfileRule] = []
        used: set[str] = set()
        for policy, direction in (("from-device-policy", "from"), ("to-device-policy", "to")):
            for name, place in self._policy(mud, policy):
                if name not in acls:
                    self.fail(place, f"no access list {_shown(name)}")
                used.add(name)
                rules += self._rules(acls[name], f"acl {_shown(name)}", direction)  # type: ignore[arg-type]  # one of two
        if len(rules) > MOST_RULES:
            self.fail("", f"{len(rules):,} entries; at most {MOST_RULES:,} are read")
        notices = []
        for what, count in sorted(self._unseen.items()):
            entries = "1 entry" if count == 1 else f"{count:,} entries"
            notices.append(f"{entries} of other layers than IP: left out" if what == "left out" else
                           f"{what} ({entries}): not seen in flow records, not checked")  # fmt: skip
        unused = sorted(set(acls) - used)
        if unused:
            notices.append(f"access lists that no policy names: {', '.join(map(visible, unused[:5]))}")
        info = mud.get("systeminfo", "")
        source = f"MUD file {self._path.name}" + (f" ({visible(info)})" if isinstance(info, str) and info else "")
        url = mud.get("mud-url", "")
        if not isinstance(url, str):
            self.fail(f"{_MUD}/mud-url", f"{_shown(url)} is no text")
        return Profile(source=source, url=url, rules=tuple(rules), notices=tuple(notices))

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = Counter(name for name, _ in pairs)
        for name, count in names.items():
            if count > 1:
                self.fail("", f"the member {_shown(name)} is there {count} times in one object")
        return dict(pairs)

    # Parts

    def _object(self, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(place, f"expected an object, found {_kind(value)}")
        return value

    def _array(self, value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            self.fail(place, f"expected an array, found {_kind(value)}")
        return value

    def _text(self, value: Any, place: str) -> str:
        if not isinstance(value, str) or not value:
            self.fail(place, f"expected text, found {_kind(value)}")
        return value

    def _known(self, value: Mapping[str, Any], names: frozenset[str], place: str) -> None:
        for name in value:
            if name not in names and ":" not in name:  # members of other modules are extensions
                self.fail(place, f"unknown member {_shown(name)}")

    def _lists(self, value: Any, place: str) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = {}
        for i, each in enumerate(self._array(self._object(value, place).get("acl"), f"{place}/acl")):
            here = f"{place}/acl[{i}]"
            acl = self._object(each, here)
            name = self._text(acl.get("name"), f"{here}/name")
            if name in lists:
                self.fail(here, f"a second access list {_shown(name)}")
            aces = self._object(acl.get("aces", {}), f"{here}/aces")
            lists[name] = self._array(aces.get("ace", []), f"{here}/aces/ace")
        return lists

    def _policy(self, mud: Mapping[str, Any], policy: str) -> list[tuple[str, str]]:
        if policy not in mud:
            return []
        place = f"{_MUD}/{policy}/access-lists"
        lists = self._object(self._object(mud[policy], f"{_MUD}/{policy}").get("access-lists"), place)
        names = self._array(lists.get("access-list"), f"{place}/access-list")
        return [
            (self._text(self._object(each, f"{place}[{i}]").get("name"), f"{place}[{i}]/name"), f"{place}[{i}]")
            for i, each in enumerate(names)
        ]

    def _rules(self, aces: list[Any], place: str, direction: Literal["from", "to"]) -> list[ProfileRule]:
        rules = []
        for i, each in enumerate(aces):
            ace = self._object(each, f"{place}/ace[{i}]")
            name = self._text(ace.get("name"), f"{place}/ace[{i}]/name")
            here = f"{place}/ace {_shown(name)}"
            rule = self._rule(ace, name, here, direction)
            if rule is None:
                self._unseen["left out"] += 1
            else:
                rules.append(rule)
        return rules

    def _rule(self, ace: dict[str, Any], name: str, place: str, direction: Literal["from", "to"]) -> ProfileRule | None:
        self._known(ace, frozenset({"name", "matches", "actions", "statistics"}), place)
        actions = self._object(ace.get("actions"), f"{place}/actions")
        forwarding = self._text(actions.get("forwarding"), f"{place}/actions/forwarding").split(":")[-1]
        if forwarding not in ("accept", "drop", "reject"):
            self.fail(f"{place}/actions/forwarding", f"{_shown(forwarding)} is not accept, drop or reject")
        matches = self._object(ace.get("matches", {}), f"{place}/matches")
        self._known(matches, frozenset({"ipv4", "ipv6", "tcp", "udp", "icmp", "eth"}), f"{place}/matches")
        for other in matches:
            if ":" in other and other != _MUD:
                self.fail(f"{place}/matches", f"unknown match {_shown(other)}")
        parts: dict[str, Any] = {"name": visible(name), "direction": direction, "permits": forwarding == "accept"}
        version = self._layer_two(matches, place)
        if version == 0:
            return None
        parts["version"] = version or None
        self._layer_three(matches, place, direction, parts)
        self._layer_four(matches, place, direction, parts)
        self._peer(matches, place, parts)
        return ProfileRule(**parts)

    def _layer_two(self, matches: Mapping[str, Any], place: str) -> int | None:
        """Version of IP that an Ethernet type stands for; 0: another protocol, None: any."""
        if "eth" not in matches:
            return None
        eth = self._object(matches["eth"], f"{place}/matches/eth")
        self._known(eth, _ETHERNET, f"{place}/matches/eth")
        kind = str(eth.get("ethertype", "")).lower()
        if kind and kind not in ("ipv4", "ipv6"):
            return _ETHERTYPES.get(kind, 0)
        return {"ipv4": 4, "ipv6": 6}.get(kind)

    def _layer_three(
        self, matches: Mapping[str, Any], place: str, direction: Literal["from", "to"], parts: dict[str, Any]
    ) -> None:
        if "ipv4" in matches and "ipv6" in matches:
            self.fail(f"{place}/matches", "both ipv4 and ipv6")
        far, near = ("destination", "source") if direction == "from" else ("source", "destination")
        far_name, near_name = ("dst", "src") if direction == "from" else ("src", "dst")
        for family, version in (("ipv4", 4), ("ipv6", 6)):
            if family not in matches:
                continue
            here = f"{place}/matches/{family}"
            layer = self._object(matches[family], here)
            parts["version"] = version
            for field, value in layer.items():
                at = f"{here}/{_shown(field)}"
                if field == "protocol":
                    parts["protocol"] = self._number(value, at, 255)
                elif field == f"{far}-{family}-network":
                    parts["networks"] = (self._network(value, at, version),)
                elif field == f"{near}-{family}-network":
                    self._unseen["addresses of the device"] += 1
                elif field == f"ietf-acldns:{far_name}-dnsname":
                    parts["remote"] = self._dns_name(value, at)
                elif field == f"ietf-acldns:{near_name}-dnsname":
                    self.fail(at, f"a name of the device itself in a policy {direction} the device")
                elif field in _UNSEEN:
                    self._unseen[_UNSEEN[field]] += 1
                else:
                    self.fail(at, "unknown member")

    def _layer_four(
        self, matches: Mapping[str, Any], place: str, direction: Literal["from", "to"], parts: dict[str, Any]
    ) -> None:
        protocols = {"tcp": (TCP,), "udp": (UDP,), "icmp": (ICMP, ICMPV6)}
        given = [name for name in protocols if name in matches]
        if len(given) > 1:
            self.fail(f"{place}/matches", f"both {given[0]} and {given[1]}")
        for name in given:
            here = f"{place}/matches/{name}"
            layer = self._object(matches[name], here)
            allowed = protocols[name]
            if parts.setdefault("protocol", allowed[0]) not in allowed:
                self.fail(here, f"the protocol of the IP header is {parts['protocol']}")
            for field, value in layer.items():
                at = f"{here}/{_shown(field)}"
                if field in ("source-port", "destination-port") and name != "icmp":
                    local = (field == "source-port") == (direction == "from")
                    parts["local_ports" if local else "remote_ports"] = self._ports(value, at)
                elif field == "ietf-mud:direction-initiated" and name == "tcp":
                    if value not in ("from-device", "to-device"):
                        self.fail(at, f"{_shown(value)} is not from-device or to-device")
                    parts["initiated"] = "device" if value == "from-device" else "remote"
                elif name == "icmp" and field in ("type", "code", "rest-of-header"):
                    self._unseen[_UNSEEN["icmp"]] += field == "type"
                elif field in _UNSEEN:
                    self._unseen[_UNSEEN[field]] += 1
                else:
                    self.fail(at, "unknown member")

    def _peer(self, matches: Mapping[str, Any], place: str, parts: dict[str, Any]) -> None:
        """Classes of other ends; all but controllers with a name are on the local network."""
        if _MUD not in matches:
            return
        here = f"{place}/matches/{_MUD}"
        mud = self._object(matches[_MUD], here)
        for field, value in mud.items():
            at = f"{here}/{_shown(field)}"
            if field == "direction-initiated":
                if value not in ("from-device", "to-device"):
                    self.fail(at, f"{_shown(value)} is not from-device or to-device")
                parts["initiated"] = "device" if value == "from-device" else "remote"
            elif field not in _PEERS:
                self.fail(at, "unknown member")
            elif field in ("same-manufacturer", "local-networks", "my-controller"):
                if value != [None]:
                    self.fail(at, f"expected [null], found {_shown(value)}")
                parts["peer"] = field
            else:
                parts["peer"] = f"{field} {visible(self._text(value, at))}"
        if "peer" in parts and not parts.get("networks"):
            # A group or broadcast address of a local entry stands for itself.
            parts["scope"] = "lan"

    # Values

    def _number(self, value: Any, place: str, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.fail(place, f"{_shown(value)} is no number from 0 to {most}")
        return value

    def _network(self, value: Any, place: str, version: int) -> str:
        try:
            network = ipaddress.ip_network(self._text(value, place), strict=False)
        except ValueError:
            self.fail(place, f"{_shown(value)} is no prefix")
        if network.version != version:
            self.fail(place, f"{_shown(value)} is no prefix of IPv{version}")
        return str(network)

    def _dns_name(self, value: Any, place: str) -> str:
        name = self._text(value, place).rstrip(".").lower()
        if not name or len(name) > 253 or any(not label or len(label) > 63 for label in name.split(".")):
            self.fail(place, f"{_shown(value)} is no name of a host")
        return visible(name)

    def _ports(self, value: Any, place: str) -> tuple[tuple[int, int], ...]:
        ports = self._object(value, place)
        self._known(ports, frozenset({"operator", "port", "lower-port", "upper-port"}), place)
        if "lower-port" in ports or "upper-port" in ports:
            if "port" in ports:
                self.fail(place, "both a port and a range")
            low = self._number(ports.get("lower-port"), f"{place}/lower-port", _LAST_PORT)
            high = self._number(ports.get("upper-port"), f"{place}/upper-port", _LAST_PORT)
            if low > high:
                self.fail(place, f"the range {low} to {high} is empty")
            return ((low, high),)
        port = self._number(ports.get("port"), f"{place}/port", _LAST_PORT)
        operator = ports.get("operator", "eq")
        ranges = {"eq": ((port, port),), "lte": ((0, port),), "gte": ((port, _LAST_PORT),),
                  "neq": ((0, port - 1), (port + 1, _LAST_PORT))}  # fmt: skip
        if operator not in ranges:
            self.fail(f"{place}/operator", f"{_shown(operator)} is not eq, lte, gte or neq")
        return tuple((low, high) for low, high in ranges[operator] if low <= high)


def _shown(value: Any) -> str:
    """A value of the file, short and safe to print."""
    text = visible(value if isinstance(value, str) else json.dumps(value))
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "text", bool: "a truth value", int: "a number",
             float: "a number", type(None): "nothing"}  # fmt: skip
    return kinds[type(value)]
