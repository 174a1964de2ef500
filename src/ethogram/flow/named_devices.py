"""Name devices by files of the user; all other local addresses stay devices.

A device is first identified by its MAC or address (:class:`ethogram.flow.devices.LocalDevices`). If flows have no MAC,
that of a lease or of a neighbour table is used, so that a device keeps its name when its address changes. Then the
device gets its name: by a row of the device file, by its MAC, by its address, or by another address of the same device.
"""

from __future__ import annotations

import polars as pl

from ethogram.flow.devices import Namer, Uses
from ethogram.flow.devices_file import FIRST, LAST, DeviceFile
from ethogram.flow.local import INSIDE
from ethogram.schema import IDENTITY, NAMED_DEVICE

__all__ = ["NamedDevices", "named_facts"]

_MAX_LEARNT = 1 << 18
_KEYS = pl.coalesce("mac", "address")
_FACTS = ("mac", "address", "name", "host_name", "vendor", "model", "kind")


class NamedDevices:
    """Names devices by files, and those that no file names as ``base`` does.

    Parameters
    ----------
    base
        Tells devices by MAC and address.
    file
        Device file; its names hold first.
    entries
        Entries of other files, in order of precedence (:data:`ethogram.schema.NAMED_DEVICE`).
    by_mac
        Whether the MAC of an entry stands for its address where flows have no MAC.

    Attributes
    ----------
    conflicts
        One line for each entry that contradicts an earlier one, and so is not used.

    Examples
    --------
    >>> from ethogram.flow.devices import LocalDevices
    >>> entry = {"mac": "aa:bb:cc:00:00:01", "address": "10.0.0.5", "host_name": "cam", "source": "leases", "line": 1}
    >>> namer = NamedDevices(LocalDevices(), entries=NAMED_DEVICE.conform(pl.DataFrame([entry])))
    >>> ends = pl.DataFrame({"start": [FIRST] * 2, "address": ["10.0.0.5", "10.0.0.6"], "mac": [None, None],
    ...                      "place": [1, 1]}, schema_overrides={"mac": pl.String})
    >>> namer.learn(ends)
    >>> namer.devices(ends).to_list()
    ['cam', '10.0.0.6']
    """

    def __init__(
        self, base: Namer, file: DeviceFile | None = None, entries: pl.DataFrame | None = None, *, by_mac: bool = True
    ) -> None:
        self._base = base
        self._file = file
        self.conflicts: list[str] = []
        names = _distinct_names(NAMED_DEVICE.empty() if entries is None else entries, file, self.conflicts)
        if not by_mac:  # then devices are identified by address alone
            again = names.drop_nulls("address").with_columns(key=pl.col("address"))
            names = pl.concat([names, again]).unique("key", keep="first", maintain_order=True)
        self._names = names.select("key", "device")
        self._macs = _macs_of(entries) if entries is not None and by_mac else None
        self._learnt = pl.DataFrame(schema={"device": pl.String, "name": pl.String})
        self.by_time = any(each is not None and each.by_time for each in (file, self._macs)) or base.by_time

    @property
    def forgotten(self) -> int:
        """Addresses and routers that the base has forgotten."""
        return self._base.forgotten

    def learn(self, ends: pl.DataFrame, uses: Uses | None = None) -> None:
        """Learn which devices the base tells apart, and which names their addresses have."""
        self._base.learn(ends, uses)
        if self._file is not None and self._file.by_time:
            direct = self._by_key(ends["address"])
        else:
            direct = self._direct(ends, None)
        device = self._device(ends)
        named = pl.DataFrame({"device": device, "name": direct, "address": ends["address"]}).drop_nulls()
        named = named.filter(pl.col("device") != pl.col("address"))
        if named.height:
            learnt = pl.concat([self._learnt, named.select("device", "name")]).unique(maintain_order=True)
            self._learnt = learnt.head(_MAX_LEARNT)

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Name of each end's device, null for none."""
        device = self._device(ends)
        direct = self._direct(ends, device)
        # Where a device has several names by its addresses, or several devices had the address, nothing is concluded.
        single = self._learnt.filter((pl.len().over("device") == 1) & (pl.len().over("name") == 1))
        learnt = device.to_frame("device").join(single, on="device", how="left", maintain_order="left")["name"]
        return pl.select(pl.coalesce(direct, learnt, device).alias("device")).to_series()

    def behind_routers(self, ends: pl.DataFrame) -> pl.Series:
        """As the base tells."""
        return self._base.behind_routers(ends)

    def _device(self, ends: pl.DataFrame) -> pl.Series:
        """Device as the base tells it, or the MAC that a lease gives its address."""
        device = self._base.devices(ends)
        if self._macs is None:
            return device
        macs = self._macs.lookup("ip", ends["address"], ends["start"])
        by_address = (device == ends["address"]) & (ends["place"] == INSIDE)
        return device.zip_with(~(by_address & macs.is_not_null()).fill_null(value=False), macs)

    def _direct(self, ends: pl.DataFrame, device: pl.Series | None) -> pl.Series:
        """Name by a row of the device file, by the device's MAC, or by the end's address."""
        inside = pl.when(ends["place"] == INSIDE).then(ends["address"])
        address = pl.select(inside.alias("address")).to_series()
        names = [] if self._file is None else [self._file.devices(ends)]
        names += [self._by_key(key) for key in (device, address) if key is not None]
        return pl.select(pl.coalesce(*names).alias("name")).to_series()

    def _by_key(self, keys: pl.Series) -> pl.Series:
        return keys.to_frame("key").join(self._names, on="key", how="left", maintain_order="left")["device"]


