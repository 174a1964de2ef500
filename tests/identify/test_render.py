"""Renderings: the JSON of the documented form, and CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import orjson

from ethogram.identify.render import CSV_COLUMNS, likeliest_labels, to_csv, to_json
from ethogram.schema import (
    Evidence,
    IdentityFact,
    Inventory,
    LadderVerdict,
    LevelEvidence,
    LevelVerdict,
    Verdict,
    Window,
)

VERDICT = Verdict(
    device="=cmd|' /C calc'!A1",
    verdict="camera",
    score=0.91,
    margin=0.8,
    raw_score=0.75,
    nearest="camera",
    reason="uses TCP/443 as camera does",
    known_types={"camera": 0.91, "plug": 0.11},
    strangeness=0.25,
    evidence=[Evidence(service="TCP/443", quantity="share", observed=0.5, expected=0.75, contribution=0.75)],
    window=Window(start=datetime(2024, 3, 4, tzinfo=UTC), end=datetime(2024, 3, 5, tzinfo=UTC)),
    flows=12,
    converged=False,
    expected_s=3600.0,
    level="type",
    name="den",
    first_seen=datetime(2024, 3, 4, tzinfo=UTC),
    last_seen=datetime(2024, 3, 4, 9, tzinfo=UTC),
    octets_a_day=1500.0,
    identity=[IdentityFact(fact="host_name", value="den", source="DHCP")],
    ladder=LadderVerdict(
        statement="Acme camera", level="family", labels=["acme/camera"], score=0.8, kind="camera", vendor="Acme",
        levels=[LevelVerdict(level="vendor", label="acme", name="Acme", score=0.9, stated=True, top={"acme": 0.9},
                             evidence=[LevelEvidence(text="contacts acme.example", source="hand", nats=4.0)])],
    ),
)  # fmt: skip
INVENTORY = Inventory(library="home 0123456789ab", devices=[VERDICT])

GOLDEN = b"""{
  "format": "ethogram.inventory/2",
  "library": "home 0123456789ab",
  "devices": [
    {
      "device": "=cmd|' /C calc'!A1",
      "verdict": "camera",
      "score": 0.91,
      "margin": 0.8,
      "raw_score": 0.75,
      "nearest": "camera",
      "tied_with": [],
      "reason": "uses TCP/443 as camera does",
      "known_types": {
        "camera": 0.91,
        "plug": 0.11
      },
      "strangeness": 0.25,
      "pinned": false,
      "unusual": false,
      "new_share": 0.0,
      "evidence": [
        {
          "service": "TCP/443",
          "quantity": "share",
          "observed": 0.5,
          "expected": 0.75,
          "contribution": 0.75,
          "note": ""
        }
      ],
      "window": {
        "start": "2024-03-04T00:00:00Z",
        "end": "2024-03-05T00:00:00Z"
      },
      "flows": 12,
      "converged": false,
      "expected_s": 3600.0,
      "level": "type",
      "simulated": false,
      "methods": [],
      "library": "",
      "name": "den",
      "first_seen": "2024-03-04T00:00:00Z",
      "last_seen": "2024-03-04T09:00:00Z",
      "octets_a_day": 1500.0,
      "identity": [
        {
          "fact": "host_name",
          "value": "den",
          "source": "DHCP",
          "first": null,
          "last": null
        }
      ],
      "ladder": {
        "statement": "Acme camera",
        "level": "family",
        "labels": [
          "acme/camera"
        ],
        "score": 0.8,
        "kind": "camera",
        "vendor": "Acme",
        "model": "",
        "levels": [
          {
            "level": "vendor",
            "label": "acme",
            "name": "Acme",
            "score": 0.9,
            "stated": true,
            "sure": false,
            "top": {
              "acme": 0.9
            },
            "evidence": [
              {
                "text": "contacts acme.example",
                "source": "hand",
                "nats": 4.0
              }
            ]
          }
        ],
        "several": [],
        "missing": []
      },
      "fallback": null
    }
  ],
  "encoder": ""
}
"""


def test_json_is_the_documented_form_to_the_octet() -> None:
    assert to_json(INVENTORY).encode() == GOLDEN
    assert Inventory.model_validate(orjson.loads(GOLDEN)) == INVENTORY


def test_csv_has_one_line_per_verdict_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(INVENTORY))))
    assert rows[0] == list(CSV_COLUMNS)
    assert rows[1] == [
        "'=cmd|' /C calc'!A1", "camera", "0.9100", "0.8000", "camera", "0.2500", "2024-03-04T00:00:00+00:00",
        "2024-03-05T00:00:00+00:00", "12", "false", "3600", "type", "false", "uses TCP/443 as camera does",
        "den", "Acme camera", "family", "0.8000", "camera", "Acme", "", "2024-03-04T00:00:00+00:00",
        "2024-03-04T09:00:00+00:00", "1500",
    ]  # fmt: skip


def test_the_reference_page_names_every_field_with_its_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/identify-json.md").read_text()
    schema = Inventory.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        for name, field in part["properties"].items():
            assert f"| `{name}` |" in page
            assert field.get("description", "") in page


def test_the_json_schema_is_strict_and_complete() -> None:
    schema = Inventory.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"format", "library", "devices", "encoder"}
    documented = {"device", "verdict", "score", "margin", "known_types", "evidence", "window", "flows", "converged"}
    assert documented <= set(schema["$defs"]["Verdict"]["required"])


def test_the_likeliest_labels_are_kept_in_order() -> None:
    scores = {f"label {i}": i / 100 for i in range(9)}
    many = VERDICT.model_copy(update={"known_types": scores})
    (verdict,) = likeliest_labels(Inventory(library="home 0", devices=[many])).devices
    assert list(verdict.known_types.items()) == [(f"label {i}", i / 100) for i in (8, 7, 6, 5, 4)]
    assert len(many.known_types) == 9
