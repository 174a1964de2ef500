"""The device file: names of devices by MAC or address, with times of validity (CSV)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ethogram._arrays import codes_of
from ethogram._parse_address import parse_address, parse_mac
from ethogram._tables import TextFileError, rows_of
from ethogram.errors import ConfigurationError
from ethogram.flow.devices import Uses
from ethogram.flow.local import INSIDE, UNSPECIFIED
from ethogram.schema import TIME

__all__ = ["FIRST", "LAST", "DeviceFile"]

_COLUMNS = {"device", "mac", "ip", "from", "to"}
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, tzinfo=UTC)

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "kind": pl.String, "key": pl.String, "device": pl.String, "from": TIME, "to": TIME, "line": pl.Int64,
}  # fmt: skip
_Entry = tuple[str, str, str, datetime, datetime, int]


class DeviceFile:
    """Names devices by MAC or address, within their time of validity.

    A MAC is used only if the address is inside, because packets of remote hosts carry the MAC of a router. A MAC takes
    precedence over an address, because addresses are reassigned.

    Parameters
    ----------
    entries
        Columns ``kind`` (mac or ip), ``key``, ``device``, ``from``, ``to`` (exclusive).
    conflicts
        One line for each row that names a device otherwise than an earlier row, and so is not used.
    """

    forgotten = 0

    def __init__(self, entries: pl.DataFrame, conflicts: Sequence[str] = ()) -> None:
        self.conflicts = tuple(conflicts)
        self.entries = entries.sort("kind", "key", "from")
        self.by_time = bool((entries["from"] > FIRST).any() or (entries["to"] < LAST).any())

    @classmethod
    def load(cls, path: Path) -> DeviceFile:
        """Read a device file. Of rows that give one key two names at the same time, the first is used.

        Raises
        ------
        ConfigurationError
            With file and line, for an invalid column or value.
        """
        rows: list[_Entry] = []
        try:
            names, records = rows_of(path.read_bytes())
            header = set(names)
            if "device" not in header or not header & {"mac", "ip"}:
                raise ConfigurationError(f"device file {path}: needs the columns device and mac or ip")
            if header - _COLUMNS:
                raise ConfigurationError(f"device file {path}: unknown column {', '.join(sorted(header - _COLUMNS))}")
            for line, row in records:
                rows += _entries(row, f"device file {path}:{line}", line)
        except OSError as error:
            raise ConfigurationError(f"device file {path}: {error.strerror or error}") from None
        except TextFileError as error:
            place = f"{path}:{error.line}" if error.line else str(path)
            raise ConfigurationError(f"device file {place}: {error.reason}") from None
        if not rows:
            raise ConfigurationError(f"device file {path}: names no device")
        entries, conflicts = _without_conflicts(pl.DataFrame(rows, schema=_SCHEMA, orient="row"), path)
        return cls(entries.drop("line").unique(maintain_order=True), conflicts)

    def learn(self, ends: pl.DataFrame, uses: Uses | None = None) -> None:
        """Do nothing: the file is complete."""

    def behind_routers(self, ends: pl.DataFrame) -> pl.Series:
        """All False: the file decides which MACs name devices."""
        return pl.repeat(False, ends.height, dtype=pl.Boolean, eager=True)

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end (columns ``start``, ``address``, ``mac``, ``place``), null where the file names none."""
        near = ends.select(pl.when(pl.col("place").is_in([INSIDE, UNSPECIFIED])).then("mac").alias("key"))["key"]
        by_mac = self.lookup("mac", near, ends["start"])
        by_address = self.lookup("ip", ends["address"], ends["start"])
        return by_mac.zip_with(by_mac.is_not_null(), by_address)

    def lookup(self, kind: str, keys: pl.Series, start: pl.Series) -> pl.Series:
        """Device of each key (``kind`` mac or ip) at a time, null where the file names none; length N."""
        entries = self.entries.filter(pl.col("kind") == kind)
        if not entries.height or keys.null_count() == len(keys):
            return pl.Series("device", [None] * len(keys), dtype=pl.String)
        often = entries.filter(pl.len().over("key") > 1)
        once = entries.filter(pl.len().over("key") == 1)
        codes, texts = codes_of(keys)
        frame = pl.DataFrame({"key": keys, "start": start})
        valid = (pl.col("start") >= pl.col("from")) & (pl.col("start") < pl.col("to"))
        entry = texts.to_frame("key").join(once, on="key", how="left", maintain_order="left")
        spread = pl.DataFrame([start.alias("start"), *(entry[name].gather(codes) for name in ("device", "from", "to"))])
        device = spread.select(pl.when(valid).then("device").alias("device"))["device"]
        if often.height:
            # Validity times do not overlap, so only the latest that has begun can be valid.
            rows = frame.with_row_index("row").filter(pl.col("key").is_in(often["key"].implode())).sort("start")
            dated = rows.join_asof(
                often.sort("from"), left_on="start", right_on="from", by="key", check_sortedness=False
            ).filter(valid & pl.col("device").is_not_null())
            device = device.scatter(dated["row"], dated["device"])
        return device


