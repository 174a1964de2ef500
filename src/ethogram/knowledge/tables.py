"""Look up public facts about a name, a port, a multicast group, a text that devices send, or a MAC.

Every answer is a list of facts, best first, each with its row. A fact is evidence, not a verdict: many
devices of other vendors may ask for the same name or use the same port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from ipaddress import IPv6Address
from pathlib import Path

from ethogram._parse_address import parse_address, parse_mac
from ethogram.errors import ConfigurationError
from ethogram.knowledge.registry import organisation_of
from ethogram.knowledge.rows import TABLES, WEIGHTS, KnowledgeSource, Row, packaged_rows, packaged_sources, user_rows
from ethogram.knowledge.store import RowStore
from ethogram.knowledge.vendor_names import VendorNames

__all__ = ["Fact", "Knowledge", "mac_of_eui64"]

_RANK = {weight: rank for rank, weight in enumerate(WEIGHTS)}
_PROTOCOLS = {6: "tcp", 17: "udp"}
_MAX_NAME = 253  # RFC 1035 section 2.3.4
_MAX_LABELS = 12
_OWN = "own"  # class of hosts that are kept whole and are not shared
_MAX_WORDS = 24
_HOST_FACTS = frozenset({"host_name", "name", "nbns_name", "llmnr_name", "lldp_name", "mdns_name"})
_TEXT_FACTS = {
    "mdns_category": "homekit-category", "ssdp_server": "ssdp-server", "ssdp_type": "ssdp-type", "lldp_system": "lldp",
}  # fmt: skip
_LOCAL = 2  # the bit of a locally administered MAC in its first octet (IEEE 802, section 8.4)
_MULTICAST = 1
_SEPARATORS = str.maketrans("", "", ":.-")


@dataclass(frozen=True)
class Fact:
    """One row of the knowledge pack, or of a user's file.

    Parameters
    ----------
    table
        Table of the row: ``names``, ``ports``, ``mdns`` ...
    key
        What was looked up, or the pattern that matched it.
    subject
        ``vendor``, ``kind``, ``platform``; ``shared`` for names and groups that many devices use; ``organisation`` for
        the registered owner of a MAC prefix; ``name``, ``alias`` and ``owner`` for rows of a vendor.
    value
        The vendor, kind or platform; the class of a shared name.
    weight
        ``strong``, ``fair``, ``weak`` or ``none``; a share from 0 to 1 in the table of kinds.
    source, licence, date
        Where the row is from.
    """

    table: str
    key: str
    subject: str
    value: str
    weight: str
    source: str
    licence: str
    date: str


class Knowledge:
    """Tables of public facts about devices.

    Use :meth:`bundled` for the tables of the package, and :meth:`with_rows` to add a user's file. No lookup raises on
    invalid text; it returns an empty list.

    Attributes
    ----------
    rejected
        Rows of user files that could not be used.
    messages
        One line per such row with file, line and reason, up to 20 per file.

    Examples
    --------
    >>> knowledge = Knowledge.bundled()
    >>> fact = knowledge.port("tcp", 9100, "server", "lan")[0]
    >>> fact.subject, fact.value, fact.weight
    ('kind', 'printer', 'strong')
    >>> [fact.value for fact in knowledge.mac("02:00:00:00:00:01")]
    ['random']
    """

    def __init__(
        self,
        read: Callable[[str], Sequence[Row]],
        sources: dict[str, KnowledgeSource],
        *,
        added: Sequence[Row] = (),
        rejected: int = 0,
        messages: Sequence[str] = (),
    ) -> None:
        self._store = RowStore(read, added)
        self._sources = sources
        self.rejected = rejected
        self.messages = tuple(messages)

    @classmethod
    def bundled(cls) -> Knowledge:
        """The tables of the package; each is read on first use."""
        return _bundled()

    def with_rows(self, path: str | Path) -> Knowledge:
        """These tables with the rows of a user's file, which replace all packaged rows of the same table and key.

        Aliases of vendors add to the packaged ones. Rows that cannot be used are counted in :attr:`rejected`; they and
        unknown columns are in :attr:`messages`.

        Raises
        ------
        ConfigurationError
            If the file cannot be read, lacks a column, or no row in it can be used.
        """
        user = user_rows(Path(path))
        if not user.rows:
            # The last message is of a row, if there was one; the first may be of a column.
            reason = user.messages[-1] if user.rejected else f"knowledge file {path}: no rows"
            raise ConfigurationError(reason)
        return Knowledge(
            self._store.read,
            {**self._sources, **user.sources},
            added=(*self._store.added, *user.rows),
            rejected=self.rejected + user.rejected,
            messages=(*self.messages, *user.messages),
        )

    @property
    def notices(self) -> list[str]:
        """Lines for the user: what could not be used of users' files."""
        more = self.rejected - len(self.messages)
        return [*self.messages, *([f"{more:,} more rows were not used"] if more > 0 else [])]

    # Lookups

    def name(self, name: str) -> list[Fact]:
        """Facts of a host name, a registrable domain, or a name kept under a shared parent.

        The longest known end of the name counts. Other names are searched for a known vendor: in the label below a
        shared parent, or in the first label of the domain.
        """
        name = name.strip().lower().rstrip(".")
        if not name or len(name) > _MAX_NAME:
            return []
        labels = name.split(".")[-_MAX_LABELS:]
        parent = self._store.parent(name)
        facts = self._longest_end(labels)
        if parent is None:
            return facts or self._vendor_in(_own_label(labels), name)
        parent_name, parent_class = parent
        if parent_class == _OWN:
            return self._longest_end(parent_name.split("."))
        # A service for everybody at a vendor's domain, such as a public clock, tells little of the vendor.
        below = parent_name.count(".")
        facts = [
            replace(fact, weight="weak") if fact.subject == "vendor" and below > fact.key.count(".") else fact
            for fact in facts
        ]
        facts = facts or self._longest_end(parent_name.split("."))
        facts = facts or self._vendor_in(parent_name.partition(".")[0], name)
        origin = self._origin(self._store.parent_source(name, parent_name))
        return [*facts, Fact("parents", parent_name, "shared", parent_class, "none", *origin)]

    def _longest_end(self, labels: list[str]) -> list[Fact]:
        """Rows of the longest known end of a name, and of shorter ends until one tells a vendor or platform."""
        table = self._store.table("names")
        rows: list[Row] = []
        for first in range(len(labels) - 1):
            rows += table.get(".".join(labels[first:]), ())
            if any(row.subject != "kind" for row in rows):
                break
        return self._facts(rows)

    def name_word(self, name: str) -> list[Fact]:
        """Kinds whose words are in a host name, as whole tokens: ``cam-7.maker.example`` holds ``cam``."""
        return self.word(name[:_MAX_NAME].rpartition(".")[0])

    def word(self, text: str) -> list[Fact]:
        """Kinds whose words are in a text, as whole tokens."""
        words = re.findall(r"[a-z]+", text.lower()[:_MAX_NAME])[:_MAX_WORDS]
        table = self._store.table("words")
        return self._facts([row for word in dict.fromkeys(words) for row in table.get(word, ())])

    def port(self, protocol: int | str, port: int, role: str = "*", scope: str = "*") -> list[Fact]:
        """Facts of a service: TCP or UDP port, the device's role (client, server) and scope (wan, lan, multicast).

        With ``*`` for role or scope, facts of every role or scope.
        """
        transport = _PROTOCOLS.get(protocol, "") if isinstance(protocol, int) else protocol.lower()
        rows = [
            row
            for row, row_role, row_scope in self._store.ports.get(f"{transport}/{port}", ())
            if "*" in (role, row_role) or role == row_role
            if "*" in (scope, row_scope) or scope == row_scope
        ]
        return self._facts(rows)

    def group(self, address: str) -> list[Fact]:
        """Facts of a multicast group."""
        return self._facts(self._store.table("groups").get(parse_address(address[:64]) or "", ()))

    def mdns(self, service_type: str) -> list[Fact]:
        """Facts of a service type of DNS-SD (RFC 6763), such as ``_ipp._tcp`` or ``_ipp._tcp.local.``."""
        key = service_type.strip().lower().rstrip(".").removesuffix(".local")[:_MAX_NAME]
        key = "._".join(key.split("._")[-2:])  # without subtypes
        table = self._store.table("mdns")
        return self._facts(table.get(key if key.startswith("_") else f"_{key}", ()) or table.get(f"{key}._tcp", ()))

    def host_name(self, text: str) -> list[Fact]:
        """Facts of a device's own host name, from DHCP, mDNS or NetBIOS.

        A name that no pattern matches is searched for vendors and for words of kinds: ``den-maker-tv``.
        """
        facts = self._matching("hosts", text)
        subjects = {fact.subject for fact in facts}
        if not subjects & {"vendor", "platform"}:
            facts += self._vendor_in("-".join(text[:_MAX_NAME].split()), text.strip()[:_MAX_NAME])
        return facts if "kind" in subjects else facts + self.word(text)

    def dhcp_vendor_class(self, text: str) -> list[Fact]:
        """Facts of a DHCP vendor class identifier (option 60, RFC 2132 section 9.13)."""
        return self._matching("dhcp", text)

    def text(self, kind: str, text: str) -> list[Fact]:
        """Facts of a text in which a device describes itself.

        Parameters
        ----------
        kind
            One of :data:`ethogram.knowledge.rows.TEXT_KINDS`, such as ``ssdp-server``; other kinds have no facts.
        text
            The text; only its first 512 characters count.
        """
        facts = self._matching("texts", f"{kind} {text.strip()}")
        if kind in ("ssdp-manufacturer", "mdns-vendor") and not any(fact.subject == "vendor" for fact in facts):
            facts += self._organisation_facts(text, "strong")
        return facts

    def identity(self, fact: str, value: str) -> list[Fact]:
        """Facts of one identity fact (:data:`ethogram.schema.FACT`): each by the lookup that holds for it.

        A model that no pattern matches is searched for a vendor and for words of kinds: ``Maker Cam v3``.

        >>> [fact.value for fact in Knowledge.bundled().identity("mdns_category", "17")]
        ['camera']
        """
        if fact == "mac":
            return self.mac(value)
        if fact == "dhcp_vendor_class":
            return self.dhcp_vendor_class(value)
        if fact == "mdns_service":
            return self.mdns(value)
        if fact in ("mdns_vendor", "vendor"):
            return self.text("mdns-vendor", value)
        if fact in _HOST_FACTS:
            named = self.text("mdns-name", value) if fact == "mdns_name" else []
            return named + self.host_name(value.removesuffix(".local"))
        if fact in ("mdns_model", "model"):
            facts = self.text("mdns-model", value) + self.text("homekit-model", value)
            if not any(each.subject == "vendor" for each in facts):
                facts += self._organisation_facts(value, "fair")
            return facts or self.word(value)
        kind = _TEXT_FACTS.get(fact)
        return self.text(kind, value) if kind else []

    def mac(self, mac: str) -> list[Fact]:
        """Facts of a MAC or a prefix of one: vendor, module maker, and the organisation that registered it.

        A locally administered MAC is ``shared random``: it has no vendor.
        """
        digits = (parse_mac(mac) or mac.strip().lower()).translate(_SEPARATORS)
        if not re.fullmatch(r"[0-9a-f]{6,12}", digits):
            return []
        first = int(digits[:2], 16)
        if first & _MULTICAST:
            return []
        table = self._store.table("macs")
        facts: list[Fact] = []
        for length in range(len(digits), 5, -1):
            if digits[:length] in table:
                facts = self._facts(table[digits[:length]])
                break
        if first & _LOCAL and not facts:
            return [Fact("macs", digits, "shared", "random", "none", *self._origin("ieee"))]
        registered = organisation_of(digits.ljust(12, "0")) if len(digits) >= 6 else None
        if registered is None:
            return facts
        prefix, name = registered
        if not any(fact.subject in ("vendor", "platform") for fact in facts):
            facts += self._organisation_facts(name, "strong", prefix)
        return [*facts, Fact("macs", prefix, "organisation", name, "none", *self._origin("ieee"))]

    def kinds_of(self, vendor: str) -> dict[str, float]:
        """Kinds that devices of a brand are on home and office networks, likeliest first; shares sum to 1.

        A brand without rows has those of its owner; an unknown vendor has none.
        """
        rows = self._kind_rows(vendor)
        total = sum(float(row.weight) for row in rows)
        return {row.value: float(row.weight) / total for row in rows}

    def kind_facts(self, vendor: str) -> list[Fact]:
        """The rows behind :meth:`kinds_of`, the largest share first."""
        return [self._fact(row) for row in self._kind_rows(vendor)]

    def _kind_rows(self, vendor: str) -> list[Row]:
        kinds = self._store.table("kinds")
        rows = kinds.get(vendor) or kinds.get(self.owner(vendor)) or []
        return sorted(rows, key=lambda row: -float(row.weight))

    def vendor(self, text: str) -> str | None:
        """Identifier of the vendor that a text names: a slug, brand, company name or alias; None if unknown."""
        match = self._vendor_names.of_company(text)
        return None if match is None else match.key

    def vendor_name(self, vendor: str) -> str:
        """Name of a vendor or platform to show; that of an unknown one is its identifier, in title case if no domain.

        >>> [Knowledge.bundled().vendor_name(text) for text in ("tp-link", "no-such-maker", "maker.example")]
        ['TP-Link', 'No-Such-Maker', 'maker.example']
        """
        rows = [*self._store.table("vendors").get(vendor, ()), *self._store.table("platforms").get(vendor, ())]
        return next((row.value for row in rows if row.subject == "name"), vendor if "." in vendor else vendor.title())

    def owner(self, vendor: str) -> str:
        """The company that owns a brand; the vendor itself if it is no brand of another."""
        rows = self._store.table("vendors").get(vendor, ())
        return next((row.value for row in rows if row.subject == "owner"), vendor)

    def vendor_facts(self, vendor: str) -> list[Fact]:
        """Rows of a vendor in the table of vendors, and of the domains that are its own."""
        rows = list(self._store.table("vendors").get(vendor, ()))
        rows += [row for row in self.rows("names") if (row.subject, row.value) == ("vendor", vendor)]
        return [self._fact(row) for row in rows]

    def platform_facts(self, platform: str) -> list[Fact]:
        """Rows of a platform in the table of platforms, and of the names that are its own."""
        rows = list(self._store.table("platforms").get(platform, ()))
        rows += [row for row in self.rows("names") if (row.subject, row.value) == ("platform", platform)]
        return [self._fact(row) for row in rows]

    def facts_of(self, subject: str, value: str) -> list[Fact]:
        """Rows of every table with this subject and value, the strongest first."""
        rows = [row for table in TABLES for row in self.rows(table) if (row.subject, row.value) == (subject, value)]
        return [self._fact(row) for row in sorted(rows, key=lambda row: _RANK.get(row.weight, -_share(row.weight)))]

    @property
    def vendors(self) -> list[str]:
        """Identifiers of all vendors in the tables."""
        return sorted(self._store.table("vendors"))

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, those of users included."""
        return self._store.rows(table)

    def is_shared(self, name: str) -> str | None:
        """Class of a name that many vendors' devices ask for, such as ``cloud`` or ``clock``; None if it is not shared.

        A name of one customer below a shared parent is shared only as far as its parent goes: see :meth:`name`.
        """
        name = name.strip().lower().rstrip(".")
        parent = self._store.parent(name) if name and len(name) <= _MAX_NAME else None
        return None if parent is None or parent[1] == _OWN else parent[1]

    # Tables

    def _matching(self, table: str, text: str) -> list[Fact]:
        """Facts of the patterns that match; of equal facts, the strongest.

        Kinds are those of the most literal pattern that has any: ``galaxy-tab*`` is a tablet, though ``*galaxy*`` is
        mostly a phone.
        """
        best: dict[tuple[str, str], Row] = {}
        literal = 0  # characters of the most literal pattern
        for row in self._store.matching(table, text):
            if row.subject == "kind":
                characters = len(row.key) - row.key.count("*") - row.key.count("?")
                literal = literal or characters
                if characters < literal:
                    continue
            before = best.get((row.subject, row.value))
            if before is None or _RANK[row.weight] < _RANK[before.weight]:
                best[row.subject, row.value] = row
        return [self._fact(row) for row in best.values()]

    @cached_property
    def _vendor_names(self) -> VendorNames:
        return VendorNames(self.rows("vendors"))

    def _vendor_in(self, label: str, name: str) -> list[Fact]:
        row = self._vendor_names.in_label(label)
        if row is None:
            return []
        weight = "weak" if row.key in self._store.ecosystems else "fair"
        return [Fact("vendors", name, "vendor", row.key, weight, *self._origin(row.source))]

    def _organisation_facts(self, name: str, weight: str, key: str = "") -> list[Fact]:
        modules = self._matching("modules", name)
        if modules:
            return modules
        row = self._vendor_names.of_company(name)
        if row is None:
            return []
        return [Fact("vendors", key or name, "vendor", row.key, weight, *self._origin(row.source))]

    def _origin(self, identifier: str) -> KnowledgeSource:
        return self._sources.get(identifier) or KnowledgeSource(identifier, "", "")

    def _fact(self, row: Row) -> Fact:
        return Fact(row.table, row.key, row.subject, row.value, row.weight, *self._origin(row.source))

    def _facts(self, rows: Iterable[Row]) -> list[Fact]:
        return [self._fact(row) for row in sorted(rows, key=lambda row: _RANK.get(row.weight, len(_RANK)))]


@cache
def _bundled() -> Knowledge:
    return Knowledge(packaged_rows, packaged_sources())


def _share(weight: str) -> float:
    """A share of the table of kinds; shares come before the words of other tables."""
    return float(weight) if weight[:1].isdigit() else 0.0


def _own_label(labels: list[str]) -> str:
    """The label of a name that is likeliest its owner's: the one before the public suffix."""
    second = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in ("ac", "co", "com", "edu", "gov", "net", "org")
    place = -3 if second else -2
    return labels[place] if len(labels) >= -place else ""


@lru_cache(maxsize=1 << 12)
def mac_of_eui64(address: str) -> str | None:
    """The MAC in an IPv6 address whose interface identifier was made of one (RFC 4291, appendix A).

    >>> mac_of_eui64("fe80::211:22ff:fe33:4455"), mac_of_eui64("2001:db8::1"), mac_of_eui64("192.0.2.1")
    ('00:11:22:33:44:55', None, None)
    """
    text = parse_address(address[:64])
    if text is None or ":" not in text:
        return None
    identifier = IPv6Address(text).packed[8:]
    if identifier[3:5] != b"\xff\xfe":
        return None
    return bytes((identifier[0] ^ 2, *identifier[1:3], *identifier[5:8])).hex(":")
