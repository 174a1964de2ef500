"""Identity facts of devices: collected while flows are oriented, and assigned to devices at the end of a run.

MACs and addresses come from the ends of flows, other facts from the inputs (:meth:`FlowSource.identity_facts`). A fact
belongs to the device that the flow stages give its MAC and address, so facts and flows agree about devices.
"""

from __future__ import annotations

from collections import Counter

import polars as pl

from ethogram._parse_address import parse_address, parse_mac
from ethogram.flow.devices import Namer
from ethogram.flow.local import INSIDE, UNSPECIFIED, LocalNetwork
from ethogram.schema import IDENTITY, MAX_VALUE

__all__ = ["FLOWS", "IdentityFacts", "facts_of_device_names", "facts_of_flows", "facts_of_named", "summed_facts"]

FLOWS = "flows"
"""Source of MACs and addresses that ends of flows have."""

_MAX_PAIRS = 1 << 18
_MAX_FACTS = 1 << 18
_MAX_PER_DEVICE = 64
_SHARED_BY = 2
_PAIR = ["device", "mac", "address"]
_TIMES = [pl.col("first").min(), pl.col("last").max(), pl.col("times").sum()]
_NO_ADDRESS = r"^(0(\.0){3}|::)$"
_MAC = r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$"
_GROUP_BIT = r"^.[13579bdf]"