def _distinct_names(entries: pl.DataFrame, file: DeviceFile | None, conflicts: list[str]) -> pl.DataFrame:
    """One name for each MAC, or for each address without one; the same name for different devices is completed.

    Host names are chosen by devices, and several may choose the same: then the MAC or address is added.
    """
    names = entries.with_columns(
        key=_KEYS, device=pl.coalesce("name", "host_name"), given=pl.col("name").is_not_null()
    ).drop_nulls(["key", "device"])
    # A name that the user gave goes before one that the device has; then the first file and line.
    names = names.sort("given", descending=True, maintain_order=True)
    clash = names.filter(pl.col("given") & (pl.col("device").n_unique().over("key", "given") > 1))
    for _, rows in clash.group_by("key", maintain_order=True):
        first, other = rows.row(0, named=True), rows.filter(pl.col("device") != rows["device"][0]).row(0, named=True)
        conflicts.append(
            f"{other['source']}:{other['line']}: {other['key']} is {first['device']!r} ({first['source']}:"
            f"{first['line']}) and {other['device']!r}; the first is used"
        )
    names = names.unique("key", keep="first", maintain_order=True)
    taken = set() if file is None else set(file.entries["device"])
    several = pl.col("mac").is_not_null() & (pl.col("mac").n_unique().over("device") > 1)
    again = several | pl.col("device").is_in(taken)
    same = pl.lit(False)
    if file is not None:  # the device file names the same device alike
        names_of_user = file.entries.select("key", "device").unique()
        pairs = pl.struct(pl.col("key"), pl.col("device"))
        same = pairs.is_in(names_of_user.select(pl.struct("key", "device").alias("pair"))["pair"].implode())
    completed = pl.format("{} ({})", "device", "key")
    return names.with_columns(device=pl.when(again & ~same).then(completed).otherwise("device"))


def _macs_of(entries: pl.DataFrame) -> DeviceFile | None:
    """MAC of each address, by time where several MACs had it one after the other; None if no entry has both."""
    pairs = entries.drop_nulls(["mac", "address"]).select("mac", "address", "begin")
    if not pairs.height:
        return None
    pairs = pairs.group_by("mac", "address", maintain_order=True).agg(pl.col("begin").min())
    several = pl.col("mac").n_unique().over("address") > 1
    # Of MACs without a time, the last one written holds; of those with times, each until the next begins.
    timed = pl.col("begin").is_not_null().all().over("address")
    last = pl.int_range(pl.len()).reverse().over("address") == 0
    pairs = pairs.filter(~several | timed | last).sort("address", "begin", maintain_order=True)
    following = pl.col("begin").shift(-1).over("address")
    first = pl.int_range(pl.len()).over("address") == 0
    return DeviceFile(pairs.select(
        pl.lit("ip").alias("kind"), pl.col("address").alias("key"), pl.col("mac").alias("device"),
        pl.when(first).then(pl.lit(FIRST)).otherwise("begin").alias("from"), following.fill_null(LAST).alias("to"),
    ).filter(pl.col("from") < pl.col("to")))  # fmt: skip


def named_facts(entries: pl.DataFrame) -> pl.DataFrame:
    """What the entries of files say, as identity facts (:data:`ethogram.schema.IDENTITY`) without devices.

    Of several names that a user gave to one MAC or address, the first one holds, as in :class:`NamedDevices`.
    """
    first_names = entries.drop_nulls("name").unique(_KEYS, keep="first", maintain_order=True)
    frames = [
        (first_names if fact == "name" else entries.drop_nulls(fact)).select(
            "mac", "address", pl.lit(fact).alias("fact"), pl.col(fact).alias("value"), "source",
            pl.col("begin").alias("first"), pl.col("begin").alias("last"), pl.lit(1).alias("times"),
        )
        for fact in _FACTS
    ]  # fmt: skip
    return pl.concat([IDENTITY.conform(frame) for frame in frames])
