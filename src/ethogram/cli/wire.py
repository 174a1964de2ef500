"""``ethogram wire``: what NetFlow and IPFIX exports hold, and what flows are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Json, Local
from ethogram.cli.terminal import say, write_json, write_line
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.io.wire.biflows import Biflows
    from ethogram.io.wire.records import Records
    from ethogram.pipeline.wire_report import DomainReport, TemplateReport, WireReport

__all__ = ["command"]

VERSIONS = {5: "NetFlow v5", 9: "NetFlow v9", 10: "IPFIX"}
WORDS = {"source_address": "addresses", "destination_address": "addresses", "source_port": "ports",
         "destination_port": "ports"}  # fmt: skip


def command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN", help="IPFIX files, captures of an export, recordings, raw "
                                   "datagrams; directories and globs.")
    ],
    records: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Print the first N records of each template in a block of "
                                 "messages as JSON lines; 0: all.")
    ] = None,
    local: Local = None,
    fields: Annotated[bool, typer.Option("--fields/--no-fields", help="List the fields of each template.")] = True,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Show exporters, templates, options and counters of exports, and what is missing for flows."""
    if as_json and records is not None:
        raise UsageError("--records prints JSON lines already: leave out --json")
    from ethogram.config import FlowSettings
    from ethogram.pipeline.wire import inspect, print_records

    def show(batch: Records, biflows: Biflows) -> None:
        for line in print_records(batch, biflows, records or None):
            write_json(line, indent=False)

    report = inspect(
        inputs,
        local=tuple(local) if local else FlowSettings().local,
        on_records=None if records is None else show,
    )
    if as_json:
        write_json(report.as_dict())
    elif records is None:
        _show(report, fields)
    for name, reason in report.skipped:
        say(f"{name}: passed over: {reason}")
    for line in report.errors:
        say(f"ethogram: {line}")
    return 3 if report.errors else 0


def _show(report: WireReport, fields: bool) -> None:
    for domain in report.domains:
        _show_domain(domain, fields)
    if report.left_out:
        write_line(f"{report.left_out:,} more templates are not listed")
    for name, accounting in report.accountings.items():
        write_line(f"{name}: {accounting.line()}")
    what = {key: value for key, value in report.sequence.items() if value}
    write_line("sequence: " + (", ".join(f"{key} {value:,}" for key, value in what.items()) or "nothing seen"))
    templates = ", ".join(f"{key} {value:,}" for key, value in sorted(report.templates.items()))
    write_line(f"templates: {templates or 'none'}")


def _show_domain(domain: DomainReport, fields: bool) -> None:
    ports = ", ".join(map(str, sorted(domain.ports)))
    how = domain.transport if domain.transport == "file" else f"{domain.transport}, port {ports}"
    who = f"{domain.exporter} ({how}), {VERSIONS[domain.version]}, domain {domain.domain}"
    what = f"{domain.messages:,} messages with records, {domain.flows:,} flows, {domain.local:,} with a local end"
    write_line(f"{who}: {what}")
    for name, count in domain.names.items():
        write_line(f"  names of {name}s: {count:,}")
    if domain.system_init is not None:
        write_line(f"  started {domain.system_init}")
    for line in domain.advice:
        write_line(f"  note: {line}")
    for template in domain.templates.values():
        _show_template(template, fields)
    write_line()


def _show_template(template: TemplateReport, fields: bool) -> None:
    kind = "options template" if template.options else "template"
    write_line(f"  {kind} {template.id}: {template.records:,} records, {len(template.fields)} fields")
    if template.ignored is not None:
        write_line(f"    not used: {template.ignored}")
    if template.uses:
        columns = dict.fromkeys(WORDS.get(name, name.replace("_", " ")) for name in template.uses)
        write_line(f"    flows use: {', '.join(columns)}")
    for line in template.missing:
        write_line(f"    missing: {line}")
    if fields:
        for element in template.fields:
            length = element["octets"]
            octets = "variable" if length is None else "1 octet" if length == 1 else f"{length} octets"
            number = f"{element['enterprise']}.{element['id']}" if element["enterprise"] else str(element["id"])
            marks = "".join(f", {mark}" for mark in ("scope", "reverse") if element[mark])
            known = "" if element["known"] or element["scope"] else f", not known ({element['by']})"
            write_line(f"      {element['name']} ({number}, {octets}{marks}{known})")