class IdentityFacts:
    """Collects facts, and gives them by device.

    Parameters
    ----------
    most
        Most pairs of MAC and address of devices, and as many facts of inputs; beyond, new ones are left out.

    Attributes
    ----------
    counts
        Facts left out, by reason.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> from ethogram.flow.devices import LocalDevices
    >>> at = datetime(2020, 1, 1, tzinfo=UTC)
    >>> facts = IdentityFacts()
    >>> facts.learn_ends(pl.DataFrame({"device": ["aa:bb:cc:00:00:01"], "mac": ["aa:bb:cc:00:00:01"],
    ...     "address": ["10.0.0.2"], "place": [1], "first": [at], "last": [at], "times": [3]}))
    >>> table = facts.table(LocalDevices(), LocalNetwork(["10.0.0.0/8"]))
    >>> table.select("fact", "value", "times").rows()
    [('mac', 'aa:bb:cc:00:00:01', 3), ('address', '10.0.0.2', 3)]
    """

    def __init__(self, most: int = _MAX_PAIRS) -> None:
        self._most = most
        self._pairs = IDENTITY.empty().select(*_PAIR, "first", "last", "times")
        self._facts = IDENTITY.empty()
        self.counts: Counter[str] = Counter()

    def learn_ends(self, ends: pl.DataFrame) -> None:
        """Add ends of flows, N rows.

        Parameters
        ----------
        ends
            Columns ``device``, ``mac`` (null where it is not the device's), ``address``, ``place``
            (:mod:`ethogram.flow.local`), ``first``, ``last`` and ``times``; rows without a device are not used.
        """
        near = pl.col("place").is_in([INSIDE, UNSPECIFIED]) & ~pl.col("mac").str.contains(_GROUP_BIT)
        new = ends.filter(pl.col("device").is_not_null()).select(
            "device",
            pl.when(near).then("mac").alias("mac"),
            pl.when(pl.col("place") != UNSPECIFIED).then("address").alias("address"),
            pl.col("first").cast(IDENTITY.schema["first"]),
            pl.col("last").cast(IDENTITY.schema["last"]),
            pl.col("times").cast(pl.UInt64),
        )
        pairs = pl.concat([self._pairs, new]).group_by(_PAIR, maintain_order=True).agg(_TIMES)
        self._pairs = self._bounded(pairs)

    def learn_table(self, flows: pl.LazyFrame) -> None:
        """Add the MACs and addresses in the columns of flows that have their devices (:data:`ethogram.schema.FLOW`)."""
        ends = (
            flows.group_by("device", pl.col("device_address").alias("address"))
            .agg(first=pl.col("start").min(), last=pl.col("end").max(), times=pl.len())
            .sort("times", "device", "address", descending=[True, False, False]).head(self._most)
            .collect(engine="streaming")
        )  # fmt: skip
        device, address = pl.col("device").cast(pl.String), pl.col("address").cast(pl.String)
        self.learn_ends(ends.with_columns(
            device, address, mac=pl.when(device.str.contains(_MAC)).then(device),
            place=pl.when(address.str.contains(_NO_ADDRESS)).then(UNSPECIFIED).otherwise(INSIDE),
        ))  # fmt: skip

    def learn(self, facts: pl.DataFrame) -> None:
        """Add facts of one input (:data:`ethogram.schema.IDENTITY`), each input once."""
        if facts.height:
            self._facts = self._bounded(summed_facts(pl.concat([self._facts, facts])))

    def _bounded(self, rows: pl.DataFrame) -> pl.DataFrame:
        if rows.height > self._most:
            self.counts["identity facts beyond the bound"] += rows.height - self._most
        return rows.head(self._most)

    def table(self, namer: Namer, local: LocalNetwork) -> pl.DataFrame:
        """The facts of devices that have flows (:data:`ethogram.schema.IDENTITY`), in order of device and fact.

        At most 64 values of a fact are given for a device and source, those seen most often.

        Parameters
        ----------
        namer
            That named the ends of the flows.
        local
            Places of addresses.
        """
        stated = self._of_flows()
        rows = pl.concat([stated, self._assigned(namer, local)])
        rows = summed_facts(rows).sort("times", descending=True, maintain_order=True)
        return self._per_device(rows)

    def of_ends(self) -> pl.DataFrame:
        """The MACs and addresses of :meth:`learn_ends`, bounded, in order of device and fact."""
        return self._per_device(summed_facts(self._of_flows()).sort("times", descending=True, maintain_order=True))

    def _per_device(self, rows: pl.DataFrame) -> pl.DataFrame:
        """At most 64 values of a fact for a device and source, the first ones, in order."""
        bounded = rows.filter(pl.int_range(pl.len()).over("device", "fact", "source") < _MAX_PER_DEVICE)
        if bounded.height < rows.height:
            self.counts["identity facts beyond the bound"] += rows.height - bounded.height
        return bounded.sort("device", "fact", "source", "value")

    def _of_flows(self) -> pl.DataFrame:
        """MACs and addresses as facts. A MAC of more than two devices is a router's or repeater's."""
        pairs = self._pairs
        devices = pl.col("device").n_unique().over("mac")
        pairs = pairs.with_columns(mac=pl.when(devices <= _SHARED_BY).then("mac"))
        frames = [
            pairs.drop_nulls(fact).select(
                *_PAIR, pl.lit(fact).alias("fact"), pl.col(fact).alias("value"), pl.lit(FLOWS).alias("source"),
                "first", "last", "times",
            )
            for fact in ("mac", "address")
        ]  # fmt: skip
        return pl.concat([IDENTITY.conform(frame) for frame in frames])

    def _assigned(self, namer: Namer, local: LocalNetwork) -> pl.DataFrame:
        """Facts of inputs with their devices; those of devices without flows are counted."""
        stored = self._facts.filter(pl.col("device").is_not_null())  # of a flow table, with their devices
        facts, pairs = self._facts.filter(pl.col("device").is_null()), self._pairs
        if not facts.height:
            return stored
        latest = pl.lit(pairs["last"].max(), dtype=IDENTITY.schema["last"])
        addresses = facts["address"].drop_nulls().unique()
        places = pl.DataFrame({"address": addresses, "place": local.places(addresses)})
        ends = facts.select("mac", "address", start=pl.coalesce("last", latest)).join(
            places, on="address", how="left", maintain_order="left"
        )
        ends = ends.with_columns(pl.col("place").fill_null(UNSPECIFIED), pl.col("address").fill_null("0.0.0.0"))  # noqa: S104
        device = namer.devices(ends.select("start", "address", "mac", "place"))
        known = pairs["device"].unique()
        by_mac, by_address = (_single_device(pairs, facts[key], key) for key in ("mac", "address"))
        facts = facts.with_columns(device=device).with_columns(
            device=pl.coalesce(
                pl.when(pl.col("device").is_in(known.implode())).then("device"), by_mac, by_address
            )
        )
        assigned = facts.filter(pl.col("device").is_not_null())
        self.counts["identity facts of devices without flows"] += facts.height - assigned.height
        return pl.concat([stored, assigned])


