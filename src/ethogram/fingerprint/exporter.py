"""The fingerprint exporter, for files and live traffic.

Counts are collected until an epoch closes. Then each device's state machine receives them in event time, and windows
that have converged, reached their limit or fallen silent are exported as fingerprints with their counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl

from ethogram.config import BoundSettings, CountSettings, ExporterSettings
from ethogram.errors import ConfigurationError
from ethogram.fingerprint.bound import DEVICES, bound_keys, drop_devices, level, sizes_of
from ethogram.fingerprint.count import cap_services, merge_counts, sorted_rows, split_fate
from ethogram.fingerprint.device import STABLE, DeviceState, EndedWindow, Profile
from ethogram.fingerprint.gather import count_block
from ethogram.fingerprint.halves import applies, stable_by_halves
from ethogram.fingerprint.key import with_service
from ethogram.schema import COUNTS, FINGERPRINT, TIME, Accounting

__all__ = ["AHEAD", "FingerprintExporter", "settings_digest"]

AHEAD = "ahead of arrival"
"""Reason: the flow ends after its arrival."""

_MICRO = 1_000_000
_WINDOWS_AT_ONCE = 256  # fingerprints assembled at once: bounds the copies of their counts
_UNSEEN = -1  # window of counts that are discarded without a fingerprint
_ADDED_AT_ONCE = 1 << 18  # counts that wait to be merged
_ROWS_AT_ONCE = 1 << 19  # counts sorted and cut at once, or of one device if that has more
_HELD = {**COUNTS.schema, "epoch": pl.Int64()}
_CARRIED = [c.name for c in COUNTS.columns if c.name != "device"]
_COLLECTED = {
    "window": pl.Int64(), "counts": pl.List(pl.Struct({name: COUNTS.schema[name] for name in _CARRIED})),
    "flows": pl.UInt64(),
}  # fmt: skip


def settings_digest(settings: ExporterSettings, counting: CountSettings) -> str:
    """Digest of all settings that determine fingerprints."""
    return f"{settings.digest}-{counting.digest}"


class FingerprintExporter:
    """Turns flows or counts into fingerprints, in batch or as a stream, with the same result.

    Parameters
    ----------
    settings
        When a window ends, and what is compared.
    counting
        How flows are counted; the epoch must be a multiple of its sub-epoch.
    max_devices
        Most devices held at once. Beyond it, the open window that has been silent longest is discarded, and in open
        epochs the devices with fewest flows are dropped; both are counted. None for no bound on all devices together:
        counts of files are bounded when they are counted.
    ahead_s
        How much later than their arrival flows may end, if the arrival is known; clocks of exporters differ.
    bounds
        Most counts held at once; :mod:`ethogram.fingerprint.bound` describes what happens beyond them.

    Attributes
    ----------
    accounting
        Over the unit ``flows``. Flows are dropped if their epoch has closed, or if they end after their arrival.
    evicted, unchanged
        Windows discarded because of ``max_devices`` or ``bounds``; converged windows that ``mode="change"`` did not
        export because nothing had changed.

    Notes
    -----
    The clock of a stream is the latest end of any flow so far, because records arrive when flows end, but never later
    than their arrival. An epoch closes when the clock passes its end by ``lateness_s``; flows of closed epochs are
    dropped. Inside that bound the order of arrival and the size of batches do not matter. Flows that end more than
    ``ahead_s`` after their arrival are dropped, and do not move the clock: one wrong or forged date would close the
    epochs of all devices.

    References
    ----------
    Azizi et al., arXiv 2512.16348, for the idea of an exporter guided by a similarity threshold.
    """

    def __init__(
        self, settings: ExporterSettings | None = None, counting: CountSettings | None = None, *,
        max_devices: int | None = 100_000, ahead_s: float = 300.0, bounds: BoundSettings | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings or ExporterSettings()
        self.bounds = bounds or BoundSettings()
        self.counting = counting or CountSettings()
        self.max_devices = max_devices
        self._ahead_us = round(ahead_s * _MICRO)
        if self.settings.epoch_s % self.counting.sub_epoch_s:
            raise ConfigurationError(
                f"setting epoch_s: {self.settings.epoch_s} s is no multiple of the sub-epoch, "
                f"{self.counting.sub_epoch_s} s"
            )
        self.accounting = Accounting("flows")
        self.evicted = self.unchanged = 0
        self.clock_us: int | None = None
        self.devices: dict[str, DeviceState] = {}
        self._open: dict[object, pl.DataFrame] = {}  # counts of open epochs by their time
        self._added: list[pl.DataFrame] = []
        self._names: set[str] = set()
        self.held = pl.DataFrame(schema=_HELD)

    @property
    def pending(self) -> pl.DataFrame:
        """Counts of open epochs, each key once."""
        self._settle()
        return pl.concat([pl.DataFrame(schema=_HELD), *self._open.values()])

    @pending.setter
    def pending(self, counts: pl.DataFrame) -> None:
        self._added = []
        self._open = {time: rows for (time,), rows in counts.group_by("time")}
        self._names = set(counts["device"].unique())

    def _settle(self) -> None:
        """Merge waiting counts into those of their sub-epoch; merging into whole days would take too long."""
        added, self._added = self._added, []
        if not added:
            return
        rows = pl.concat(added)
        for (time,), part in rows.group_by("time"):
            known = self._open.get(time)
            merged = merge_counts(part) if known is None else merge_counts(known, part)
            self._open[time] = bound_keys(merged, self.accounting, self.bounds.device_counts)
        self._names.update(rows["device"].unique())
        if self.max_devices is not None and len(self._names) > self.max_devices:
            self._drop_devices(self.max_devices)
        if self.max_devices is not None and self._open_rows() > self.bounds.open_counts:
            self._shrink(self.bounds.open_counts)

    def _open_rows(self) -> int:
        return sum(rows.height for rows in self._open.values())

    def _shrink(self, total: int) -> None:
        """Reduce the counts of open epochs to well below their bound, so that this happens rarely.

        Keys of devices with many are coarsened; if that is not enough, devices are dropped.
        """
        most = level(pl.concat([sizes_of(rows) for rows in self._open.values()]), total // 2, self.bounds.device_counts)
        self._open = {time: bound_keys(rows, self.accounting, most) for time, rows in self._open.items()}
        if self._open_rows() > total * 3 // 4:
            sizes = pl.concat([_sizes(rows) for rows in self._open.values()])
            self._drop(drop_devices(sizes.group_by("device").sum(), total * 3 // 4))

    def feed(self, flows: pl.DataFrame, arrived_us: int | None = None) -> pl.DataFrame:
        """Add the next flows of a stream, in order of arrival; returns the fingerprints of the epochs that close.

        Parameters
        ----------
        flows
            Form :data:`ethogram.schema.FLOW`.
        arrived_us
            When the last of them arrived, in microseconds since 1970; None if unknown: then every time is accepted.

        Returns
        -------
        fingerprints
            Form :data:`ethogram.schema.FINGERPRINT`, often empty.
        """
        flows = self._believed(flows, arrived_us)
        if not flows.height:
            return FINGERPRINT.empty()
        settings = self.settings
        epoch_us = settings.epoch_s * _MICRO
        # A flow is late with respect to the flows before it, whatever batch it is in.
        time_us = pl.col("end").dt.timestamp("us")
        if arrived_us is not None:
            time_us = time_us.clip(upper_bound=arrived_us)
        before = time_us.cum_max().shift(1)
        if self.clock_us is not None:
            before = pl.max_horizontal(before, pl.lit(self.clock_us))
        closes = (pl.col("start").dt.timestamp("us") // epoch_us + 1) * epoch_us + settings.lateness_s * _MICRO
        marked = flows.with_columns((before >= closes).fill_null(value=False).alias("late"))
        late = int(marked["late"].sum())
        self.accounting.read += late
        self.accounting.drop("late", late)
        on_time = marked.filter(~pl.col("late")).drop("late")
        self._take(count_block(on_time, self.counting, self.accounting))
        last = int(flows.select(time_us.max()).item())
        self.clock_us = last if self.clock_us is None else max(last, self.clock_us)
        return self._close((self.clock_us - settings.lateness_s * _MICRO) // epoch_us)

    def _believed(self, flows: pl.DataFrame, arrived_us: int | None) -> pl.DataFrame:
        """Drop flows that end later than their arrival allows."""
        if arrived_us is None:
            return flows
        believed = flows.filter(pl.col("end").dt.timestamp("us") <= arrived_us + self._ahead_us)
        ahead = flows.height - believed.height
        self.accounting.read += ahead
        self.accounting.drop(AHEAD, ahead)
        return believed

    def set_back(self, now_us: int) -> int | None:
        """Undo the effect of flows dated in the future on a saved exporter.

        The clock returns to ``now_us``, counts of later times are dropped, and epochs that were closed too early are
        open again.

        Parameters
        ----------
        now_us
            Latest possible time, in microseconds since 1970.

        Returns
        -------
        dropped
            Number of flows whose counts were dropped; None if the clock was right.
        """
        if self.clock_us is None or self.clock_us <= now_us + self._ahead_us:
            return None
        self.clock_us = now_us
        latest = pl.col("time").dt.timestamp("us") <= now_us + self._ahead_us
        latest_counts = pl.concat([self.held, self.pending]).filter(latest)
        dropped = int(self.held["flows"].sum()) + int(self.pending["flows"].sum()) - int(latest_counts["flows"].sum())
        self.accounting.used -= dropped
        self.accounting.drop(AHEAD, dropped)
        first_open = (now_us - self.settings.lateness_s * _MICRO) // (self.settings.epoch_s * _MICRO)
        closed = pl.col("epoch") < first_open
        self.held, self.pending = self.held.filter(closed), merge_counts(latest_counts.filter(~closed))
        for name, state in list(self.devices.items()):
            self.devices[name] = state.before(first_open, self.settings)
        return dropped

    def add(self, tallied: pl.DataFrame | Iterable[pl.DataFrame]) -> None:
        """Add counts without advancing the clock: a file is read completely before its epochs close.

        Parameters
        ----------
        tallied
            Collected result of :func:`ethogram.fingerprint.count.tally`, or counts. No key is in two frames.
        """
        tables = [tallied] if isinstance(tallied, pl.DataFrame) else tallied
        counts = pl.concat(
            [COUNTS.empty()]
            + [split_fate(each, self.accounting) if "fate" in each.columns else self._plain(each) for each in tables]
        )
        self._take(counts)

    def _take(self, counts: pl.DataFrame) -> None:
        """Hold counts whose flows are accounted for."""
        if not counts.height:
            return
        self._added.append(self._dated(counts))
        if sum(part.height for part in self._added) > _ADDED_AT_ONCE:
            self._settle()

    def finish(self, *, export_open: bool = True) -> pl.DataFrame:
        """Close every epoch at the end of the input; open windows are exported with status ``open`` if wanted.

        Returns
        -------
        fingerprints
            Those not yet returned by :meth:`feed`.
        """
        return self._close(None, export_open=export_open)

    def whole(self, blocks: Iterable[pl.DataFrame], last_us: int, *, export_open: bool = True) -> pl.DataFrame:
        """Export a complete input in blocks of devices; the result equals that of :meth:`add` and :meth:`finish`.

        Devices are independent, except that silence is measured up to the end of the input.

        Parameters
        ----------
        blocks
            Form :data:`ethogram.schema.COUNTS`, sorted by key across all blocks, no device in two of them;
            services beyond the bound are already merged. Their flows are accounted for where they were counted.
        last_us
            Start of the last sub-epoch with a flow of any device, in microseconds since 1970.
        export_open
            As for :meth:`finish`.

        Returns
        -------
        fingerprints
            Of all blocks.
        """
        last = last_us // (self.settings.epoch_s * _MICRO)
        tables = [FINGERPRINT.empty()]
        for block in _ahead(blocks):
            ready = self._dated(block)
            exports = self._ended(ready, last, export_open=export_open)
            self.unchanged += sum(export.status == "unchanged" for export in exports)
            tables.append(self._exported(exports, [ready]))
        return pl.concat(tables)

    def ended_windows(self, counts: pl.DataFrame) -> list[EndedWindow]:
        """List the windows that end in an input that is known whole, without their fingerprints.

        Parameters
        ----------
        counts
            Form :data:`ethogram.schema.COUNTS`, sorted by key.

        Returns
        -------
        list
            One entry for each window, with its device, epochs and status.
        """
        if not counts.height:
            return []
        ready = self._dated(counts)
        return self._ended(ready, int(ready["epoch"].max()), export_open=True)  # type: ignore[arg-type]

    def stable_devices(self, counts: pl.DataFrame) -> set[str]:
        """Devices with a window of :meth:`ended_windows` that is stable and visible; their later epochs are skipped.

        Parameters
        ----------
        counts
            Form :data:`ethogram.schema.COUNTS`, sorted by key.
        """
        states: dict[str, DeviceState] = {}
        stable: set[str] = set()
        rows = self._dated(counts)
        if rows.height and applies(self.settings):
            stable, left = stable_by_halves(rows, self.settings)
            rows = rows.filter(pl.col("device").is_in(pl.Series(sorted(left), dtype=pl.String).implode()))
        for epoch, device, profile in profiles_of(rows, self.settings) if rows.height else ():
            if device not in stable:
                ended = states.setdefault(device, DeviceState(device)).advance(epoch, profile, self.settings)
                if any(window.visible and window.status in STABLE for window in ended):
                    stable.add(device)
        return stable

    def _ended(self, ready: pl.DataFrame, last: int, *, export_open: bool) -> list[EndedWindow]:
        """Run the state machine of each device over its epochs up to the last one of any device."""
        states: dict[str, DeviceState] = {}
        exports: list[EndedWindow] = []
        for epoch, device, profile in profiles_of(ready, self.settings):
            exports += states.setdefault(device, DeviceState(device)).advance(epoch, profile, self.settings)
        for state in states.values():
            exports += state.silent_until(last, self.settings) + state.leave("open", visible=export_open)
        return exports

    def _dated(self, counts: pl.DataFrame) -> pl.DataFrame:
        """Add the epoch of each row."""
        epoch = pl.col("time").dt.timestamp("us") // (self.settings.epoch_s * _MICRO)
        return counts.with_columns(epoch.alias("epoch")).select(list(_HELD))

    def _drop_devices(self, most: int) -> None:
        """Keep the devices with most flows in open epochs; forged addresses have few."""
        sizes = pl.concat([_sizes(rows) for rows in self._open.values()]).group_by("device").sum()
        self._drop(sizes.sort(["flows", "device"], descending=[True, False])["device"].slice(most))

    def _drop(self, devices: pl.Series) -> None:
        """Drop the counts of devices in open epochs."""
        gone = devices.to_frame("device")
        for time, rows in self._open.items():
            flows = int(rows.join(gone, on="device", how="semi")["flows"].sum())
            self.accounting.used -= flows
            self.accounting.drop(DEVICES, flows)
            self._open[time] = rows.join(gone, on="device", how="anti").rechunk()
        self._open = {time: rows for time, rows in self._open.items() if rows.height}
        self._names.difference_update(devices)

    def _plain(self, counts: pl.DataFrame) -> pl.DataFrame:
        flows = int(counts["flows"].sum())
        self.accounting.read += flows
        self.accounting.used += flows
        return counts

    def _close(self, before: int | None, *, export_open: bool = False) -> pl.DataFrame:
        """Run the state machines over the pending epochs below ``before`` (all, without it)."""
        if before is None:
            ready, self.pending = self.pending, self.pending.clear()
        elif not export_open and not self._due(before):
            return FINGERPRINT.empty()
        else:
            due = pl.col("epoch") < before
            ready, self.pending = self.pending.filter(due), self.pending.filter(~due)
        if not ready.height and not export_open:
            return FINGERPRINT.empty()
        # Blocks of whole devices, so that merging services copies one block and not all counts.
        blocks = [self._capped(ready[rows]) for rows in _by_devices(ready)]
        del ready
        profiles = [profile for block in blocks for profile in profiles_of(block, self.settings)]
        profiles.sort(key=lambda profile: profile[:2])
        exports: list[EndedWindow] = []
        epoch = None
        for now, device, profile in profiles:
            if epoch is not None and now != epoch:
                exports += self._end_of_epoch(epoch)
            epoch = now
            state = self.devices.setdefault(device, DeviceState(device))
            exports += state.advance(now, profile, self.settings)
        if epoch is not None:
            exports += self._end_of_epoch(epoch)
        if export_open:
            for state in self.devices.values():
                exports += state.leave("open")
        self.unchanged += sum(export.status == "unchanged" for export in exports)
        table = self._exported(exports, blocks)
        self._bound_held()
        return table

    def _capped(self, block: pl.DataFrame) -> pl.DataFrame:
        """Merge the services of a sorted block beyond their daily bound; the block stays sorted."""
        capped = cap_services(block, self.accounting, self.counting.max_services)
        return block if capped is block else capped[sorted_rows(capped)].select(list(_HELD))

    def _bound_known(self, most: int) -> None:
        """Forget the largest of the last exported fingerprints if together they hold too many services."""
        sizes = sorted(((len(state.known), name) for name, state in self.devices.items() if state.known), reverse=True)
        excess = sum(size for size, _ in sizes) - most
        for size, name in sizes:
            if excess <= 0:
                break
            self.devices[name].known = None
            self.evicted += 1
            excess -= size

    def _bound_held(self) -> None:
        """Discard the largest windows if together they hold too many counts."""
        most = self.bounds.held_counts
        if self.max_devices is None:
            return
        self._bound_known(most)
        if self.held.height <= most:
            return
        sizes = self.held.group_by("device").len().sort(["len", "device"], descending=[True, False])
        excess = self.held.height - most * 3 // 4
        before = sizes["len"].cum_sum() - sizes["len"]
        gone = sizes.filter(before < excess)["device"]
        for device in gone:
            self.devices[device].leave("open", visible=False)
        self.evicted += len(gone)
        self.held = self.held.join(gone.to_frame(), on="device", how="anti").rechunk()

    def _due(self, before: int) -> bool:
        """Whether an epoch before this one has counts."""
        return any(int(part["epoch"][0]) < before for part in self._open.values()) or any(
            int(part["epoch"].min()) < before  # type: ignore[arg-type]
            for part in self._added
        )

    def _end_of_epoch(self, epoch: int) -> list[EndedWindow]:
        """End windows of devices that are silent for too long, and of devices beyond the bound."""
        exports: list[EndedWindow] = []
        for name in [name for name, state in self.devices.items() if not state.epochs and state.known is None]:
            del self.devices[name]
        for state in self.devices.values():
            exports += state.silent_until(epoch, self.settings)
        excess = 0 if self.max_devices is None else len(self.devices) - self.max_devices
        if excess > 0:
            oldest = sorted(self.devices.values(), key=lambda state: (state.last_epoch, state.device))[:excess]
            for state in oldest:
                exports += state.leave("open", visible=False)
                del self.devices[state.device]
            self.evicted += excess
        return exports

    def _exported(self, exports: list[EndedWindow], parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Fingerprints of the ended windows, whose counts are released."""
        if self.held.height:
            parts = (part for part in [pl.concat([self.held, *parts])])
        visible = sorted((x for x in exports if x.visible), key=lambda x: (x.device, x.epochs))
        ended = [*enumerate(visible), *((_UNSEEN, x) for x in exports if not x.visible)]
        windows = pl.DataFrame(
            [(i, x.device, epoch) for i, x in ended for epoch in x.epochs],
            schema={"window": pl.Int64, "device": pl.String, "epoch": pl.Int64}, orient="row",
        )  # fmt: skip
        held, counts = [pl.DataFrame(schema=_HELD)], [pl.DataFrame(schema=_COLLECTED)]
        for part in parts:
            placed = part.join(windows, on=["device", "epoch"], how="left", maintain_order="left")
            held.append(placed.filter(pl.col("window").is_null()).drop("window"))
            counts += _collected(placed.filter(pl.col("window") != _UNSEEN))
        self.held = pl.concat(held)
        if not visible:
            return FINGERPRINT.empty()
        epoch_us, digest = self.settings.epoch_s * _MICRO, settings_digest(self.settings, self.counting)
        heads = pl.DataFrame(
            [
                (i, _name(x, epoch_us), x.device, x.epochs[0] * epoch_us, (x.epochs[-1] + 1) * epoch_us, x.status,
                 len(x.epochs), x.similarity, digest)
                for i, x in enumerate(visible)
            ],
            schema={"window": pl.Int64, "fingerprint": pl.String, "device": pl.String, "start": pl.Int64,
                    "end": pl.Int64, "status": pl.String, "epochs": pl.UInt32, "similarity": pl.Float64,
                    "settings": pl.String},
            orient="row",
        )  # fmt: skip
        # Both are sorted by window, and each window has counts.
        table = pl.concat([heads, pl.concat(counts).drop("window")], how="horizontal").with_columns(
            pl.from_epoch("start", time_unit="us").cast(TIME), pl.from_epoch("end", time_unit="us").cast(TIME)
        )
        return FINGERPRINT.conform(table)