def _entries(row: dict[str, str], place: str, line: int) -> list[_Entry]:
    device = row.get("device", "")
    if not device:
        raise ConfigurationError(f"{place}: no device")
    begin, end = _time(row.get("from", ""), place, FIRST), _time(row.get("to", ""), place, LAST)
    if end <= begin:
        raise ConfigurationError(f"{place}: 'to' is not after 'from'")
    entries = []
    if row.get("mac"):
        mac = parse_mac(row["mac"])
        if mac is None:
            raise ConfigurationError(f"{place}: {row['mac']!r} is no MAC")
        entries.append(("mac", mac, device, begin, end, line))
    if row.get("ip"):
        address = parse_address(row["ip"])
        if address is None:
            raise ConfigurationError(f"{place}: {row['ip']!r} is no IP address")
        entries.append(("ip", address, device, begin, end, line))
    if not entries:
        raise ConfigurationError(f"{place}: neither mac nor ip for {device!r}")
    return entries


def _time(text: str, place: str, default: datetime) -> datetime:
    if not text:
        return default
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{place}: {text!r} is no time such as 2024-05-01T12:00:00Z") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _without_conflicts(entries: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Entries that agree with all earlier lines, sorted by key and time, and a line for each of the others."""
    entries = entries.sort("kind", "key", "from", "line")
    latest = pl.col("to").cum_max().shift(1).over("kind", "key")
    clash = (pl.col("device").n_unique().over("kind", "key") > 1) & (pl.col("from") < latest).any().over("kind", "key")
    conflicts: list[str] = []
    used: list[_Entry] = []
    # Row by row, since it is the earlier line that holds, and not the earlier time.
    for _, rows in entries.filter(clash).group_by("kind", "key", maintain_order=True):
        spans = _Spans()
        for row in rows.sort("line").iter_rows():
            _, key, device, begin, end, line = row
            before = spans.add(begin, end, device, line)
            if before is None:
                used.append(row)
            else:
                name, place = before
                conflicts.append(f"{path}:{line}: {key} is {name!r} (line {place}) and {device!r} at once; "
                                 "the first is used")  # fmt: skip
    consistent = pl.concat([entries.filter(~clash), pl.DataFrame(used, schema=_SCHEMA, orient="row")])
    return consistent.sort("kind", "key", "from", "line"), conflicts


class _Spans:
    """Times of one key, each with its device and line; those of one device that overlap are one."""

    def __init__(self) -> None:
        self._begins: list[datetime] = []
        self._spans: list[tuple[datetime, datetime, str, int]] = []

    def add(self, begin: datetime, end: datetime, device: str, line: int) -> tuple[str, int] | None:
        """Add a time; device and line of the earlier row that contradicts it, if there is one."""
        first = bisect_left(self._begins, begin)
        if first and self._spans[first - 1][1] > begin:
            first -= 1
        after = bisect_left(self._begins, end)
        overlapping = self._spans[first:after]
        for _, _, name, place in overlapping:
            if name != device:
                return name, place
        merged = min([begin, *(span[0] for span in overlapping)]), max([end, *(span[1] for span in overlapping)])
        self._spans[first:after] = [(*merged, device, min([line, *(span[3] for span in overlapping)]))]
        self._begins[first:after] = [merged[0]]
        return None
