"""``/api/v1/captures``: read a capture apart from the live inventory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ethogram.serve.api.access import viewer
from ethogram.serve.api.captures import Capture, CaptureError
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import Service
from ethogram.serve.api.models import CaptureStatus
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError
from ethogram.serve.api.replies import json_reply

__all__ = ["CAPTURES_PATH", "accept", "capture_of", "router"]

CAPTURES_PATH = "/api/v1/captures"

router = APIRouter(tags=["captures"], dependencies=[Depends(viewer)], responses=PROBLEM_RESPONSES)

CaptureId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id.", examples=["1f2e3d4c5b6a7988"])]
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def capture_of(context: Context, capture: str) -> Capture:
    """A capture; 404 if it does not exist, or its result was removed."""
    known = context.captures.get(capture)
    if known is None:
        raise ProblemError(404, f"There is no capture {capture!r}; only the latest results are kept.")
    return known


async def accept(context: Context, name: str, chunks: AsyncIterator[bytes]) -> Capture:
    """Store and queue a capture.

    Raises
    ------
    ProblemError
        413 if it is too large, 422 if it is empty, 503 if too many wait.
    """
    try:
        return await context.captures.add(name, chunks)
    except CaptureError as error:
        headers = {"Retry-After": "10"} if error.status == 503 else {}
        raise ProblemError(error.status, str(error), headers) from None
    except ClientDisconnect:
        raise ProblemError(400, "The upload was not finished.") from None


@router.post(
    "/captures", response_model=CaptureStatus, status_code=202, summary="Upload a capture", openapi_extra=_BODY
)
async def upload(
    request: Request, context: Service,
    name: Annotated[str, Query(max_length=255, description="Name of the file; its suffix is a hint.",
                               examples=["home.pcap"])] = "capture",
) -> Response:  # fmt: skip
    """The body is a file of any format that `ethogram flows` reads: pcap, IPFIX, Zeek, Parquet; also compressed."""
    capture = await accept(context, name, request.stream())
    reply = json_reply(request, CaptureStatus.model_validate(capture))
    reply.status_code, reply.headers["Location"] = 202, f"{CAPTURES_PATH}/{capture.id}"
    return reply


@router.get("/captures/{capture}", response_model=CaptureStatus, summary="Progress of a capture")
async def status(request: Request, context: Service, capture: CaptureId) -> Response:
    """State, records read so far, and what is wrong."""
    return json_reply(request, CaptureStatus.model_validate(capture_of(context, capture)))


@router.get("/captures/{capture}/inventory", response_model=dict[str, Any], summary="Inventory of a capture")
async def inventory(request: Request, context: Service, capture: CaptureId) -> Response:
    """`ethogram.inventory/2`, as `ethogram identify --format json` prints it; 404 until the capture is read."""
    known = capture_of(context, capture)
    if known.inventory is None:
        raise ProblemError(404, known.problem or "The capture is not read yet.")
    return json_reply(request, known.inventory)
