"""What the live service has stored, in the form that exports and sinks give to other tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from ethogram.pipeline.service_use import ServiceUse, add_uses, uses_of_counts
from ethogram.schema import (
    ALERT_KINDS,
    FLOW,
    AlertRow,
    DueDevice,
    EventRow,
    ExportedDevice,
    SinkEvent,
)
from ethogram.serve.facts import FAILURES
from ethogram.serve.segments import segments_in
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

__all__ = ["DevicesRead", "event_of_alert", "sink_events", "stored_alerts", "stored_devices", "stored_uses"]

PAGE, AT_ONCE, MOST_FLOWS = 1000, 200, 1 << 18
_COLUMNS = ["device", "remote", "remote_name", "protocol", "service_port", "role", "scope", "initiator", "answered",
            "start", "packets_out", "packets_in"]  # fmt: skip


def stored_devices(store: Store, *, facts: bool = False) -> list[ExportedDevice]:
    """All devices that are not ignored, in order of name.

    Parameters
    ----------
    store
        The store.
    facts
        Also give all their addresses, MACs and host names, and why the statement changed last.
    """
    rows: list[ExportedDevice] = []
    while (part := store.devices(offset=len(rows), limit=PAGE)).rows:
        rows += [ExportedDevice.of_row(row) for row in part.rows]
    if not facts:
        return rows
    named: list[ExportedDevice] = []
    for start in range(0, len(rows), PAGE):
        some = rows[start : start + PAGE]
        about = store.names_and_reasons([device.id for device in some])
        named += [_with_facts(device, *about[device.id]) for device in some]
    return named


class DevicesRead:
    """All devices with their names, read again only when something has changed.

    Parameters
    ----------
    store
        The store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._mark: tuple[object, ...] | None = None
        self._devices: list[ExportedDevice] = []

    def __call__(self) -> list[ExportedDevice]:
        """The devices as they are now."""
        mark = self.store.mark()
        if mark != self._mark:
            self._devices, self._mark = stored_devices(self.store, facts=True), mark
        return self._devices


def _with_facts(
    device: ExportedDevice, keys: Mapping[str, Sequence[str]], reason: str, evidence: Sequence[str]
) -> ExportedDevice:  # fmt: skip
    def all_of(kind: str, first: Sequence[str] = ()) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*first, *keys.get(kind, ())]))

    return replace(
        device, addresses=all_of("address", device.addresses), macs=all_of("mac", device.macs),
        host_names=all_of("hostname"), reason="; ".join(evidence[:3]) or reason,
    )  # fmt: skip


def stored_alerts(store: Store, devices: Iterable[ExportedDevice]) -> list[SinkEvent]:
    """Alerts that are open or acknowledged, the latest first."""
    known = {device.id: device for device in devices}
    alerts: list[SinkEvent] = []
    for state in ("open", "acknowledged"):
        offset = 0
        while rows := store.alerts(state=state, offset=offset, limit=PAGE).rows:
            offset += len(rows)
            alerts += [event_of_alert(row, known.get(row.device)) for row in rows]
    return sorted(alerts, key=lambda event: event.time, reverse=True)


def event_of_alert(row: AlertRow, device: ExportedDevice | None, id_: int = 0) -> SinkEvent:
    """An alert as an event."""
    return SinkEvent(
        id_ or row.id, row.last, "alert", row.severity, ALERT_KINDS[row.kind].title if row.kind in ALERT_KINDS
        else row.kind, row.text, device,
        {"alert": row.id, "kind": row.kind, "state": row.state, "evidence": list(row.evidence),
         "first": row.first.isoformat(), "count": row.count},
    )  # fmt: skip


def sink_events(store: Store, rows: Sequence[EventRow]) -> list[SinkEvent]:
    """Events of the store with their devices and alerts, as sinks send them."""
    devices = store.rows(list({row.device for row in rows if row.device}))
    events: list[SinkEvent] = []
    for row in rows:
        exported_device = devices.get(row.device)
        device = None if exported_device is None else ExportedDevice.of_row(exported_device)
        if row.kind == "alert":
            alerts = store.alerts(id_=int(row.data.get("alert", 0)), limit=1).rows
            if alerts:
                event = replace(event_of_alert(alerts[0], device, row.id), time=row.time)
                events.append(replace(event, data=event.data | {"reopened": bool(row.data.get("reopened"))}))
                continue
        name = str(row.data.get("name") or (device.name if device else row.device))
        events.append(SinkEvent(row.id, row.time, row.kind, "info", _TITLES.get(row.kind, row.kind.capitalize()),
                                _text(row, name), device, dict(row.data)))  # fmt: skip
    return events


_TITLES = {"device new": "New device", "verdict changed": "Changed statement", "label": "Label", "state": "State"}


def _text(row: EventRow, name: str) -> str:
    """An event in one line."""
    if row.kind == "device new":
        return f"{name} appeared"
    if row.kind == "verdict changed":
        before, after = row.data.get("before"), row.data.get("after")
        return f"{name}: {after or 'unknown'}" + (f", was {before}" if before else "")
    return f"{name}: {row.kind}" if name else row.kind


def stored_uses(
    store: Store, folder: Path, counts: StoredCounts, devices: Sequence[str]
) -> tuple[ServiceUse, list[str]]:
    """Use of services by devices of the store, with their ids, and the addresses of the other ends' names.

    Parameters
    ----------
    store
        With the names of devices over time.
    folder
        Of the flow tables of the collector, which have host names and addresses.
    counts
        Read for devices of which there are no flow tables; they have domains only.
    devices
        Ids.

    Returns
    -------
    The uses, and lines for the user.
    """
    wanted = set(devices)
    due: list[DueDevice] = []
    after = ""
    while part := store.judged_devices(after, limit=PAGE):
        after = part[-1].id
        due += [device for device in part if device.id in wanted]
    use = _of_segments(folder, due)
    with_flows = set(use.uses["device"].unique())
    rest = [device for device in due if device.id not in with_flows]
    for start in range(0, len(rest), AT_ONCE):
        use.uses = add_uses(use.uses, uses_of_counts(counts.of_devices(rest[start : start + AT_ONCE])))
    notes = []
    if rest:
        notes.append(f"{len(rest):,} of {len(due):,} devices have no flow tables: their other ends are domains")
    return use, notes


def _of_segments(folder: Path, due: Sequence[DueDevice]) -> ServiceUse:
    names = pl.DataFrame(
        [(name, device.id, first, last) for device in due for name, first, last in device.names], orient="row",
        schema={"device": pl.String, "id": pl.String, "since": FLOW.schema["start"], "until": FLOW.schema["start"]},
    )  # fmt: skip
    use = ServiceUse()
    waiting: list[pl.DataFrame] = []
    for path in segments_in(folder).values():
        try:
            flows = pl.scan_parquet(path).select(_COLUMNS).with_columns(pl.col("device").cast(pl.String))
            flows = flows.join(names.lazy(), on="device").filter(pl.col("start").is_between("since", "until"))
            waiting.append(flows.with_columns(device="id").drop("id", "since", "until").collect())
        except FAILURES:  # removed by retention, or damaged, which the judge has counted
            continue
        if sum(part.height for part in waiting) >= MOST_FLOWS:
            use.add(pl.concat(waiting))
            waiting = []
    if waiting:
        use.add(pl.concat(waiting))
    return use