def facts_of_named(facts: pl.DataFrame, stored: pl.DataFrame, devices: pl.Series) -> pl.DataFrame:
    """Facts with the devices of a flow table, by its stored facts or by names that are MACs or addresses themselves.

    A fact with a MAC alone also belongs to the device of the address that another fact gives with this MAC, as DHCP
    does for a device that flows show by its address.

    Parameters
    ----------
    facts
        Without devices (:data:`ethogram.schema.IDENTITY`).
    stored
        Facts stored in the flow table.
    devices
        Names of its devices.
    """
    keys = stored.filter(pl.col("fact").is_in(["mac", "address"])).select("device", key="value")
    keys = pl.concat([keys, pl.DataFrame({"device": devices, "key": devices})]).unique()
    by_mac, by_address = (
        _single_device(keys.rename({"key": key}), facts[key], key) for key in ("mac", "address")
    )  # fmt: skip
    rows = facts.with_columns(device=pl.coalesce(by_mac, by_address))
    pairs = rows.filter(pl.col("device").is_not_null() & pl.col("mac").is_not_null()).select("mac", "device")
    through = _single_device(pairs, rows["mac"], "mac")
    return rows.with_columns(device=pl.coalesce("device", through)).filter(pl.col("device").is_not_null())


def facts_of_flows(flows: pl.LazyFrame, most: int = _MAX_PAIRS) -> pl.DataFrame:
    """MACs and addresses of the devices of a flow table that holds no identity facts.

    A device without a name is called by its MAC where the records have one, so the column ``device`` holds it. Tables
    of a collector and DataFrames have no other facts.

    Parameters
    ----------
    flows
        Form :data:`ethogram.schema.FLOW`; only the columns ``device``, ``device_address``, ``start`` and ``end`` are
        read.
    most
        Most pairs of device and address.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = datetime(2020, 1, 1, tzinfo=UTC)
    >>> flows = pl.LazyFrame({"device": ["aa:bb:cc:00:00:01", "den"], "device_address": ["10.0.0.2", "10.0.0.3"],
    ...     "start": [at, at], "end": [at, at]})
    >>> facts_of_flows(flows).select("device", "fact", "value").rows()  # doctest: +NORMALIZE_WHITESPACE
    [('aa:bb:cc:00:00:01', 'address', '10.0.0.2'), ('aa:bb:cc:00:00:01', 'mac', 'aa:bb:cc:00:00:01'),
     ('den', 'address', '10.0.0.3')]
    """
    facts = IdentityFacts(most)
    facts.learn_table(flows)
    return facts.of_ends()


def facts_of_device_names(devices: pl.Series, stored: pl.DataFrame) -> pl.DataFrame:
    """MACs and addresses by which a flow table names devices, for devices of which it stores no facts.

    >>> named = facts_of_device_names(pl.Series(["aa:bb:cc:00:00:01", "porch", "10.0.0.5"]), IDENTITY.empty())
    >>> named.select("device", "fact").rows()
    [('aa:bb:cc:00:00:01', 'mac'), ('10.0.0.5', 'address')]
    """
    rows = []
    for device in devices.filter(~devices.is_in(stored["device"].unique().implode())):
        mac = parse_mac(device) if ":" in device else None
        address = None if mac else parse_address(device)
        if mac or address:
            rows.append((device, mac, address, "mac" if mac else "address", mac or address, FLOWS, None, None, 1))
    return pl.DataFrame(rows, schema=IDENTITY.schema, orient="row")


def _single_device(pairs: pl.DataFrame, keys: pl.Series, key: str) -> pl.Series:
    """The only device seen with each key; null for several or none."""
    single = pairs.select(key, "device").unique().filter(pl.len().over(key) == 1).drop_nulls()
    return keys.to_frame(key).join(single, on=key, how="left", maintain_order="left")["device"]


def summed_facts(facts: pl.DataFrame) -> pl.DataFrame:
    """One row for each device, fact, value and source, or without a device for each MAC and address instead."""
    cut = facts.with_columns(pl.col("value").str.slice(0, MAX_VALUE))
    end = pl.when(pl.col("device").is_null())
    keys = ["device", end.then("mac").alias("by_mac"), end.then("address").alias("by_address"),
            "fact", "value", "source"]  # fmt: skip
    last = [pl.col(name).drop_nulls().last() for name in ("mac", "address")]
    return IDENTITY.conform(cut.group_by(keys, maintain_order=True).agg(*last, *_TIMES))
