"""The report of the verb *wire*: exporters, observation domains and templates, and what flows lack."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ethogram.schema import Accounting

__all__ = ["DomainReport", "TemplateReport", "WireReport", "advice_of", "iso"]

LONG_S = 3600


@dataclass
class TemplateReport:
    """One form of template in one observation domain."""

    id: int
    options: bool
    fields: list[dict[str, Any]]
    records: int = 0
    uses: dict[str, list[str]] = field(default_factory=dict)
    ignored: str | None = None
    missing: list[str] = field(default_factory=list)


@dataclass
class DomainReport:
    """One observation domain of one exporter; ``messages`` are those with records."""

    exporter: str
    session: int
    version: int
    domain: int
    transport: str
    ports: set[int] = field(default_factory=set)
    messages: int = 0
    first: int | None = None
    last: int | None = None
    templates: dict[tuple[int, bool, tuple[Any, ...]], TemplateReport] = field(default_factory=dict)
    sampling: dict[str, float] = field(default_factory=dict)
    system_init: str | None = None
    names: dict[str, int] = field(default_factory=dict)
    flows: int = 0
    local: int = 0
    longest_s: float = 0.0
    directions: Counter[str] = field(default_factory=Counter)
    advice: list[str] = field(default_factory=list)


@dataclass
class WireReport:
    """All that was found."""

    domains: list[DomainReport] = field(default_factory=list)
    accountings: dict[str, Accounting] = field(default_factory=dict)
    sequence: dict[str, int] = field(default_factory=dict)
    templates: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    left_out: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "format": "ethogram.wire-report/1",
            "domains": [_domain_object(domain) for domain in self.domains],
            "accounting": {name: accounting.as_dict() for name, accounting in self.accountings.items()},
            "sequence": self.sequence,
            "templates": self.templates,
            "templates_not_listed": self.left_out,
            "skipped": [{"input": name, "reason": reason} for name, reason in self.skipped],
            "errors": self.errors,
        }


def _domain_object(domain: DomainReport) -> dict[str, Any]:
    return {
        "exporter": domain.exporter, "transport": domain.transport, "ports": sorted(domain.ports),
        "session": domain.session, "version": domain.version, "domain": domain.domain, "messages": domain.messages,
        "first_export": iso(domain.first), "last_export": iso(domain.last), "flows": domain.flows,
        "flows_with_a_local_end": domain.local, "longest_s": domain.longest_s, "directions": dict(domain.directions),
        "sampling": domain.sampling, "system_init": domain.system_init, "names": domain.names,
        "advice": domain.advice,
        "templates": [
            {
                "id": template.id, "options": template.options, "records": template.records,
                "fields": template.fields, "uses": template.uses,
                "ignored": template.ignored, "missing": template.missing,
            }
            for template in domain.templates.values()
        ],
    }  # fmt: skip


def iso(seconds: int | None) -> str | None:
    """Seconds since 1970 as text."""
    if seconds is None or not 0 <= seconds < 1 << 37:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


def advice_of(domain: DomainReport) -> list[str]:
    """What a user may want to change at the exporter, or should know of it."""
    advice = []
    for sampler, rate in domain.sampling.items():
        if rate > 1:
            which = {"all": ""}.get(sampler, f" ({sampler if ' ' in sampler else f'sampler {sampler}'})")
            advice.append(f"sampling 1:{rate:g}{which}: counts are scaled, short flows are mostly missed")
    data = [template for template in domain.templates.values() if not template.options]
    if not data:
        advice.append("no template of flows: is the export of flows switched on?")
    elif not any(template.records for template in data):
        advice.append("templates but no records yet")
    elif not domain.flows:
        advice.append("no record is a flow: see why at each template")
    elif not domain.local:
        advice.append("no flow has a local end: exported behind the address translator, or --local is other prefixes")
    if len(domain.directions) > 1:
        advice.append("flows are exported at ingress and at egress: the same flow may be exported twice")
    if domain.longest_s > LONG_S:
        advice.append(
            f"the longest record lasts {domain.longest_s:,.0f} s: an active timeout of 60 s shows devices sooner"
        )
    return advice
