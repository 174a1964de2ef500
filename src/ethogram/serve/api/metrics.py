"""``/metrics``: every counter in the text format of Prometheus, with help."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Literal

from ethogram.schema import ALERT_KINDS, ALERT_STATES
from ethogram.serve.api.context import Context

__all__ = ["metrics_text"]

_ESCAPES = {"\\": "\\\\", "\n": "\\n", '"': '\\"'}
_States = ("running", "starting", "degraded", "stopped", "failed")
Sample = tuple[Mapping[str, str], float]


def _label(text: str) -> str:
    return re.sub(r'[\\\n"]', lambda match: _ESCAPES[match.group()], text)


def _family(name: str, kind: Literal["counter", "gauge"], text: str, samples: Iterable[Sample]) -> list[str]:
    """One metric with its samples.

    >>> _family("devices", "gauge", "Devices by kind.", [({"kind": 'a"b'}, 2)])[-1]
    'ethogram_devices{kind="a\\\\"b"} 2'
    """
    lines = [f"# HELP ethogram_{name} {text}", f"# TYPE ethogram_{name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_label(each)}"' for key, each in labels.items())
        number = repr(float(value)) if value != int(value) else str(int(value))
        lines.append(f"ethogram_{name}{{{inner}}} {number}" if inner else f"ethogram_{name} {number}")
    return lines


def metrics_text(context: Context) -> str:
    """All metrics; the part of the store is left out while it does not answer."""
    store, health = context.store, context.service.health()
    overview, samples, exporters = store.overview(), store.counters(), store.exporters()
    alerts = store.alerts_by_kind()
    families = [
        _family("devices", "gauge", "Devices by kind; empty: not known.",
                [({"kind": kind}, count) for kind, count in overview.by_kind.items()]),
        _family("devices_by_state", "gauge", "Devices by state; a device counts once for every state that applies.",
                [({"state": state}, count) for state, count in overview.by_state.items()]),
        _family("alerts", "gauge", "Alerts by kind, severity and state.", [
            ({"kind": kind, "severity": ALERT_KINDS[kind].severity, "state": state}, alerts.get((kind, state), 0))
            for kind in ALERT_KINDS for state in ALERT_STATES
        ]),
        _family("alerts_total", "counter", "What the rules of alerts found, by what became of it.",
                [({"outcome": name}, count) for name, count in store.alert_counters().items()]),
        _family("pipeline_total", "counter", "Items of each stage of the pipeline by outcome and reason.", [
            ({"stage": each.stage, "outcome": each.outcome, "reason": each.reason, "unit": each.unit}, each.value)
            for each in samples
        ]),
        _family("exporter_messages_total", "counter", "Messages of an exporter.",
                [({"exporter": f"{each.address}:{each.port}"}, each.messages) for each in exporters]),
        _family("exporter_records_total", "counter", "Records of an exporter.",
                [({"exporter": f"{each.address}:{each.port}"}, each.records) for each in exporters]),
        _family("exporter_gaps_total", "counter", "Units that an exporter sent and that did not arrive.",
                [({"exporter": f"{each.address}:{each.port}"}, each.gaps) for each in exporters]),
        _family("part_state", "gauge", "State of each part of the service: 1 for the state that it is in.", [
            ({"part": each.part, "state": state}, float(each.state == state)) for each in health for state in _States
        ]),
        _family("part_figure", "gauge", "Figures of the parts of the service, as the lag of the judge in seconds.", [
            ({"part": each.part, "figure": name}, value) for each in health for name, value in each.figures.items()
        ]),
        _family("sink_events_total", "counter", "Events of each sink by what became of them.", [
            ({"sink": each.part.removeprefix("sink "), "outcome": outcome}, each.figures[outcome])
            for each in health if each.part.startswith("sink ")
            for outcome in ("sent", "failed", "refused", "dropped") if outcome in each.figures
        ]),
        _family("sink_waiting", "gauge", "Events that wait for the receiver of a sink.", [
            ({"sink": each.part.removeprefix("sink ")}, each.figures["waiting"])
            for each in health if each.part.startswith("sink ") and "waiting" in each.figures
        ]),
        _family("web_requests_total", "counter", "Requests to the page and the API by method and status.", [
            ({"method": method, "status": str(status)}, count)
            for (method, status), count in sorted(context.requests.items())
        ]),
        _family("web_refused_total", "counter", "Requests refused before they were read, by reason.",
                [({"reason": reason}, count) for reason, count in sorted(context.bounds.refused.items())]),
        _family("web_streams", "gauge", "Open streams of events.", [({}, context.streams)]),
        _family("captures_total", "counter", "Uploaded captures by result.",
                [({"result": result}, count) for result, count in sorted(context.captures.counts.items())]),
        _family("last_event_id", "counter", "Id of the latest event.", [({}, store.last_event())]),
        _family("start_time_seconds", "gauge", "Time at which the service started.",
                [({}, context.started.timestamp())]),
        _family("clock_seconds", "gauge", "Time of this answer.", [({}, time.time())]),
    ]  # fmt: skip
    return "\n".join(line for family in families for line in family) + "\n"
