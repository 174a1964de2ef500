"""The library of known devices; it stores counts, so that any representation can be derived later.

An entry is one window of one labelled device. Entries with the same labels and counts are one entry with several
observations, so merging libraries is associative, commutative and idempotent.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import orjson
import polars as pl

from ethogram._text import json_text
from ethogram.errors import LibraryError
from ethogram.schema import ITEM, ITEM_COUNTS, Windows

__all__ = ["LEVELS", "NOMINAL", "ROW", "Entry", "Identity", "Library", "Observation", "Source"]

LEVELS = ("label", "model", "family", "type", "coarse")
"""Levels of identification, from fine to coarse."""

ROW = ("offset_s", "service", "role", "scope", "answered", "name", "flows", "octets_out", "octets_in", "packets_out",
       "packets_in", "duration_ms")  # fmt: skip
"""Columns of a count of an entry in the file; ``offset_s`` is the start of the sub-epoch minus that of the window."""

NOMINAL = datetime(2000, 1, 1, tzinfo=UTC)
"""Start of the window of undated entries, such as counts from MUD profiles or published totals."""

_PROTOCOLS = {"TCP": 6, "UDP": 17}
_VOLUMES = ROW[6:]


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """Identity of a device, from its label to its coarse type; '' where unknown."""

    label: str
    model: str = ""
    vendor: str = ""
    type: str = ""
    coarse: str = ""

    def at(self, level: str) -> str:
        """The name at a level; an unknown model defaults to the label, other unknown levels are ''.

        >>> Identity("den camera", vendor="acme", type="camera").at("family")
        'acme/camera'
        """
        if level == "model":
            return self.model or self.label
        if level == "family":
            return f"{self.vendor}/{self.type}" if self.vendor and self.type else ""
        return str(getattr(self, level))


@dataclass(frozen=True, slots=True, order=True)
class Observation:
    """Device, time span and source of an entry."""

    device: str
    start: datetime
    end: datetime
    source: str = ""

    @property
    def dated(self) -> bool:
        """Whether the window has a real time span, rather than being made from a profile."""
        return self.start != NOMINAL


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """Provenance of entries: source, time of enrolment, settings, licence and citation."""

    name: str
    enrolled: str = ""
    settings: str = ""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Entry:
    """One known window.

    Parameters
    ----------
    identity
        Identity of the device.
    observed
        Observations, at least one; their number is the multiplicity.
    status
        Reason why the window ended (:data:`ethogram.schema.STATUS`).
    counts
        Rows of form :data:`ROW`, sorted.
    """

    identity: Identity
    observed: tuple[Observation, ...]
    status: str
    counts: tuple[tuple[Any, ...], ...]

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over identity, status and counts; equal for equal entries."""
        who = self.identity
        text = orjson.dumps(
            [who.label, who.model, who.vendor, who.type, who.coarse, self.status, self.counts], default=list
        )
        return hashlib.sha256(text).hexdigest()[:12]

    @property
    def multiplicity(self) -> int:
        """Number of observations of these counts."""
        return len(self.observed)

    @cached_property
    def flows(self) -> int:
        """Number of flows in the window."""
        return sum(row[6] for row in self.counts)

    @property
    def span(self) -> timedelta:
        """Length of the window."""
        return self.observed[0].end - self.observed[0].start


