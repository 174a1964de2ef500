"""Pseudonyms for everything that is written: the one step between reading records and using them.

Flow tables, identity facts and custom flows pass through a :class:`Pseudonymiser` once, after devices and service sides
are decided and before anything is counted, embedded or written. A value always has the same pseudonym under one key, so
facts, labels and flows that belonged together still do.

Names of other ends: a name that public facts know (its vendor, its platform, a shared parent) keeps the part that they
know, since a verdict rests on it; labels before it, and all other names, become tokens.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from ethogram._parse_address import canonical_device, parse_address
from ethogram.errors import ConfigurationError
from ethogram.flow.devices import Namer, Uses
from ethogram.flow.pseudonyms import Pseudonyms
from ethogram.identify.labels import Label
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.device_facts import GENERIC_NAMES, NAMING
from ethogram.schema import CustomFlows

__all__ = ["LEAST_OCTETS", "NAME_FACTS", "Pseudonymiser", "read_key"]

LEAST_OCTETS, MOST_OCTETS = 32, 4096
_LEAST_DIFFERENT = 8
NAME_FACTS = NAMING
"""Facts whose values name a device, and often the person who uses it."""
_TELLING = frozenset({"vendor", "platform", "kind"})
_UNKNOWN_END = "invalid"
"""Top-level domain of names that nobody can register (RFC 6761)."""


def read_key(path: Path) -> bytes:
    """Key material of a file: all its octets.

    Raises
    ------
    ConfigurationError
        If it is missing, is no regular file, can be read by others, or has fewer than 32 octets.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"key file {path}: not a regular file")
        if status.st_mode & 0o077:
            raise ConfigurationError(
                f"key file {path}: other users may access it (mode {stat.S_IMODE(status.st_mode):04o}); chmod 600"
            )
        with path.open("rb") as file:
            secret = file.read(MOST_OCTETS + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"key file {path}: no such file; 'ethogram new-key' makes one") from None
    except OSError as error:
        raise ConfigurationError(f"key file {path}: cannot be read: {error.strerror or error}") from None
    if len(secret) > MOST_OCTETS:
        raise ConfigurationError(f"key file {path}: more than {MOST_OCTETS} octets")
    if len(secret) < LEAST_OCTETS:
        raise ConfigurationError(f"key file {path}: {len(secret)} octets; a key has {LEAST_OCTETS} or more")
    if len(set(secret)) < _LEAST_DIFFERENT:
        raise ConfigurationError(f"key file {path}: not random: {len(set(secret))} different octets")
    return secret


