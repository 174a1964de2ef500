"""State of the fingerprint exporter on disk: one file, written atomically and verified when it is read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from pathlib import Path

import orjson
import polars as pl
import pyarrow
import pyarrow.ipc

from ethogram._files import write_bytes
from ethogram.config import BoundSettings, CountSettings, ExporterSettings
from ethogram.errors import LibraryError
from ethogram.fingerprint.device import DeviceState
from ethogram.fingerprint.exporter import FingerprintExporter, profiles_of, settings_digest
from ethogram.schema import COUNTS, Accounting

__all__ = ["STATE_FORMAT", "UNREADABLE", "forget_devices", "restore", "save", "table_of"]

STATE_FORMAT = "ethogram.exporter-state/1"
UNREADABLE = (Exception, pl.exceptions.PanicException)
"""What libraries may raise on content that has a valid checksum but was not written by this module."""
_WHERE = "closed"  # True for counts of a closed epoch (held by an open window), False for one still pending


def save(exporter: FingerprintExporter, path: str | Path) -> None:
    """Write the state; the file is replaced atomically, so a crash leaves the old one.

    The file is one line of JSON (format, settings, checksum, lengths), a JSON body, and an Arrow IPC table of the
    counts in open windows and open epochs.
    """
    body = orjson.dumps(
        {
            "clock_us": exporter.clock_us,
            "evicted": exporter.evicted,
            "unchanged": exporter.unchanged,
            "accounting": exporter.accounting.as_dict(),
            "devices": [
                {"device": state.device, "epochs": state.epochs, "run": state.run, "last_epoch": state.last_epoch,
                 "last_similarity": state.last_similarity, "known": state.known}
                for _, state in sorted(exporter.devices.items())
            ],
        }
    )  # fmt: skip
    table = io.BytesIO()
    pl.concat(
        [exporter.held.with_columns(pl.lit(value=True).alias(_WHERE)),
         exporter.pending.with_columns(pl.lit(value=False).alias(_WHERE))]
    ).write_ipc(table, compression="zstd")  # fmt: skip
    payload = body + table.getvalue()
    head = orjson.dumps(
        {
            "format": STATE_FORMAT,
            "settings": settings_digest(exporter.settings, exporter.counting),
            "sha256": hashlib.sha256(payload).hexdigest(),
            "json_octets": len(body),
        }
    )
    write_bytes(Path(path), head + b"\n" + payload)


def forget_devices(path: Path, devices: Collection[str]) -> None:
    """Remove devices from a saved state, which is replaced whole; a state that cannot be used is deleted.

    Parameters
    ----------
    path
        File written by :func:`save`.
    devices
        Their names in the flow table.
    """
    line, _, payload = path.read_bytes().partition(b"\n")
    try:
        head = orjson.loads(line)
        body, table = orjson.loads(payload[: head["json_octets"]]), table_of(payload[head["json_octets"] :])
        body["devices"] = [state for state in body["devices"] if state["device"] not in devices]
        rest = io.BytesIO()
        table.filter(~pl.col("device").cast(pl.String).is_in(list(devices))).write_ipc(rest, compression="zstd")
    except UNREADABLE:
        path.unlink(missing_ok=True)
        return
    json = orjson.dumps(body)
    new = json + rest.getvalue()
    head |= {"sha256": hashlib.sha256(new).hexdigest(), "json_octets": len(json)}
    write_bytes(path, orjson.dumps(head) + b"\n" + new)


def restore(
    path: str | Path, settings: ExporterSettings | None = None, counting: CountSettings | None = None, *,
    max_devices: int | None = 100_000, ahead_s: float = 300.0, bounds: BoundSettings | None = None,
    clean_start: bool = False,
) -> FingerprintExporter:  # fmt: skip
    """Create an exporter from a saved state.

    Parameters
    ----------
    path
        File written by :func:`save`. If it does not exist, the exporter starts empty.
    settings, counting, max_devices, ahead_s, bounds
        As for :class:`~ethogram.fingerprint.exporter.FingerprintExporter`; the state must have the same settings.
    clean_start
        Also start empty if the state cannot be used, instead of raising.

    Raises
    ------
    LibraryError
        When the file is damaged, or has another version or other settings.
    """
    def fresh() -> FingerprintExporter:
        return FingerprintExporter(settings, counting, max_devices=max_devices, ahead_s=ahead_s, bounds=bounds)

    exporter = fresh()
    source = Path(path)
    if not source.exists():
        return exporter
    try:
        _load(exporter, source)
    except LibraryError:
        if not clean_start:
            raise
        return fresh()
    return exporter


def _load(exporter: FingerprintExporter, source: Path) -> None:
    """Fill an exporter from a file, or raise a one-line error."""
    line, _, payload = source.read_bytes().partition(b"\n")
    try:
        head = orjson.loads(line)
        form, digest, checksum, octets = (head[key] for key in ("format", "settings", "sha256", "json_octets"))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise LibraryError(f"{source}: no exporter state") from None
    if form != STATE_FORMAT:
        raise LibraryError(f"{source}: exporter state of another version ({form}, not {STATE_FORMAT})")
    if hashlib.sha256(payload).hexdigest() != checksum:
        raise LibraryError(f"{source}: exporter state is damaged (its checksum does not agree)")
    if digest != settings_digest(exporter.settings, exporter.counting):
        raise LibraryError(f"{source}: exporter state was made with other settings ({digest})")
    try:
        _fill(exporter, payload[:octets], payload[octets:])
    except UNREADABLE as error:  # possible despite the checksum, for a crafted file
        first = str(error).partition("\n")[0]
        raise LibraryError(f"{source}: exporter state is damaged ({type(error).__name__}: {first})") from None


def _fill(exporter: FingerprintExporter, json: bytes, counts: bytes) -> None:
    body = orjson.loads(json)
    table = table_of(counts)
    names = [*COUNTS.names, "epoch"]
    exporter.held = table.filter(_WHERE).select(names)
    exporter.pending = table.filter(~pl.col(_WHERE)).select(names)
    exporter.clock_us = body["clock_us"]
    exporter.evicted, exporter.unchanged = body["evicted"], body["unchanged"]
    exporter.accounting = _accounting(body["accounting"])
    profiles = {(epoch, device): profile for epoch, device, profile in profiles_of(exporter.held, exporter.settings)}
    for saved in body["devices"]:
        state = DeviceState(**saved)
        state.profiles = [profiles[epoch, state.device] for epoch in state.epochs]
        exporter.devices[state.device] = state


def table_of(octets: bytes) -> pl.DataFrame:
    """Read an Arrow IPC file from untrusted octets.

    PyArrow's reader validates its input; that of Polars aborts the process on invalid lengths.
    """
    arrow = pyarrow.ipc.open_file(pyarrow.BufferReader(octets)).read_all()
    arrow.validate(full=True)
    return pl.DataFrame(pl.from_arrow(arrow))


def _accounting(saved: dict[str, object]) -> Accounting:
    accounting = Accounting(str(saved["unit"]))
    accounting.read, accounting.used = int(str(saved["read"])), int(str(saved["used"]))
    for name in ("ignored", "dropped", "corrected"):
        reasons = saved[name]
        if isinstance(reasons, dict):
            getattr(accounting, name).update(reasons)
    return accounting
