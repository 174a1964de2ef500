"""The device file: names of devices by MAC or address, with times of validity (CSV)."""

from __future__ import annotations

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


class DeviceFile:
    """Names devices by MAC or address, within their time of validity.

    A MAC is used only if the address is inside, because packets of remote hosts carry the MAC of a router. A MAC takes
    precedence over an address, because addresses are reassigned.

    Parameters
    ----------
    entries
        Columns ``kind`` (mac or ip), ``key``, ``device``, ``from``, ``to`` (exclusive).
    """

    forgotten = 0

    def __init__(self, entries: pl.DataFrame) -> None:
        self.entries = entries.sort("kind", "key", "from")
        self.by_time = bool((entries["from"] > FIRST).any() or (entries["to"] < LAST).any())

    @classmethod
    def load(cls, path: Path) -> DeviceFile:
        """Read a device file.

        Raises
        ------
        ConfigurationError
            With file and line, for an invalid column or value, or a key that names two devices at the same time.
        """
        rows: list[tuple[str, str, str, datetime, datetime, int]] = []
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
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            "kind": pl.String,
            "key": pl.String,
            "device": pl.String,
            "from": TIME,
            "to": TIME,
            "line": pl.Int64,
        }
        entries = pl.DataFrame(rows, schema=schema, orient="row").sort("kind", "key", "from", "line")
        _check_overlap(entries, path)
        return cls(entries.drop("line").unique(maintain_order=True))

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


def _entries(row: dict[str, str], place: str, line: int) -> list[tuple[str, str, str, datetime, datetime, int]]:
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


def _check_overlap(entries: pl.DataFrame, path: Path) -> None:
    before = pl.all().shift(1).over("kind", "key").name.suffix("_before")
    clash = (
        entries.with_columns(before)
        .filter((pl.col("device") != pl.col("device_before")) & (pl.col("from") < pl.col("to_before")))
        .head(1)
    )
    for row in clash.iter_rows(named=True):
        raise ConfigurationError(
            f"device file {path}:{row['line']}: {row['key']} is {row['device_before']!r} and {row['device']!r} at once"
        )