def _sizes(counts: pl.DataFrame) -> pl.DataFrame:
    """Flows and counts of each device."""
    return counts.group_by("device").agg(pl.col("flows").sum(), counts=pl.len())


def _ahead(blocks: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Prepare the next block in a thread while the caller uses the current one."""
    coming = iter(blocks)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, coming, None)
        while (block := following.result()) is not None:
            following = pool.submit(next, coming, None)
            yield block


def _by_devices(counts: pl.DataFrame) -> list[pl.Series]:
    """Row numbers in sorted order, in blocks of whole devices, which bound the size of copies."""
    rows = sorted_rows(counts)
    sizes = counts.lazy().group_by("device").len().sort("device").collect(engine="streaming")["len"].to_list()
    bounds, end = [0], 0
    for size in sizes:
        if end > bounds[-1] and end + size - bounds[-1] > _ROWS_AT_ONCE:
            bounds.append(end)
        end += size
    if sizes:
        bounds.append(end)
    return [rows[begin:end] for begin, end in pairwise(bounds)]


def _collected(placed: pl.DataFrame) -> list[pl.DataFrame]:
    """Counts of each window as a list, and its number of flows.

    Held counts are of earlier epochs than new ones, and both are sorted, so the rows of each window are in order.
    """
    if not placed.height:
        return []
    if not placed["window"].is_sorted():
        placed = placed.sort("window", maintain_order=True)
    windows = placed["window"]
    bounds = [windows.search_sorted(at) for at in range(int(windows[0]), int(windows[-1]) + 1, _WINDOWS_AT_ONCE)]
    return [
        placed[begin:end]
        .group_by("window", maintain_order=True)
        .agg(pl.struct(_CARRIED).alias("counts"), pl.col("flows").sum())
        for begin, end in pairwise([*bounds, len(windows)])
    ]


def profiles_of(rows: pl.DataFrame, settings: ExporterSettings) -> list[tuple[int, str, Profile]]:
    """Sum counts per epoch, device and service; sorted by all three.

    Parameters
    ----------
    rows
        Counts with a column ``epoch``; all of one device and epoch together.
    settings
        How services are named, and which weight is compared.

    Returns
    -------
    profiles
        Epoch, device, and the device's activity in the epoch.
    """
    amount = {
        "flow_share": pl.col("flows").sum(),
        "presence": pl.col("time").n_unique(),
        "octet_share": pl.col("octets_out").sum() + pl.col("octets_in").sum(),
        "packet_share": pl.col("packets_out").sum() + pl.col("packets_in").sum(),
    }[settings.representation.weight].cast(pl.Int64)
    # The rows of a device and epoch are contiguous, so one number stands for both; numbers group faster than texts.
    changed = (pl.col("device") != pl.col("device").shift()) | (pl.col("epoch") != pl.col("epoch").shift())
    named: pl.DataFrame = with_service(rows, settings.key).with_columns(
        changed.fill_null(value=False).cum_sum().alias("part"), pl.col("service").cast(pl.Categorical)
    )
    heads = named.group_by("part").agg(
        pl.col("epoch", "device").first(), amount.alias("total")
    )  # fmt: skip
    each = (
        named.group_by("part", "service").agg(pl.col("flows").sum(), amount.alias("amount"))
        .with_columns(pl.col("service").cast(pl.String)).sort("part", "service")
        .group_by("part", maintain_order=True).agg("service", "flows", "amount")
    )  # fmt: skip
    return [
        (epoch, device, Profile(dict(zip(names, flows, strict=True)), dict(zip(names, amounts, strict=True)), total))
        for _, names, flows, amounts, epoch, device, total in each.join(heads, on="part", how="left")
        .sort("epoch", "device")
        .iter_rows()
    ]


def _name(export: EndedWindow, epoch_us: int) -> str:
    start = datetime.fromtimestamp(export.epochs[0] * epoch_us / _MICRO, tz=UTC)
    return f"{export.device}/{start:%Y%m%dT%H%M%SZ}/{export.status}"
