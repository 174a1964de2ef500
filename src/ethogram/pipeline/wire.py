"""The verb *wire*: what exports hold, template by template, and what of it flows are made of.

It answers *why are there no flows*: each template says what it feeds and what is missing, each exporter what it said
of sampling and of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import FlowSettings, WireSettings
from ethogram.errors import InputError
from ethogram.flow.local import INSIDE, LocalNetwork
from ethogram.io.capture import is_capture
from ethogram.io.compressed import bare_name, first_octets
from ethogram.io.open_files import expand
from ethogram.io.unsupported import describe
from ethogram.io.wire.biflows import Biflows, plan_of
from ethogram.io.wire.blocks import blocks_of
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.elements import ENTERPRISES, Element
from ethogram.io.wire.export_reader import ExportFiles
from ethogram.io.wire.no_records import explain_no_records
from ethogram.io.wire.options import Origin, origin_of
from ethogram.io.wire.records import Records
from ethogram.io.wire.rows import field_names, rows_of
from ethogram.io.wire.sequence import Sequences
from ethogram.io.wire.template import VARIABLE, Template
from ethogram.pipeline.wire_report import DomainReport, TemplateReport, WireReport, advice_of, iso
from ethogram.schema import Accounting

__all__ = ["inspect", "print_records"]

MAX_TEMPLATES = 1 << 14  # reported; further ones are counted
MAGIC = {b"\0\x05", b"\0\x09", b"\0\x0a"}


def inspect(
    inputs: Sequence[str | Path],
    *,
    settings: WireSettings | None = None,
    local: Sequence[str] = FlowSettings().local,
    on_records: Callable[[Records, Biflows], None] | None = None,
) -> WireReport:
    """Read exports and report what they hold.

    Parameters
    ----------
    inputs
        Files, directories and globs: IPFIX files, recordings, captures of an export, raw datagrams.
    settings
        Bounds of the decoder.
    local
        Prefixes that are inside, to tell whether devices show at all.
    on_records
        Called with the records of each template, and with what makes flows of them, before it does.

    Raises
    ------
    InputError
        When no input holds an export.
    """
    report = WireReport()
    paths = []
    for path, by_user in expand(inputs):
        problem = _problem(path)
        if problem is None:
            paths.append(path)
        elif by_user:
            raise InputError(problem, file=path)
        else:
            report.skipped.append((str(path), problem))
    if not paths:
        raise InputError("no file with export messages", file=str(inputs[0]) if len(inputs) == 1 else None)
    reading = _Reading(report, settings or WireSettings(), LocalNetwork(local), on_records)
    source = ExportFiles(paths)
    try:
        for block in blocks_of(source.datagrams(), reading.settings):
            reading.take(reading.decoder.decode(block))
        reading.take(reading.decoder.finish())
    except InputError as error:
        report.errors.append(str(error))
    reading.end(source.accounting)
    if not report.domains and not report.errors:
        reason = explain_no_records(source.accounting, source.others, reading.decoder)
        nothing = "no export messages in it" + (f": {reason}" if reason else "")
        raise InputError(nothing, file=str(paths[0]) if len(paths) == 1 else None)
    return report


def _problem(path: Path) -> str | None:
    """Why a file holds no export messages; None when it may."""
    try:
        head = first_octets(path, 512, _may_export)
    except InputError as error:
        return error.reason
    if not head:
        return "the file is empty"
    if _may_export(head):
        return None
    known = describe(head, bare_name(path.name))
    return "neither a capture nor export messages" + (f": {known}" if known else "")


def _may_export(head: bytes) -> bool:
    return is_capture(head) or head[:2] in MAGIC


class _Reading:
    """One pass over the records."""

    def __init__(
        self, report: WireReport, settings: WireSettings, local: LocalNetwork,
        on_records: Callable[[Records, Biflows], None] | None,
    ) -> None:  # fmt: skip
        self.report, self.settings = report, settings
        self.decoder = Decoder(settings)
        self.sequences = self.decoder.sequence = Sequences()
        self.biflows = Biflows(settings)
        self._local = local
        self._on_records = on_records
        self._domains: dict[Origin, DomainReport] = {}

    def take(self, batches: list[Records]) -> None:
        """Records of one block."""
        for records in batches:
            if records.template.options:
                self.biflows.metadata.learn(records)
        messages: dict[tuple[int, Origin], list[NDArray[np.int32]]] = {}
        for records in batches:
            messages.setdefault((id(records.headers), origin_of(records)), []).append(np.unique(records.message))
            domain = self._domain(records)
            template = self._template(domain, records.template)
            if template is not None:
                template.records += len(records)
            if self._on_records is not None:
                self._on_records(records, self.biflows)
            if not records.template.options:
                flows = self.biflows.of(records)
                if flows.height:
                    self._count(domain, flows)
        for (_, origin), rows in messages.items():
            self._domains[origin].messages += np.unique(np.concatenate(rows)).size

    def _domain(self, records: Records) -> DomainReport:
        origin, exporter = origin_of(records), records.exporter
        domain = self._domains.get(origin)
        if domain is None:
            domain = DomainReport(exporter.address, exporter.session, origin[2], origin[3], exporter.transport)
            self._domains[origin] = domain
            self.report.domains.append(domain)
        headers = records.headers[np.unique(records.message)]
        for number in np.unique(headers["exporter"]).tolist():
            domain.ports.add(records.exporters[number].port)
        times = headers["export_time_s"]
        if times.size:
            first, last = int(times.min()), int(times.max())
            domain.first = first if domain.first is None else min(first, domain.first)
            domain.last = last if domain.last is None else max(last, domain.last)
            if origin[2] == 5:
                domain.domain = int(headers["domain"][0])
        return domain

    def _template(self, domain: DomainReport, template: Template) -> TemplateReport | None:
        key = (template.id, template.options, template.fields)
        template_report = domain.templates.get(key)
        if template_report is None:
            if sum(len(domain_report.templates) for domain_report in self.report.domains) >= MAX_TEMPLATES:
                self.report.left_out += 1
                return None
            template_report = domain.templates[key] = TemplateReport(template.id, template.options, [])
            described(template_report, template, self.biflows.metadata.element)
        return template_report

    def _count(self, domain: DomainReport, flows: pl.DataFrame) -> None:
        domain.flows += flows.height
        ends = pl.concat([flows["source_address"], flows["destination_address"]]).unique()
        inside = ends.filter(self._local.places(ends) == INSIDE)
        has = pl.any_horizontal(pl.col("source_address", "destination_address").is_in(inside.implode()))
        domain.local += int(flows.select(has.sum()).item())
        longest = flows.select((pl.col("end") - pl.col("start")).max().dt.total_microseconds()).item()
        domain.longest_s = max(domain.longest_s, longest / 1e6)
        for direction, count in flows["direction"].drop_nulls().value_counts().iter_rows():
            domain.directions["out" if direction else "in"] += count

    def end(self, messages: Accounting) -> None:
        """What is known when all was read."""
        decoder, metadata, report = self.decoder, self.biflows.metadata, self.report
        for entry in decoder.store.entries():  # templates without records
            origin = (entry.exporter.address, entry.exporter.session, entry.template.version, entry.template.domain)
            domain = self._domains.get(origin)
            if domain is None:
                domain = DomainReport(*origin, entry.exporter.transport, {entry.exporter.port})
                self._domains[origin] = domain
                report.domains.append(domain)
            self._template(domain, entry.template)
        for origin, domain in self._domains.items():
            sampling = metadata.sampling(origin)
            for sampler, stated in sampling.rates.items() if sampling is not None else ():
                domain.sampling["all" if sampler is None else str(sampler)] = stated[-1][1]
            started = metadata.system_init_us(origin)
            domain.system_init = None if started is None else iso(started // 1_000_000)
            domain.names = {kind: len(names) for kind, names in metadata.names(origin).items()}
            domain.templates = dict(sorted(domain.templates.items(), key=lambda item: (item[0][1], item[0][0])))
            domain.advice = advice_of(domain)
        report.accountings = {
            "input": messages, "messages": decoder.accounting, "sets": decoder.sets, "records": decoder.records,
            "flows": self.biflows.accounting,
        }  # fmt: skip
        report.sequence = self.sequences.totals.as_dict()
        report.templates = dict(decoder.store.counters)


def described(report: TemplateReport, template: Template, element_of: Callable[[int, int], Element]) -> None:
    """Fill in the fields of a template, what flows use of it, and what they lack."""
    names = field_names(template, element_of)
    for name, field in zip(names, template.fields, strict=True):
        known = element_of(field.enterprise, field.id)
        report.fields.append({
            "name": name, "enterprise": field.enterprise, "id": field.id, "type": known.type, "unit": known.unit,
            "octets": None if field.length == VARIABLE else field.length, "scope": field.scope,
            "reverse": field.reverse,
            "known": known.known, "by": ENTERPRISES.get(field.enterprise, str(field.enterprise)),
        })  # fmt: skip
    if template.options:
        return
    plan = plan_of(template.version, template.fields)
    report.ignored = plan.ignored
    if plan.ignored is None:
        report.uses = {column: [names[place] for place in places] for column, places in plan.sources().items()}
        report.missing = plan.missing()


def print_records(records: Records, biflows: Biflows, most: int | None) -> Iterator[dict[str, Any]]:
    """Records as plain data for JSON lines, with who sent them."""
    template, exporter = records.template, records.exporter
    headers = records.headers
    for row, values in enumerate(rows_of(records, most, biflows.metadata.element)):
        header = headers[records.message[row]]
        yield {
            "exporter": exporter.address, "version": template.version, "domain": int(header["domain"]),
            "template": template.id, "options": template.options, "exported": iso(int(header["export_time_s"])),
            "sequence": int(header["sequence"]), "record": values,
        }  # fmt: skip
