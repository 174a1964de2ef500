"""What the templates show, made from rows of the store: plain data, no HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from ethogram._units import span_text
from ethogram.errors import EthogramError
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.text import plural
from ethogram.schema import DeviceDetail, DeviceFact, Overview, ServiceHealth, VerdictChange
from ethogram.schema.service_words import service_words
from ethogram.serve.api.context import Context
from ethogram.serve.api.service_view import HourlyOctets
from ethogram.serve.page.kinds import GROUPS, group_of
from ethogram.serve.page.remedies import Remedy, remedy_of
from ethogram.serve.page.text import STATE_NAMES, kind_label, number, octets, service_text, share

__all__ = [
    "Choice", "HealthLine", "arrived", "capture_rows", "choices", "counter_rows", "evidence", "facts_of", "figure",
    "health_line", "heat_map", "kind_bars", "ladder", "news", "problems", "settings_sections", "todo", "traffic_chart",
    "vendor_bars",
]  # fmt: skip

Choice = tuple[str, str, int | None]
_MOST_BARS, _MOST_EVIDENCE, _MOST_SERVICES, _MOST_VENDORS = 12, 14, 16, 300
_STATES = ("new", "changed", "several", "unknown", "silent", "known", "ignored")


@dataclass(frozen=True)
class HealthLine:
    """The answer to *is it working?* in one line."""

    state: str
    text: str
    problem: str = ""
    figures: list[tuple[str, str]] = field(default_factory=list)


def health_line(context: Context) -> HealthLine:
    """The worst state of any part, with what it says, and the figures that describe the flow of records."""
    parts = list(context.service.health())
    try:
        context.store.check()
    except EthogramError as error:
        return HealthLine("failed", "The store does not answer", str(error))
    order = ("failed", "degraded", "starting", "stopped", "running")
    worst = min(parts, key=lambda part: order.index(part.state), default=None)
    figures = _figures(parts)
    exporters = context.store.exporters()
    if exporters:
        figures.append((number(len(exporters)), "exporter" if len(exporters) == 1 else "exporters"))
        gaps = sum(each.gaps for each in exporters)
        figures.append((number(gaps), "lost on the way"))
    if worst is None:
        return HealthLine("off", "No part of the service runs here", figures=figures)
    if worst.state == "running":
        return HealthLine("running", "Working", figures=figures)
    text = {"failed": "Not working", "degraded": "Working, with a problem", "starting": "Starting"}
    problem = f"{worst.part}: {worst.message}" if worst.message else worst.part
    return HealthLine(worst.state, text.get(worst.state, f"{worst.part.capitalize()} is stopped"), problem, figures)


_UNITS = {
    "records_s": "records/s", "flows_s": "flows/s", "flows": "flows", "lag_s": "behind",
    "round_s": "for the latest round", "queue_share": "of the queue used", "judged": "devices in the latest round",
    "segments": "segments in the latest round", "sent": "events sent", "failed": "attempts failed",
    "refused": "events refused", "dropped": "events dropped", "waiting": "events waiting",
}  # fmt: skip
_IN_LINE = ("records_s", "flows_s", "flows", "lag_s", "queue_share")
_LONGEST_LAG_S = 30 * 86_400  # beyond, the data is old by itself: files of another year


def figure(name: str, value: float) -> tuple[str, str]:
    """A figure of a part of the service: value and unit.

    >>> figure("lag_s", 90.0), figure("queue_share", 0.031), figure("odd_name", 3.0)
    (('2 min', 'behind'), ('3 %', 'of the queue used'), ('3', 'odd name'))
    """
    unit = _UNITS.get(name, name.replace("_", " "))
    if name == "queue_share":
        return share(value), unit
    if name == "round_s":
        return f"{value:.1f} s", unit
    return (span_text(value) if name == "lag_s" else number(value)), unit


def _figures(parts: Iterable[ServiceHealth]) -> list[tuple[str, str]]:
    named = {name: value for part in parts for name, value in part.figures.items()}
    lag = named.get("lag_s", 0.0)
    if lag > _LONGEST_LAG_S:
        del named["lag_s"]
    old = [(f"{datetime.now(UTC) - timedelta(seconds=lag):%Y-%m-%d}", "latest data")] if lag > _LONGEST_LAG_S else []
    return [figure(name, named[name]) for name in _IN_LINE if name in named] + old


def choices(overview: Overview) -> dict[str, list[Choice]]:
    """Values of the filters, with the number of devices; ``-`` is *not known*."""

    def counted(values: Mapping[str, int], label: Any = str) -> list[Choice]:
        rows = [(value, label(value), count) for value, count in values.items() if value]
        rows.sort(key=lambda row: (-row[2], row[1].lower()))
        unknown = values.get("", 0)
        return [*rows[:_MOST_VENDORS], *([("-", "not known", unknown)] if unknown else [])]

    return {
        "kind": counted(overview.by_kind, kind_label), "vendor": counted(overview.by_vendor),
        "network": counted(overview.by_network),
        "state": [(state, STATE_NAMES[state], overview.by_state.get(state)) for state in _STATES],
    }  # fmt: skip


def kind_bars(overview: Overview) -> list[tuple[str, str, int]]:
    """Kinds by number of devices."""
    rows = sorted(overview.by_kind.items(), key=lambda row: (-row[1], row[0]))
    return [(kind, kind_label(kind), count) for kind, count in rows]


def vendor_bars(overview: Overview) -> tuple[list[tuple[str, str, int]], int]:
    """The vendors with most devices, and how many more there are."""
    rows = sorted(overview.by_vendor.items(), key=lambda row: (-row[1], row[0]))
    return [(name, name or "not known", count) for name, count in rows[:_MOST_BARS]], max(len(rows) - _MOST_BARS, 0)


def todo(context: Context, overview: Overview, groups: int, alerts: int) -> list[tuple[str, str, str]]:
    """What the user may do next: text, address and name of the link."""
    lines = []
    states = overview.by_state
    if alerts:
        lines.append((f"{plural(alerts, 'alert is', 'alerts are')} open.", "/alerts", _look_at(alerts)))
    if groups:
        lines.append((f"{plural(groups, 'group')} of unknown devices can be named at once.", "/unknown", "Name them"))
    elif unknown := states.get("unknown"):
        text = f"{plural(unknown, 'device is', 'devices are')} unknown."
        lines.append((text, "/devices?state=unknown", _look_at(unknown)))
    if states.get("changed"):
        text = f"What is stated about {plural(states['changed'], 'device')} has changed."
        lines.append((text, "/devices?state=changed", "See what"))
    wrong = problems(context)
    if wrong:
        title, lost, _ = wrong[0]
        lines.append((f"{title}{f': {number(lost)}' if lost else ''}.", "/collectors", "See why"))
    return lines


def _look_at(count: int) -> str:
    return "Look at it" if count == 1 else "Look at them"


def news(changes: Iterable[VerdictChange]) -> list[VerdictChange]:
    """Changes without the first judgement of devices that are unknown."""
    return [change for change in changes if change.before or change.level != "unknown"]


def ladder(detail: DeviceDetail) -> dict[str, Any] | None:
    """Levels of the verdict with the alternatives of each."""
    verdict = detail.verdict or {}
    document = verdict.get("ladder")
    if not document or not document.get("levels"):
        return None
    levels = []
    for level in document["levels"]:
        top = level.get("top") or {}
        others = [(_label_name(level["level"], name), score)
                  for name, score in sorted(top.items(), key=lambda item: -item[1])
                  if name != level["label"] and score >= 0.01][:3]  # fmt: skip
        levels.append({**level, "others": others, "evidence": level.get("evidence") or []})
    return {**document, "levels": levels}


def _label_name(level: str, label: str) -> str:
    """A label of a level as it is shown; a family is ``vendor/kind``."""
    if level == "kind":
        return kind_label(label)
    knowledge = Knowledge.bundled()
    if level == "family":
        vendor, _, kind = label.rpartition("/")
        return f"{knowledge.vendor_name(vendor)} {kind_label(kind)}"
    return knowledge.vendor_name(label) if level in ("vendor", "platform") else label


def evidence(detail: DeviceDetail) -> dict[str, Any]:
    """Services of the device and of its nearest label, the largest contributions first."""
    verdict = detail.verdict or {}
    rows = [row for row in verdict.get("evidence") or [] if row.get("service")]
    quantities = Counter(row["quantity"] for row in rows)
    if not rows:
        return {"rows": []}
    quantity = "share" if quantities["share"] else quantities.most_common(1)[0][0]
    of_quantity = [row for row in rows if row["quantity"] == quantity]
    of_quantity = sorted(of_quantity, key=lambda row: -abs(row["contribution"]))
    of_quantity = of_quantity[:_MOST_EVIDENCE]
    most = max(max(row["observed"], row["expected"]) for row in of_quantity)
    return {
        "rows": [{**row, "service": service_text(row["service"])} for row in of_quantity],
        "most": most or 1.0, "unit": quantity,
        "label": verdict.get("nearest") or "unknown", "reason": verdict.get("reason") or "",
    }  # fmt: skip


def facts_of(detail: DeviceDetail) -> list[DeviceFact]:
    """Identity facts, then keys that no fact states."""
    stated = {fact.value for fact in detail.facts}
    keys = [
        DeviceFact("host_name" if key.kind == "hostname" else key.kind, key.value, "flows", key.first, key.last)
        for key in detail.keys
        if key.value not in stated and key.kind != "flow"
    ]
    return [*detail.facts, *keys]


def heat_map(hours: Sequence[HourlyOctets]) -> dict[str, Any] | None:
    """Octets by service and hour on a logarithmic scale of five steps; hours without traffic stay empty."""
    if not hours:
        return None
    totals: Counter[str] = Counter()
    cells: dict[tuple[str, int], float] = {}
    for each in hours:
        totals[each.name] += round(each.octets)
        key = (each.name, int(each.hour.timestamp()) // 3600)
        cells[key] = cells.get(key, 0.0) + each.octets
    last = max(hour for _, hour in cells)
    first = max(min(hour for _, hour in cells), last - 7 * 24 + 1)
    most = max(cells.values()) or 1.0
    bounds = [most / 10 ** (4 - step) for step in range(5)]

    def level(value: float) -> int:
        return 0 if not value else next(i + 1 for i, bound in enumerate(bounds) if value <= bound or i == 4)

    span = range(first, last + 1)
    days: list[tuple[str, int]] = []
    for hour in span:
        name = f"{_hour(hour):%a %d %b}"
        if days and days[-1][0] == name:
            days[-1] = (name, days[-1][1] + 1)
        else:
            days.append((name, 1))
    rows = []
    for name, _ in totals.most_common(_MOST_SERVICES):
        values = [(hour, cells.get((name, hour), 0.0)) for hour in span]
        cells_of = [(level(value), f"{_hour(hour):%a %H:00}: {octets(value)}") for hour, value in values]
        rows.append((service_words(name), cells_of))
    return {"days": days, "rows": rows, "bounds": [f"up to {octets(bound)}" for bound in bounds]}


def _hour(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)


_GROUP_NAMES = {
    "watch": "cameras and doorbells", "light": "lights and plugs", "screen": "screens and speakers",
    "home": "hubs and sensors", "chore": "appliances", "computer": "computers and phones", "network": "network",
    "none": "not known",
}  # fmt: skip


def traffic_chart(hours: Sequence[HourlyOctets]) -> dict[str, Any] | None:
    """Traffic by group of kinds and hour: data for the chart, and its table."""
    if not hours:
        return None
    cells: dict[tuple[str, int], float] = {}
    for each in hours:
        key = (group_of(each.name), int(each.hour.timestamp()) // 3600)
        cells[key] = cells.get(key, 0.0) + each.octets
    present = {group for group, _ in cells}
    groups = [group for group in (*GROUPS, "none") if group in present]
    first, last = min(hour for _, hour in cells), max(hour for _, hour in cells)
    if first == last:
        return None
    span = range(max(first, last - 7 * 24 + 1), last + 1)
    series = [[cells.get((group, hour), 0.0) for hour in span] for group in groups]
    names = [_GROUP_NAMES[group] for group in groups]
    data = {"x": [hour * 3600 for hour in span], "series": [
        {"name": name, "colour": f"--kind-{group}", "values": values}
        for name, group, values in zip(names, groups, series, strict=True)
    ]}  # fmt: skip
    rows = [(f"{_hour(hour):%Y-%m-%d %H:00}", [values[i] for values in series]) for i, hour in enumerate(span)]
    return {"json": orjson.dumps(data).decode(), "names": names, "rows": rows[::-1]}


def counter_rows(context: Context) -> list[tuple[str, str, str, int, str]]:
    """Every counter as stage, outcome, reason, value and unit: of the running collector, then those of the store."""
    rows: dict[tuple[str, str, str], tuple[int, str]] = {}
    for sample in context.store.counters():
        rows[sample.stage, sample.outcome, sample.reason] = (sample.value, sample.unit)
    live = context.service.collector_counters() or {}
    for stage, accounting in (live.get("stages") or {}).items():
        unit = str(accounting.get("unit", ""))
        for outcome in ("read", "used"):
            rows[stage, outcome, ""] = (int(accounting.get(outcome, 0)), unit)
        for outcome in ("ignored", "dropped", "corrected"):
            for reason, count in (accounting.get(outcome) or {}).items():
                rows[stage, outcome, str(reason)] = (int(count), unit)
    return [(*key, *value) for key, value in rows.items()]


def arrived(context: Context) -> list[tuple[str, int]]:
    """The counters that move first when a router begins to export."""
    live = context.service.collector_counters() or {}
    stages = live.get("stages") or {}

    def read(*names: str) -> int:
        return sum(int((stages.get(name) or {}).get("read", 0)) for name in names)

    return [
        ("messages", read("datagrams", "stream")), ("records", read("records")), ("flows", read("biflows")),
        ("messages refused", sum(sum((stages.get(name) or {}).get("dropped", {}).values())
                                 for name in ("datagrams", "stream", "messages"))),
    ]  # fmt: skip


def problems(context: Context) -> list[tuple[str, int, Remedy | None]]:
    """What is wrong: parts that do not work, then losses; each with what mends it."""
    rows: list[tuple[str, int, Remedy | None]] = [
        (f"{part.part}: {part.message or STATE_NAMES[part.state].lower()}", 0, None)
        for part in context.service.health()
        if part.state in ("failed", "degraded")
    ]
    live = context.service.collector_counters() or {}
    for loss in live.get("lost") or []:
        place, reason = str(loss["place"]), str(loss["reason"])
        rows.append((f"{place}: {reason}", int(loss["count"]), remedy_of(place, reason)))
    return rows


def settings_sections(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Settings by section, flat, as they are written in the file."""

    def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []
        for key, value in values.items():
            if isinstance(value, Mapping):
                rows += flat(value, f"{prefix}{key}.")
            else:
                shown = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
                rows.append((f"{prefix}{key}", shown))
        return rows

    plain = [(key, value) for key, value in settings.items() if not isinstance(value, Mapping)]
    sections = [("Service", flat(dict(plain)))] if plain else []
    return sections + [(key, flat(value)) for key, value in settings.items() if isinstance(value, Mapping)]


def capture_rows(inventory: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Devices of the inventory of a capture."""
    rows = []
    for verdict in inventory.get("devices") or []:
        levels = verdict.get("ladder") or {}
        of_levels: dict[str, dict[str, Any]] = {level["level"]: level for level in levels.get("levels") or []}
        stated = of_levels.get(levels.get("level", ""), {})
        rows.append({
            "name": verdict.get("name") or verdict["device"], "device": verdict["device"], "flows": verdict["flows"],
            "statement": levels.get("statement") or verdict["verdict"], "score": levels.get("score", verdict["score"]),
            "kind": levels.get("kind") or "", "facts": [fact["text"] for fact in (stated.get("evidence") or [])[:3]],
        })  # fmt: skip
    return rows
