"""Times of records in every encoding, as microseconds since 1970.

A record has absolute times (150 to 157), times relative to the start of the exporter (21, 22), offsets before the
export time of the message (158, 159), a duration (161, 162) that replaces a missing end or start, or only one moment
(322 to 325).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.element_precedence import first_fields
from ethogram.io.wire.records import Records
from ethogram.io.wire.template import Template
from ethogram.io.wire.walk import IPFIX

__all__ = ["END_FORMS", "START_FORMS", "TimePlan", "Times", "exported_us", "ntp_us", "uptime_us"]

Array = NDArray[np.int64]

NTP_ERA = 2_208_988_800  # seconds from 1900 to 1970
LATEST_S = 253_402_300_799  # the end of the year 9999
US = 1_000_000
AFTER_EXPORT_US = 10 * US  # export times are whole seconds, and clocks are set right
UPTIME, DELTA = "system uptime", "before export"

START_FORMS = ((156, "ns"), (154, "us"), (152, "ms"), (150, "s"), (22, UPTIME), (158, DELTA),
               (273, "ns"), (271, "us"), (272, "ms"), (265, "s"))  # fmt: skip
"""Elements of the first packet's time, most precise first, with their encoding; those of aggregated flows last."""

END_FORMS = ((157, "ns"), (155, "us"), (153, "ms"), (151, "s"), (21, UPTIME), (159, DELTA),
             (270, "ns"), (268, "us"), (269, "ms"), (261, "s"))  # fmt: skip
"""The same for the last packet."""

MOMENT_FORMS = ((325, "ns"), (324, "us"), (323, "ms"), (322, "s"))
"""Elements of one moment, such as a firewall event; it is the end if the record has a start."""

DURATIONS = ((162, 1), (161, 1000))  # element, microseconds per unit
SYSTEM_INIT = 160


@dataclass(frozen=True)
class Times:
    """Times of N records.

    Parameters
    ----------
    start, end
        int64[N], microseconds since 1970; ``end`` is never before ``start``.
    corrected
        Number of corrected records, by reason.
    """

    start: Array
    end: Array
    corrected: dict[str, int]


def exported_us(records: Records) -> Array:
    """Export time of each message (row of ``records.headers``)."""
    headers = records.headers
    return headers["export_time_s"].astype(np.int64) * US + headers["residual_ns"].astype(np.int64) // 1000


def uptime_us(value: NDArray[np.uint64], uptime_ms: NDArray[np.uint32], exported: Array) -> Array:
    """Convert milliseconds of system uptime to microseconds since 1970.

    Uptime has 32 bits and wraps after 49.7 days; a value is assumed to be within half of that from the uptime at
    export.

    Parameters
    ----------
    value
        uint64[N]; the low 32 bits are used.
    uptime_ms, exported
        Uptime and time at export, for each record or for all.

    Examples
    --------
    >>> uptime_us(np.array([4_294_967_000], np.uint64), np.array([704], np.uint32), np.array([10_000_000])).tolist()
    [9000000]
    """
    behind = (uptime_ms.astype(np.uint32) - value.astype(np.uint32)).view(np.int32)
    return exported - behind.astype(np.int64) * 1000


def ntp_us(value: NDArray[np.uint64], near_us: Array, plain_us: float) -> Array:
    """Convert NTP timestamps (RFC 7011 sections 6.1.9 and 6.1.10) to microseconds since 1970.

    Seconds of the second NTP era (from 2036 on) look like those of the early 1900s, and so do plain counts since 1970
    that some exporters send instead. The reading closer to the export time is used.

    Parameters
    ----------
    value
        uint64[N]: seconds since 1900 in the high 32 bits, fraction in the low ones.
    near_us
        int64[N], export time.
    plain_us
        Microseconds per step of a plain count.

    Examples
    --------
    >>> ntp_us(np.array([(2_208_988_801 << 32) | (1 << 31)], np.uint64), np.array([0]), 1.0).tolist()
    [1500000]
    """
    seconds = (value >> np.uint64(32)).astype(np.int64)
    fraction = ((value & np.uint64(0xFFFFFFFF)) * np.uint64(US) + np.uint64(1 << 31)) >> np.uint64(32)
    times = (seconds - NTP_ERA) * US + fraction.astype(np.int64)
    early = seconds < 1 << 31
    if early.any():
        later = times + (1 << 32) * US
        plain = np.minimum(value.astype(np.float64) * plain_us, LATEST_S * US).astype(np.int64)
        nearest = np.where(np.abs(plain - near_us) < np.abs(later - near_us), plain, later)
        times = np.where(early & (value > 0), nearest, times)
    return times


