"""The fields of the Elastic Common Schema: those of the npm package ``@elastic/ecs``, where the tests have it."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2] / "build" / "ecs" / "package"
_PRINT = "import(process.argv[1]).then(m => console.log(JSON.stringify(m.EcsFlat)))"


def missing() -> str:
    """Why the fields cannot be read; empty if they can."""
    if shutil.which("node") is None:
        return "node is not installed"
    return "" if PACKAGE.exists() else f"@elastic/ecs is not in {PACKAGE}: .ci/run fetches it"


@cache
def fields() -> dict[str, dict[str, Any]]:
    """Every field by its dotted name."""
    module = PACKAGE / "build" / "commonjs" / "ecs_flat.js"
    done = subprocess.run(["node", "-e", _PRINT, str(module)], capture_output=True, text=True, check=True, timeout=60)
    read: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return read


def version() -> str:
    """Version of the package, which is that of the schema."""
    return str(json.loads((PACKAGE / "package.json").read_text("utf-8"))["version"])


def problems(document: dict[str, Any], prefix: str = "") -> list[str]:
    """What the schema does not allow in a document."""
    wrong: list[str] = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        field = fields().get(name)
        if field is None:
            wrong += problems(value, f"{name}.") if isinstance(value, dict) else [f"{name}: unknown field"]
            continue
        if "array" in field.get("normalize", []) and not isinstance(value, list):
            wrong.append(f"{name}: not a list")
        for each in value if isinstance(value, list) else [value]:
            wrong += [f"{name}: {reason}" for reason in _value_problems(field, each)]
    return wrong


def _value_problems(field: dict[str, Any], value: object) -> list[str]:
    kind = field["type"]
    if kind == "object":
        assert isinstance(value, dict)
        return [f"{key} is not text" for key, each in value.items() if not isinstance(each, str)]
    if kind in ("keyword", "match_only_text", "constant_keyword", "wildcard") and not isinstance(value, str):
        return [f"{value!r} is not text"]
    if kind == "long" and (not isinstance(value, int) or isinstance(value, bool)):
        return [f"{value!r} is not a whole number"]
    if kind == "date" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(value)):
        return [f"{value!r} is not a time"]
    if kind == "ip":
        ipaddress.ip_address(str(value))
    allowed = [each["name"] for each in field.get("allowed_values", [])]
    if allowed and value not in allowed:
        return [f"{value!r} is not one of {allowed}"]
    if "pattern" in field and not re.search(field["pattern"], str(value)):
        return [f"{value!r} does not fit {field['pattern']}"]
    return []
