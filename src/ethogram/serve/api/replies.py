"""JSON replies with an ETag, and lists as CSV."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from ethogram._text import csv_text
from ethogram.schema import DeviceRow

__all__ = ["DEVICE_COLUMNS", "devices_csv", "json_reply"]

DEVICE_COLUMNS = (
    "id", "name", "address", "mac", "network", "kind", "vendor", "model", "statement", "level", "score", "state",
    "first_seen", "last_seen", "octets_a_day", "flows", "pinned", "unusual", "provisional", "seen_s", "judged",
    "changed",
)  # fmt: skip
"""Columns of the CSV of devices."""


def json_reply(request: Request, value: object) -> Response:
    """The value as JSON, or 304 if the client has it already.

    Parameters
    ----------
    request
        Its ``If-None-Match`` is compared.
    value
        A model, or anything that JSON has; dataclasses are objects.
    """
    document = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    body = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    given = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    if tag in given or "*" in given:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, media_type="application/json", headers={"ETag": tag})


def devices_csv(rows: Sequence[DeviceRow]) -> Response:
    """Devices as CSV that a spreadsheet may open."""

    def cell(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value

    text = csv_text(DEVICE_COLUMNS, ([cell(getattr(row, name)) for name in DEVICE_COLUMNS] for row in rows))
    return Response(
        text, media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="ethogram-devices.csv"'},
    )  # fmt: skip
