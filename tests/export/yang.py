"""The YANG modules of RFC 8519 and RFC 8520, as pyang brings them, and yangson to validate by them."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yangson

MODULES = Path(sys.prefix) / "share" / "yang" / "modules"
FEATURES = ["match-on-eth", "match-on-ipv4", "match-on-ipv6", "match-on-tcp", "match-on-udp", "match-on-icmp",
            "eth", "ipv4", "ipv6"]  # fmt: skip
IMPLEMENTED = ("ietf-mud", "ietf-acldns", "ietf-access-control-list", "ietf-interfaces")
IMPORTED = ("ietf-packet-fields", "ietf-ethertypes", "ietf-inet-types", "ietf-yang-types")


@cache
def model() -> yangson.DataModel:
    """The data model of a MUD file."""
    modules = []
    for name in (*IMPLEMENTED, *IMPORTED):
        text = (MODULES / "ietf" / f"{name}.yang").read_text("utf-8")
        entry: dict[str, Any] = {
            "name": name, "revision": re.findall(r"revision\s+\"?([0-9-]+)", text)[0],
            "namespace": re.findall(r"namespace\s+\"(\S+)\"", text)[0],
            "conformance-type": "implement" if name in IMPLEMENTED else "import",
        }  # fmt: skip
        if name == "ietf-access-control-list":
            entry["feature"] = FEATURES
        modules.append(entry)
    library = {"ietf-yang-library:modules-state": {"module-set-id": "mud", "module": modules}}
    return yangson.DataModel(json.dumps(library), [str(MODULES / "ietf"), str(MODULES / "iana")])


def validate(document: dict[str, Any]) -> None:
    """Raise an error of yangson if a document is no MUD file."""
    model().from_raw(document).validate()
