"""Examples in the OpenAPI description: of every schema from those of its fields, and of every parameter and answer."""

from __future__ import annotations

from typing import Any

__all__ = ["add_examples"]

PARAMETERS: dict[str, Any] = {
    "search": "camera", "kind": "camera", "vendor": "D-Link", "state": "unknown", "network": "192.168.1.0/24",
    "sort": "last_seen", "descending": True, "offset": 0, "limit": 100, "fields": ["id", "name"], "format": "json",
    "since": "1d", "change": "service appeared", "all": False,
    "severity": "warning", "device": "8c1f00aa52d3be97", "after": 17, "last-event-id": "17", "name": "home.pcap",
}  # fmt: skip
OF_PATH: dict[tuple[str, str], Any] = {("/api/v1/alerts", "kind"): "silent device", ("/api/v1/alerts", "state"): "open"}
TEXTS = {
    "application/octet-stream": "(octets of a capture)",
    "text/csv": "id,name,address\r\n8c1f00aa52d3be97,Hall camera,192.168.1.20\r\n", "text/plain": "ok\n",
    "text/event-stream": 'id: 18\nevent: message\ndata: {"id": 18, "kind": "device new", "device": "8c1f00aa52d3be97"}'
                         "\n\n",
}  # fmt: skip


def add_examples(description: dict[str, Any]) -> dict[str, Any]:
    """Add to each schema, parameter, body and answer an example, made of the examples of fields."""
    schemas: dict[str, Any] = description.get("components", {}).get("schemas", {})
    for schema in schemas.values():
        if "example" not in schema and "examples" not in schema:
            schema["examples"] = [_example(schema, schemas)]
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if "example" not in parameter and "examples" not in parameter.get("schema", {}):
                    name = str(parameter["name"]).lower()
                    example = OF_PATH.get((path, name), PARAMETERS.get(name))
                    if example is not None:
                        parameter["example"] = example
            bodies = [operation.get("requestBody", {}), *operation.get("responses", {}).values()]
            for media_type, content in (item for body in bodies for item in body.get("content", {}).items()):
                if "example" not in content:
                    example = TEXTS.get(media_type)
                    content["example"] = _example(content.get("schema", {}), schemas) if example is None else example
    return description


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Example of a schema; None where a field has none."""
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    if "properties" in schema:
        return {name: _example(each, schemas) for name, each in schema["properties"].items()}
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), schemas)]
    for key in ("anyOf", "allOf", "oneOf"):
        if key in schema:
            return _example(schema[key][0], schemas)
    return {} if schema.get("type") == "object" else None
