"""``ethogram wire``: what NetFlow and IPFIX exports hold, and what flows are made of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.run import errors
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
        list[Path], typer.Argument(metavar="IN...", help="IPFIX files, captures of an export, recordings, raw "
                                   "datagrams; directories and globs.")
    ],
    records: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Print the first N records of each template in a block of "
                                 "messages as JSON lines; 0: all.")
    ] = None,
    local: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="What is inside, to tell whether devices show; again for "
                                       "more. Default: the private and link-local prefixes.")
    ] = None,
    fields: Annotated[bool, typer.Option("--fields/--no-fields", help="List the fields of each template.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> int:  # fmt: skip
    """Show exporters, templates, options and counters of exports, and what is missing for flows."""
    if as_json and records is not None:
        raise UsageError("--records prints JSON lines already: leave out --json")
    import orjson

    from ethogram.config import FlowSettings
    from ethogram.pipeline.wire import inspect, print_records

    def show(found: Records, biflows: Biflows) -> None:
        for line in print_records(found, biflows, records or None):
            sys.stdout.write(orjson.dumps(line).decode() + "\n")

    report = inspect(
        inputs,
        local=tuple(local) if local else FlowSettings().local,
        on_records=None if records is None else show,
    )
    if as_json:
        sys.stdout.write(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode() + "\n")
    elif records is None:
        _show(report, fields)
    for name, reason in report.skipped:
        errors.print(f"{name}: passed over: {reason}", markup=False, soft_wrap=True)
    for line in report.errors:
        errors.print(f"ethogram: {line}", markup=False, soft_wrap=True)
    return 3 if report.errors else 0


def _line(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def _show(report: WireReport, fields: bool) -> None:
    for domain in report.domains:
        _show_domain(domain, fields)
    if report.left_out:
        _line(f"{report.left_out:,} more templates are not listed")
    for name, accounting in report.accountings.items():
        _line(f"{name}: {accounting.line()}")
    what = {key: value for key, value in report.sequence.items() if value}
    _line("sequence: " + (", ".join(f"{key} {value:,}" for key, value in what.items()) or "nothing seen"))
    _line("templates: " + (", ".join(f"{key} {value:,}" for key, value in sorted(report.templates.items())) or "none"))


def _show_domain(domain: DomainReport, fields: bool) -> None:
    ports = ", ".join(map(str, sorted(domain.ports)))
    how = domain.transport if domain.transport == "file" else f"{domain.transport}, port {ports}"
    who = f"{domain.exporter} ({how}), {VERSIONS[domain.version]}, domain {domain.domain}"
    what = f"{domain.messages:,} messages with records, {domain.flows:,} flows, {domain.local:,} with a local end"
    _line(f"{who}: {what}")
    for name, count in domain.names.items():
        _line(f"  names of {name}s: {count:,}")
    if domain.system_init is not None:
        _line(f"  started {domain.system_init}")
    for line in domain.advice:
        _line(f"  note: {line}")
    for template in domain.templates.values():
        _show_template(template, fields)
    _line()


def _show_template(template: TemplateReport, fields: bool) -> None:
    kind = "options template" if template.options else "template"
    _line(f"  {kind} {template.id}: {template.records:,} records, {len(template.fields)} fields")
    if template.ignored is not None:
        _line(f"    not used: {template.ignored}")
    if template.uses:
        columns = dict.fromkeys(WORDS.get(name, name.replace("_", " ")) for name in template.uses)
        _line(f"    flows use: {', '.join(columns)}")
    for line in template.missing:
        _line(f"    missing: {line}")
    if fields:
        for one in template.fields:
            octets = (
                "variable" if one["octets"] is None else "1 octet" if one["octets"] == 1 else f"{one['octets']} octets"
            )
            number = f"{one['enterprise']}.{one['id']}" if one["enterprise"] else str(one["id"])
            marks = "".join(f", {mark}" for mark in ("scope", "reverse") if one[mark])
            known = "" if one["known"] or one["scope"] else f", not known ({one['by']})"
            _line(f"      {one['name']} ({number}, {octets}{marks}{known})")