class TimePlan:
    """Fields of a template that give the time of its records.

    Parameters
    ----------
    template
        Template of the records.
    """

    def __init__(self, template: Template) -> None:
        index = first_fields(template)

        def present(forms: tuple[tuple[int, str], ...], reverse: bool = False) -> tuple[tuple[int, str], ...]:
            places = ((index.get((0, number, reverse)), form) for number, form in forms)
            return tuple((place, form) for place, form in places if place is not None)

        self.start = present(START_FORMS)
        self.end = present(END_FORMS)
        self.moment = present(MOMENT_FORMS)
        # Reverse offsets and uptimes use the same clock; of absolute times, only the most precise is used.
        self.reverse_start = present(START_FORMS[:5], reverse=True)[:1]
        self.reverse_end = present(END_FORMS[:5], reverse=True)[:1]
        self.init = index.get((0, SYSTEM_INIT, False))
        durations = ((index.get((0, number, False)), step) for number, step in DURATIONS)
        self.duration = next(((place, step) for place, step in durations if place is not None), None)
        self.ipfix = template.version == IPFIX

    @property
    def start_fields(self) -> tuple[int, ...]:
        """Fields that give the start, or from which it is derived."""
        places = [place for place, _ in (*self.start, *self.reverse_start)]
        if not places and self.end and self.duration is not None:
            places = [self.duration[0]]
        return tuple(places)

    @property
    def end_fields(self) -> tuple[int, ...]:
        """Fields that give the end, or from which it is derived."""
        places = [place for place, _ in (*self.end, *self.reverse_end)]
        if not places and self.start and self.duration is not None:
            places = [self.duration[0]]
        return tuple(places or (place for place, _ in self.moment))

    @property
    def uses_uptime(self) -> bool:
        """Whether a time is relative to the exporter's uptime."""
        return any(form == UPTIME for _, form in (*self.start[:1], *self.end[:1]))

    def times(self, records: Records, system_init_us: int | None = None) -> Times:
        """Start and end of each record.

        Parameters
        ----------
        records
            N records of the template.
        system_init_us
            Start time of the exporter if its options state it (IPFIX messages do not contain the uptime).
        """
        reading = _TimeColumns(self, records, system_init_us)
        start, end = reading.first(self.start), reading.first(self.end)
        corrected = {}
        if reading.guessed and (start is not None or end is not None):
            corrected["system start unknown, export time used as end"] = len(records)
            if end is None:
                start, end = None, start
        if start is not None and end is None:
            end = reading.first(self.moment)
        elif start is None and end is None:
            start = reading.first(self.moment)
        start, end = self._filled(records, start, end)
        if start is None or end is None:
            start = end = reading.exported.copy()
            corrected["no time, export time used"] = len(records)
        start, end = self._with_reverse(reading, start, end)
        for times in (start, end):
            missing = times == 0
            if (number := int(missing.sum())) == 0:
                continue
            other = end if times is start else start
            np.copyto(times, np.where(other > 0, other, reading.exported), where=missing)
            corrected["time 0 replaced"] = corrected.get("time 0 replaced", 0) + number
        if self.uses_uptime and not reading.guessed:
            late = end - reading.exported
            beyond = late > AFTER_EXPORT_US
            if number := int(beyond.sum()):
                # The uptime in the header has another unit or reference than those in the records.
                corrected["end after export time, moved to it"] = number
                start, end = np.where(beyond, start - late, start), np.where(beyond, reading.exported, end)
        backwards = end < start
        if number := int(backwards.sum()):
            corrected["end before start"] = number
            start, end = np.minimum(start, end), np.maximum(start, end)
        return Times(start, end, corrected)

    def _filled(self, records: Records, start: Array | None, end: Array | None) -> tuple[Array | None, Array | None]:
        """Fill in a missing end from the duration, or as the same moment."""
        if (start is None) == (end is None):
            return start, end
        lasted: Array | int = 0
        if self.duration is not None:
            index, step = self.duration
            lasted = np.minimum(records.unsigned(index), np.uint64(1 << 40)).astype(np.int64) * step
        if start is None and end is not None:
            return np.where(end > 0, end - lasted, 0), end
        assert start is not None
        return start, np.where(start > 0, start + lasted, 0)

    def _with_reverse(self, reading: _TimeColumns, start: Array, end: Array) -> tuple[Array, Array]:
        """Extend the times of a biflow to the first and last packet of both directions (RFC 5103)."""
        other = reading.first(self.reverse_start)
        if other is not None:
            start = np.where(other > 0, np.minimum(np.where(start > 0, start, other), other), start)
        other = reading.first(self.reverse_end)
        return start, end if other is None else np.maximum(end, other)