class Pseudonymiser:
    """Replaces addresses, MACs and names in tables.

    Parameters
    ----------
    secret
        Key material, at least 32 octets (:func:`read_key`).
    vendor_prefix
        Keep the vendor prefix of MACs, on which verdicts rest.

    Examples
    --------
    >>> pseudonymiser = Pseudonymiser(bytes(range(32)))
    >>> pseudonymiser.remote_names(pl.Series(["a1.meethue.com", "private.example"]))[0].partition(".")[2]
    'meethue.com'
    """

    def __init__(self, secret: bytes, *, vendor_prefix: bool = True) -> None:
        self.pseudonyms = Pseudonyms(secret, vendor_prefix=vendor_prefix)
        self._knowledge = Knowledge.bundled()

    @classmethod
    def load(cls, path: str | Path, *, vendor_prefix: bool = True) -> Pseudonymiser:
        """A pseudonymiser with the key of a file.

        Raises
        ------
        ConfigurationError
            As :func:`read_key`.
        """
        return cls(read_key(Path(path)), vendor_prefix=vendor_prefix)

    def flows(self, flows: pl.DataFrame) -> pl.DataFrame:
        """A flow table (:data:`ethogram.schema.FLOW`), or some columns of one, with pseudonyms."""
        steps = {
            "device": self.pseudonyms.devices, "device_address": self.pseudonyms.addresses,
            "remote": self.pseudonyms.addresses, "remote_domain": self.remote_names,
        }  # fmt: skip
        new = [step(flows[name]) for name, step in steps.items() if name in flows.columns]
        if "remote_name" in flows.columns:
            new.append(self._full_names(flows))
        return flows.with_columns(new)

    def identity(self, facts: pl.DataFrame) -> pl.DataFrame:
        """Identity facts (:data:`ethogram.schema.IDENTITY`) with pseudonyms; texts that tell a product stay."""
        if not facts.height:
            return facts
        kind, value = facts["fact"].cast(pl.String), facts["value"]
        # A name that many devices have from the factory names nobody, and must not join them.
        personal = kind.is_in(NAME_FACTS) & ~value.str.to_lowercase().is_in(GENERIC_NAMES)
        values = pl.DataFrame({
            "kind": kind, "value": value, "mac": self.pseudonyms.macs(value.set(kind != "mac", None)),
            "address": self.pseudonyms.addresses(value.set(kind != "address", None)),
            "name": self.pseudonyms.names(value.set(~personal, None)),
        })  # fmt: skip
        return facts.with_columns(
            self.pseudonyms.devices(facts["device"]), self.pseudonyms.macs(facts["mac"]),
            self.pseudonyms.addresses(facts["address"]),
            values.select(pl.coalesce("mac", "address", "name", "value").alias("value"))["value"],
        )  # fmt: skip

    def custom_flows(self, flows: CustomFlows) -> CustomFlows:
        """Custom flows with pseudonyms; their payload stays (:meth:`without_payload`)."""
        unique, rows = np.unique(flows.remote, return_inverse=True)
        return replace(
            flows, device=self.pseudonyms.devices(flows.device), remote=self.pseudonyms.ipv4(unique)[rows]
        )

    @staticmethod
    def without_payload(flows: CustomFlows) -> CustomFlows:
        """Custom flows without the octets of their payload, which may name anything."""
        return replace(
            flows, payload_octets=np.zeros_like(flows.payload_octets), first_octet=np.zeros_like(flows.first_octet),
            payload=flows.payload[:0],
        )  # fmt: skip

    def labels(self, labels: Sequence[Label]) -> list[Label]:
        """Labels of the same devices under their pseudonyms."""
        names = [canonical_device(label.device) for label in labels]
        devices = self.pseudonyms.devices(pl.Series(names, dtype=pl.String))
        return [replace(label, device=device) for label, device in zip(labels, devices, strict=True)]

    def device(self, name: str) -> str:
        """Pseudonym of one name in the flow table."""
        return str(self.pseudonyms.devices(pl.Series([canonical_device(name)]))[0])

    def namer(self, namer: Namer) -> Namer:
        """A namer that names the same devices by their pseudonyms."""
        return _PseudonymousNamer(namer, self.pseudonyms)

    def remote_names(self, names: pl.Series) -> pl.Series:
        """Names of other ends, each with the part that public facts know."""
        return self.pseudonyms.mapped("remote", names, lambda new: [self._remote_name(name) for name in new])

    def _remote_name(self, name: str) -> str:
        """The name with a token for what public facts do not know; a multicast group stays."""
        if parse_address(name):
            return str(self.pseudonyms.addresses(pl.Series([name]))[0])
        lower = name.lower().rstrip(".")
        facts = self._knowledge.name(name)
        ends = {fact.key for fact in facts if fact.subject in _TELLING}
        if not any(_ends_with(lower, end) for end in ends) and ends:
            return name  # the name itself says the vendor
        # Below a shared parent, the first label is an account or a host of somebody.
        ends |= {fact.key.partition(".")[2] for fact in facts if fact.subject not in _TELLING}
        known = [end for end in ends if "." in end and _ends_with(lower, end)]
        end = max(known, key=len, default=_UNKNOWN_END)
        return name if end == lower else f"name-{self.pseudonyms.token(name)}.{end}"

    def _full_names(self, flows: pl.DataFrame) -> pl.Series:
        """Host names of other ends: below what stays of their domain."""
        full = flows.select("remote_name", *(["remote_domain"] if "remote_domain" in flows.columns else []))
        pairs = full.unique().filter(pl.col("remote_name").is_not_null())
        domain = pairs["remote_domain"] if "remote_domain" in pairs.columns else pairs["remote_name"]
        shown = self.remote_names(domain)
        rows = [
            new if name == old else f"name-{self.pseudonyms.token(name)}.{new or _UNKNOWN_END}"
            for name, old, new in zip(pairs["remote_name"], domain, shown, strict=True)
        ]
        pairs = pairs.with_columns(pl.Series("shown", rows, dtype=pl.String))
        keys = [name for name in pairs.columns if name != "shown"]
        return full.join(pairs, on=keys, how="left", maintain_order="left", nulls_equal=True)["shown"].alias(
            "remote_name"
        )


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


class _PseudonymousNamer:
    """A namer whose names are pseudonyms."""

    def __init__(self, namer: Namer, pseudonyms: Pseudonyms) -> None:
        self._namer, self._pseudonyms = namer, pseudonyms
        self.by_time = namer.by_time

    @property
    def forgotten(self) -> int:
        return self._namer.forgotten

    def learn(self, ends: pl.DataFrame, uses: Uses | None = None) -> None:
        self._namer.learn(ends, uses)

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        return self._pseudonyms.devices(self._namer.devices(ends))

    def behind_routers(self, ends: pl.DataFrame) -> pl.Series:
        return self._namer.behind_routers(ends)
