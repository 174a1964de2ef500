"""The verb *wire*: what is reported of exporters, templates, options, and what flows lack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ethogram.cli import app
from ethogram.errors import InputError
from ethogram.io.wire.build import MessageBuilder, data, template_set
from ethogram.io.wire.template import Field, Template
from ethogram.pipeline.wire import inspect

NOW_MS = 1_700_000_000_000

FLOWS = Template(9, 7, 256, tuple(Field(0, *one) for one in (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (61, 1), (9999, 2),
)))  # fmt: skip
SAMPLING = Template(9, 7, 300, (Field(0, 1, 4, True), Field(0, 48, 1), Field(0, 50, 4)), True)
STATION = Template(9, 7, 257, (Field(0, 365, 6), Field(0, 1, 4)))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    local, remote = (192 << 24) + (168 << 16) + 5, (198 << 24) + (51 << 16) + 9
    columns = [np.array(values) for values in (
        [local, remote], [remote, local], [40000, 443], [443, 40000], [6, 6], [1000, 2000], [3, 4], [0, 1], [1, 2],
    )]  # fmt: skip
    builder = MessageBuilder(9, 7, boot_ms=NOW_MS - 1_000_000)
    messages = builder.messages(
        [
            template_set(FLOWS, STATION),
            template_set(SAMPLING),
            data(SAMPLING, [np.array([0]), np.array([3]), np.array([100])]),
            data(FLOWS, columns),
            data(STATION, [np.array([1]), np.array([5])]),
        ],
        NOW_MS,
    )
    assert len(messages) == 1
    path = tmp_path / "export.dat"
    path.write_bytes(messages[0])
    (tmp_path / "notes.txt").write_text("no export")
    return path


def test_what_is_there_and_what_flows_use_and_lack(export: Path) -> None:
    report = inspect([export])
    [domain] = report.domains
    assert (domain.version, domain.domain, domain.flows, domain.local) == (9, 7, 2, 2)
    assert domain.messages == 1
    assert domain.sampling == {"3": 100.0}
    assert domain.directions == {"in": 1, "out": 1}
    templates = {template.id: template for template in domain.templates.values()}
    assert {number: (template.records, template.options) for number, template in templates.items()} == {
        256: (2, False), 257: (1, False), 300: (1, True)
    }  # fmt: skip
    flows = templates[256]
    assert flows.uses["octets"] == ["octetDeltaCount"]
    assert flows.uses["destination_address"] == ["destinationIPv4Address"]
    assert flows.missing == [
        "no times: the export time is used",
        "one direction only: records are paired with the reverse direction",
        "no TCP flags: the initiator is inferred from ports",
    ]
    assert [field["name"] for field in flows.fields][-1] == "0.9999"
    assert flows.fields[-1]["known"] is False
    assert templates[257].ignored == "no source and destination address"
    assert [field["name"] for field in templates[300].fields] == ["scope system", "samplerId", "samplerRandomInterval"]
    assert any("sampling 1:100 (sampler 3)" in line for line in domain.advice)
    assert any("same flow may be exported twice" in line for line in domain.advice)
    for accounting in report.accountings.values():
        accounting.check()
    assert report.accountings["flows"].used == 2


def test_the_report_as_json_holds_all_of_it(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["wire", "--json", str(export)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "ethogram.wire-report/1"
    assert document["domains"][0]["templates"][0]["fields"][0] == {
        "name": "sourceIPv4Address", "enterprise": 0, "id": 8, "type": "ipv4Address", "unit": "", "octets": 4,
        "scope": False, "reverse": False, "known": True, "by": "IANA",
    }  # fmt: skip
    assert document["accounting"]["flows"]["used"] == 2
    assert document["sequence"]["received"] == 1


def test_records_as_json_lines(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["wire", "--records", "1", str(export)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["template"] for line in lines) == [256, 257, 300]
    [flow] = [line for line in lines if line["template"] == 256]
    assert flow["record"]["sourceIPv4Address"] == "192.168.0.5"
    assert flow["record"]["0.9999"] == "0001"
    assert flow["exported"] == "2023-11-14T22:13:20Z"
    assert app.main(["wire", "--records", "0", str(export)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_text_for_people(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["wire", str(export.parent), "--local", "10.0.0.0/8"]) == 0
    output = capsys.readouterr()
    assert "NetFlow v9, domain 7: 1 messages with records, 2 flows, 0 with a local end" in output.out
    assert "note: no flow has a local end" in output.out
    assert "0.9999 (9999, 2 octets, not known (IANA))" in output.out
    assert "notes.txt: passed over: neither a capture nor export messages" in output.err


def test_inputs_without_exports_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no export")
    with pytest.raises(InputError, match="neither a capture nor export messages"):
        inspect([path])
    with pytest.raises(InputError, match="no file with export messages"):
        inspect([tmp_path])