class _TimeColumns:
    """Time fields of N records; a time that is 0 or after the year 9999 is 0."""

    def __init__(self, plan: TimePlan, records: Records, system_init_us: int | None) -> None:
        self.records = records
        self.exported = exported_us(records)[records.message]
        self.guessed = False
        self._init: Array | None = None
        if plan.init is not None:
            self._init = _bounded(records.unsigned(plan.init), 1000)
        elif system_init_us is not None:
            self._init = np.full(len(records), system_init_us, np.int64)
        self._ipfix = plan.ipfix
        self._last: int | None = None
        if plan.ipfix and self._init is None and plan.uses_uptime:
            # The start of the exporter is unknown: its latest uptime is assumed to be the export time.
            self.guessed = True
            index = next(index for index, form in (*plan.end, *plan.start) if form == UPTIME)
            self._uptime = records.unsigned(index)

    def first(self, forms: tuple[tuple[int, str], ...]) -> Array | None:
        """The first encoding in which each record has a time; None if there is no such field."""
        times: Array | None = None
        for index, form in forms:
            if times is None:
                times = self._read(index, form)
            elif not times.all():
                times = np.where(times == 0, self._read(index, form), times)
        return times

    def _read(self, index: int, form: str) -> Array:
        value = self.records.unsigned(index)
        if form == UPTIME:
            return self._by_uptime(value)
        if form == DELTA:
            return self.exported - np.minimum(value, np.uint64(1 << 32)).astype(np.int64)
        if form in {"s", "ms"}:
            return _bounded(value, US if form == "s" else 1000)
        if self.records.template.fields[index].length < 8:
            return np.zeros(len(self.records), np.int64)
        times = ntp_us(value, self.exported, 1.0 if form == "us" else 1e-3)
        return np.where((value == 0) | (times > LATEST_S * US) | (times < 0), 0, times)

    def _by_uptime(self, value: NDArray[np.uint64]) -> Array:
        if self._init is not None:
            # The uptime wraps: use the candidate closest to the export time.
            near = (self.exported - self._init) // 1000
            behind = (near.astype(np.uint32) - value.astype(np.uint32)).view(np.int32)
            return self._init + (near - behind) * 1000
        if self.guessed:
            behind = (self._uptime.astype(np.uint32) - value.astype(np.uint32)).view(np.int32)
            return self.exported - behind.astype(np.int64) * 1000
        headers = self.records.headers
        return uptime_us(value, headers["uptime_ms"][self.records.message], self.exported)


def _bounded(value: NDArray[np.uint64], step_us: int) -> Array:
    """Convert steps since 1970 to microseconds; 0 after the year 9999."""
    limit = np.uint64(LATEST_S * US // step_us)
    if value.size and value.max() > limit:
        value = np.where(value > limit, np.uint64(0), value)
    return value.astype(np.int64) * step_us