@dataclass(frozen=True)
class Library:
    """Known fingerprints with their provenance.

    Parameters
    ----------
    entries, sources
        Known windows and their sources.
    name
        Name of the file.
    flows
        Digest of the encoder of its embeddings (:mod:`ethogram.identify.flow_store`); '' without embeddings.

    Examples
    --------
    >>> Library().merge(Library()) == Library()
    True
    """

    entries: tuple[Entry, ...] = ()
    sources: tuple[Source, ...] = ()
    name: str = field(default="library", compare=False)
    flows: str = field(default="", compare=False)

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over all entries and their observations."""
        text = "\n".join(
            f"{e.digest} {o.device} {o.start} {o.end} {o.source}" for e in self.entries for o in e.observed
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_frame(self) -> pl.DataFrame:
        """One row for each entry: identity, first observation, status and totals."""
        first = [entry.observed[0] for entry in self.entries]
        return pl.DataFrame(
            {
                "entry": [entry.digest for entry in self.entries],
                **{level: [entry.identity.at(level) for entry in self.entries] for level in LEVELS},
                "vendor": [entry.identity.vendor for entry in self.entries],
                "device": [seen.device for seen in first],
                "start": [seen.start for seen in first],
                "end": [seen.end for seen in first],
                "source": [seen.source for seen in first],
                "status": [entry.status for entry in self.entries],
                "flows": [entry.flows for entry in self.entries],
                "services": [len({row[1] for row in entry.counts}) for entry in self.entries],
                "observations": [entry.multiplicity for entry in self.entries],
            },
            schema_overrides={"start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")},
        )

    def to_dict(self) -> dict[str, Any]:
        """Name, digest, sources and entries as plain data; counts are left to the library file."""
        entries = self.to_frame().with_columns(pl.col("start", "end").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return {
            "name": self.name, "digest": self.digest, "sources": [asdict(source) for source in self.sources],
            "entries": entries.to_dicts(),
        }  # fmt: skip

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json_text(self.to_dict(), indent=True)

    def merge(self, other: Library) -> Library:
        """The union of both libraries; an entry in both keeps all observations."""
        by_digest: dict[str, Entry] = {}
        for entry in (*self.entries, *other.entries):
            known = by_digest.get(entry.digest)
            if known is not None:
                entry = replace(known, observed=tuple(sorted({*known.observed, *entry.observed})))  # noqa: PLW2901
            by_digest[entry.digest] = entry
        entries = sorted(by_digest.values(), key=lambda e: (e.identity, e.observed, e.digest))
        return Library(tuple(entries), tuple(sorted({*self.sources, *other.sources})), self.name)

    def remove(
        self, *, labels: Iterable[str] = (), devices: Iterable[str] = (), digests: Iterable[str] = ()
    ) -> Library:
        """Remove entries with one of these labels or digests, and observations of these devices.

        Raises
        ------
        LibraryError
            When no entry has one of them; the message suggests similar ones.
        """
        gone, away, ids = set(labels), set(devices), set(digests)
        self._require("label", gone, {entry.identity.label for entry in self.entries})
        self._require("device", away, {o.device for entry in self.entries for o in entry.observed})
        self._require("digest", ids, {entry.digest for entry in self.entries})
        remaining = []
        for entry in self.entries:
            if entry.identity.label in gone or entry.digest in ids:
                continue
            observed = tuple(o for o in entry.observed if o.device not in away)
            if observed:
                remaining.append(replace(entry, observed=observed))
        return replace(self, entries=tuple(remaining))

    def renamed(self, names: Mapping[str, Identity]) -> tuple[Library, dict[str, str]]:
        """Give entries of a label another identity; empty fields of it keep their old values.

        Returns
        -------
        The library, and a mapping of old to new digests for entries whose digest changed.

        Raises
        ------
        LibraryError
            When no entry has such a label.
        """
        self._require("label", set(names), {entry.identity.label for entry in self.entries})
        entries, moved = [], {}
        for entry in self.entries:
            new = names.get(entry.identity.label)
            if new is None:
                entries.append(entry)
                continue
            given = {name: value for name, value in asdict(new).items() if value}
            entries.append(Entry(replace(entry.identity, **given), entry.observed, entry.status, entry.counts))
            moved[entry.digest] = entries[-1].digest
        merged = Library(name=self.name).merge(Library(tuple(entries), self.sources))
        return replace(merged, flows=self.flows), moved

    def _require(self, kind: str, names: Set[str], known: Set[str]) -> None:
        """Every name is that of some entry."""
        for name in sorted(names - known):
            near = difflib.get_close_matches(name.lower(), sorted({each.lower() for each in known}), n=3, cutoff=0.5)
            similar = sorted(each for each in known if each.lower() in near)
            hint = f"; similar: {', '.join(similar[:5])}" if similar else ""
            raise LibraryError(f"{self.name}: no entry has the {kind} {name!r}{hint}")

    def labels(self, level: str = "label") -> list[str]:
        """The name of each entry at a level.

        Raises
        ------
        LibraryError
            When some entry has no name at this level.
        """
        names = [entry.identity.at(level) for entry in self.entries]
        missing = sorted({e.identity.label for e, name in zip(self.entries, names, strict=True) if not name})
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise LibraryError(f"{self.name}: no {level} is known of {', '.join(missing[:3])}{more}")
        return names

    def windows(self) -> Windows:
        """The entries as items, in order."""
        first = [entry.observed[0] for entry in self.entries]
        items = pl.DataFrame(
            {
                "item": range(len(first)),
                "device": [o.device for o in first],
                "start": [o.start for o in first],
                "end": [o.end for o in first],
            },
            schema=ITEM.schema,
        )
        return Windows(items, counts_of(self.entries, items))

    @classmethod
    def of(
        cls,
        windows: Windows,
        identities: Sequence[Identity | None],
        *,
        source: Source,
        status: Sequence[str] | None = None,
        name: str = "library",
    ) -> Library:
        """Enrol the items that have an identity and traffic."""
        rows = rows_of(windows)
        entries = []
        for item, device, start, end in windows.items.select("item", "device", "start", "end").iter_rows():
            identity = identities[item]
            if identity is None or item not in rows:
                continue
            seen = Observation(device, start, end, source.name)
            entries.append(Entry(identity, (seen,), "open" if status is None else status[item], rows[item]))
        return cls(name=name).merge(cls(tuple(entries), (source,), name))


def rows_of(windows: Windows) -> dict[int, tuple[tuple[Any, ...], ...]]:
    """The counts of every item with traffic, as sorted rows with the columns :data:`ROW`."""
    port = pl.col("port").cast(pl.String)
    service = (
        pl.when(pl.col("protocol") == 6).then("TCP/" + port)
        .when(pl.col("protocol") == 17).then("UDP/" + port)
        .otherwise("IP/" + pl.col("protocol").cast(pl.String))
    )  # fmt: skip
    keys = list(ROW[:6])
    frame = (
        windows.counts.join(windows.items.select("item", "start"), on="item", how="inner")
        .with_columns(
            service=service.replace("IP/6", "TCP/0").replace("IP/17", "UDP/0"),
            offset_s=(pl.col("time") - pl.col("start")).dt.total_seconds(),
            role=pl.col("role").cast(pl.String),
            scope=pl.col("scope").cast(pl.String),
        )
        .group_by("item", *keys)
        .agg(pl.col(name).sum() for name in _VOLUMES)
        .sort("item", *keys, nulls_last=False)
    )
    rows_by_item: dict[int, list[tuple[Any, ...]]] = {}
    for item, *row in frame.select("item", *ROW).iter_rows():
        rows_by_item.setdefault(item, []).append(tuple(row))
    return {item: tuple(rows) for item, rows in rows_by_item.items()}


def counts_of(entries: Sequence[Entry], items: pl.DataFrame) -> pl.DataFrame:
    """The counts of entries as a table with the columns of :data:`ethogram.schema.ITEM_COUNTS`.

    Raises
    ------
    LibraryError
        When a row does not match :data:`ROW`.
    """
    dtypes = {name: ITEM_COUNTS.schema[name] for name in ("answered", "name", *_VOLUMES)}
    schema = {"item": pl.UInt32, "offset_s": pl.Int64, "service": pl.String, "role": pl.String, "scope": pl.String}
    rows = [(index, *row) for index, entry in enumerate(entries) for row in entry.counts]
    try:
        frame = pl.DataFrame(rows, schema={**schema, **dtypes}, orient="row", strict=True)
        protocol, number = (pl.col("service").str.split_exact("/", 1).struct.field(f"field_{part}") for part in (0, 1))
        numbered = protocol.is_in(list(_PROTOCOLS))
        return (
            frame.join(items.select("item", "start"), on="item", how="left", maintain_order="left")
            .with_columns(
                time=pl.col("start") + pl.duration(seconds="offset_s"),
                protocol=pl.when(numbered)
                .then(protocol.replace_strict(_PROTOCOLS, default=None, return_dtype=pl.UInt8))
                .when(protocol == "IP")
                .then(number.cast(pl.UInt8, strict=False)),
                port=pl.when(numbered).then(number.cast(pl.UInt16, strict=False)).otherwise(pl.lit(0, pl.UInt16)),
            )
            .pipe(_require_services)
            .select(pl.col(column.name).cast(column.dtype) for column in ITEM_COUNTS.columns)
        )
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        raise LibraryError(f"counts are not of the form {' '.join(ROW)}: {str(error).splitlines()[0]}") from None


def _require_services(frame: pl.DataFrame) -> pl.DataFrame:
    wrong = frame.filter(pl.col("protocol").is_null() | pl.col("port").is_null())
    if wrong.height:
        raise LibraryError(f"{wrong['service'][0]!r} is not a service such as TCP/443, UDP/53 or IP/2")
    return frame


def utc(text: str) -> datetime:
    """Parse a time; without a zone it is UTC.

    Raises
    ------
    ValueError
        When the text is not a time, or is outside the years 1 to 9999 in UTC.
    """
    value = datetime.fromisoformat(text)
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"not between the years 1 and 9999: {text!r}") from None
