"""Read published customFlow files (Parquet, one row per flow, one column per feature).

Columns Device, FirstSeen, RemIP, Proto, DevPort, RemPort, TotalFlowSize, PacketCount; P00_TO, P00_PS, P00_D and so on
for 10 or 11 packets (time offset in seconds, size in octets, direction 1 from the device); C_000 to C_2999, the
payload symbols: -4 start, -8 end, 0 to 255 octets; any other negative number, NaN or null is padding.

Reference: doi 10.5061/dryad.6q573n6c1 and 10.5061/dryad.7h44j1098, and the format's description by their authors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.config import CustomFlowSettings
from ethogram.errors import InputError
from ethogram.schema import TIME, Accounting, CustomFlows, private_mask

__all__ = ["is_published", "published_flows"]

COMPILER = Compiler.of(__file__)

START, END = -4, -8
PACKETS, SYMBOLS = 10, 3000
BATCH_ROWS = 2048
KEYS = ("Device", "FirstSeen", "RemIP", "Proto", "DevPort", "RemPort", "TotalFlowSize", "PacketCount")
SYMBOL_NAMES = tuple(f"C_{i:03d}" for i in range(SYMBOLS))
PACKET_NAMES = tuple(f"P{k:02d}_{what}" for k in range(PACKETS) for what in ("TO", "PS", "D"))
ELEVENTH = "P10_PS"
PROTOCOLS = {"tcp": "6", "udp": "17"}


def is_published(columns: Collection[str]) -> bool:
    """Whether a table with these columns has the published layout.

    Examples
    --------
    >>> is_published({"Device", "RemIP", "C_000"}), is_published({"device", "remote"})
    (True, False)
    """
    return {"Device", "RemIP", "C_000"} <= set(columns)


@COMPILER.checked
def parse_symbols(symbols: Any, count: Any, lengths: Any, octets: Any, problem: Any) -> int:
    """Convert payload symbols to the lengths and octets of the packets.

    Parameters
    ----------
    symbols
        int16 [3000, N]; -1 is padding.
    count
        Packets of each flow, [N].
    lengths
        Written: octets of each packet, uint16 [N, 10].
    octets
        Written: the octets of all flows.
    problem
        Written: 1 where marks do not pair up or there are more packets than the flow has; 2 where a symbol is none.

    Returns
    -------
    Octets written.
    """
    at = 0
    for row in range(symbols.shape[1]):
        packet = -1
        is_open = False
        for i in range(symbols.shape[0]):
            symbol = symbols[i, row]
            if symbol == START:
                if is_open:
                    problem[row] = max(problem[row], 1)
                packet += 1
                is_open = True
            elif symbol == END:
                if not is_open:
                    problem[row] = max(problem[row], 1)
                is_open = False
            elif symbol > 255:
                problem[row] = 2
            elif symbol >= 0:
                if not is_open:  # octets without a start symbol begin a packet
                    problem[row] = max(problem[row], 1)
                    packet += 1
                    is_open = True
                if packet < count[row]:
                    octets[at] = symbol
                    at += 1
                    lengths[row, packet] += 1
            if packet >= count[row]:
                if packet < PACKETS:
                    problem[row] = max(problem[row], 1)
                break
    return at


def published_flows(
    path: Path, accounting: Accounting, settings: CustomFlowSettings | None = None
) -> Iterator[CustomFlows]:
    """Read a file of the published layout in batches.

    Parameters
    ----------
    path
        A Parquet file; times may be timestamps, ISO text, or numbers since 1970 in seconds (or in ms, µs or ns, told
        by their size), addresses dotted text or numbers, protocols numbers or names.
    accounting
        Over the unit ``custom flows``: rows used, ignored and dropped by reason.
    settings
        Says which remote addresses are private.

    Raises
    ------
    InputError
        When columns are missing, or the file is damaged.
    """
    private = (settings or CustomFlowSettings()).private
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = set(file.schema_arrow.names)
        wanted = [*KEYS, *PACKET_NAMES, *SYMBOL_NAMES]
        missing = [name for name in wanted if name not in names]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InputError(f"not the published layout: no column {', '.join(missing[:5])}{more}", file=path)
        columns = [*wanted, ELEVENTH] if ELEVENTH in names else wanted
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            yield _flows(batch, accounting, private, path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"damaged Parquet file: {str(error).splitlines()[0]}", file=path) from None


def _flows(batch: pyarrow.RecordBatch, accounting: Accounting, private: tuple[str, ...], path: Path) -> CustomFlows:
    keys = _keys(batch, path)
    described = np.stack([_numbers(batch.column(name), np.nan) for name in PACKET_NAMES], axis=1).reshape(
        -1, PACKETS, 3
    )
    with np.errstate(invalid="ignore"):
        is_packet = (described[:, :, 0] >= 0) & (described[:, :, 1] >= 0)
    count = np.where(is_packet.all(axis=1), PACKETS, np.argmin(is_packet, axis=1))
    symbols = np.empty((SYMBOLS, batch.num_rows), np.int16)
    for i, name in enumerate(SYMBOL_NAMES):
        symbols[i] = np.clip(_numbers(batch.column(name), -1), -9, 256)
    lengths = np.zeros((batch.num_rows, PACKETS), np.uint16)
    octets = np.empty(symbols.size, np.uint8)
    problem = np.zeros(batch.num_rows, np.uint8)
    octets = octets[: parse_symbols(symbols, count, lengths, octets, problem)]

    accounting.read += batch.num_rows
    used = np.ones(batch.num_rows, np.bool_)
    reasons = {
        **{f"no {name}": keys[name].is_null().to_numpy() for name in KEYS},
        "no packet": count == 0,
        "a symbol above 255": problem == 2,
    }
    for reason, here in reasons.items():
        accounting.drop(reason, int((here & used).sum()))
        used &= ~here
    accounting.used += int(used.sum())
    accounting.correct("payload marks that do not fit the packets", int(((problem == 1) & used).sum()))
    accounting.correct("an eleventh packet left out", int((_has_eleventh(batch) & used).sum()))

    of_packet = np.arange(PACKETS) < count[:, None]
    first_packet = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    kept_lengths = lengths[of_packet]
    first_octet = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept_lengths, dtype=np.int64)])[first_packet]
    remote = keys["RemIP"].fill_null(0).to_numpy().astype(np.uint32)
    remote[private_mask(remote, private)] = 0

    def whole(name: str, kind: type[np.generic]) -> NDArray[Any]:
        return keys[name].fill_null(0).to_numpy().astype(kind)

    flows = CustomFlows(
        device=keys["Device"].alias("device"),
        start_us=whole("FirstSeen", np.int64),
        remote=remote,
        remote_port=whole("RemPort", np.uint16),
        device_port=whole("DevPort", np.uint16),
        protocol=whole("Proto", np.uint8),
        octets=whole("TotalFlowSize", np.uint64),
        packets=whole("PacketCount", np.uint64),
        first_packet=first_packet,
        packet_offset_us=np.round(np.clip(described[:, :, 0][of_packet], 0, 4000) * 1e6).astype(np.uint32),
        packet_octets=np.clip(described[:, :, 1][of_packet], 0, 1 << 31).astype(np.uint32),
        packet_out=(described[:, :, 2][of_packet] > 0).astype(np.uint8),
        payload_octets=kept_lengths,
        first_octet=first_octet,
        payload=octets,
    )
    return flows if used.all() else flows.take(np.flatnonzero(used))


def _has_eleventh(batch: pyarrow.RecordBatch) -> NDArray[np.bool_]:
    if ELEVENTH not in batch.schema.names:
        return np.zeros(batch.num_rows, np.bool_)
    return np.asarray(_numbers(batch.column(ELEVENTH), -1) >= 0)


def _numbers(array: Any, missing: float) -> NDArray[Any]:
    """Values of a numeric column, with ``missing`` in place of null and NaN."""
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind in "iub":
        return np.asarray(values)
    values = np.asarray(values, np.float64)
    return values if np.isnan(missing) else np.where(np.isnan(values), missing, values)


def _keys(batch: pyarrow.RecordBatch, path: Path) -> dict[str, pl.Series]:
    """The key columns as integers (the device as text); null for invalid values."""
    keys = {name: pl.Series(name, pl.from_arrow(batch.column(name))) for name in KEYS}
    try:
        keys["Device"] = keys["Device"].cast(pl.String)
        keys["FirstSeen"] = _time_us(keys["FirstSeen"])
        keys["RemIP"] = _address(keys["RemIP"])
        if keys["Proto"].dtype == pl.String:
            text = keys["Proto"].str.to_lowercase().replace(PROTOCOLS)
            keys["Proto"] = text.cast(pl.Int64, strict=False)
        bounds = {"Proto": 255, "DevPort": 65535, "RemPort": 65535, "TotalFlowSize": 1 << 62, "PacketCount": 1 << 62}
        for name, most in bounds.items():
            value = keys[name].cast(pl.Int64, strict=False)
            keys[name] = value.set(~value.is_between(0, most), None)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"not the published layout: {str(error).splitlines()[0]}", file=path) from None
    return keys


def _time_us(series: pl.Series) -> pl.Series:
    """Times in any notation as microseconds since 1970; null for invalid values."""
    if series.dtype == pl.String:
        parsed = series.str.to_datetime(time_zone="UTC", time_unit="us", strict=False)
        return (
            parsed.dt.epoch("us")
            if parsed.null_count() < len(parsed)
            else _since_1970(series.cast(pl.Float64, strict=False))
        )
    if series.dtype.is_temporal():
        return series.cast(TIME).dt.epoch("us")
    return _since_1970(series.cast(pl.Float64, strict=False))


def _since_1970(values: pl.Series) -> pl.Series:
    frame = values.alias("value").to_frame()
    value = pl.col("value")
    scaled = (
        pl.when(value < 1e11).then(value * 1e6).when(value < 1e14).then(value * 1e3).when(value < 1e17).then(value)
        .otherwise(value / 1e3)
    )  # fmt: skip
    return frame.select(pl.when(value.is_finite() & (value >= 0)).then(scaled).round().cast(pl.Int64).alias("us"))["us"]


def _address(series: pl.Series) -> pl.Series:
    """IPv4 addresses as integers; null for invalid values."""
    if series.dtype != pl.String:
        value = series.cast(pl.Int64, strict=False)
        return value.set(~value.is_between(0, 0xFFFFFFFF), None)
    parts = series.alias("text").to_frame().select(pl.col("text").str.strip_chars().str.split_exact(".", 4))
    octets = [pl.col("text").struct.field(f"field_{i}").cast(pl.Int64, strict=False) for i in range(4)]
    whole = pl.all_horizontal([octet.is_between(0, 255) for octet in octets])
    nothing_more = pl.col("text").struct.field("field_4").is_null()
    number = sum((octet * (1 << (24 - 8 * i)) for i, octet in enumerate(octets)), start=pl.lit(0, dtype=pl.Int64))
    return parts.select(pl.when(whole & nothing_more).then(number).alias("number"))["number"]
