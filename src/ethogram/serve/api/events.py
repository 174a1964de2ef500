"""``/api/v1/events``: what happens, as server-sent events that can be replayed from any id.

Nothing is queued for a client: one task looks for new events, and each stream then reads from the store what it has
not sent yet. A slow client therefore costs no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from ethogram.errors import EthogramError
from ethogram.schema import EventRow
from ethogram.serve.api.access import viewer
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import Service
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError

__all__ = ["follow", "router"]

router = APIRouter(tags=["events"], dependencies=[Depends(viewer)], responses=PROBLEM_RESPONSES)

_PART, _LARGEST_ID = 200, (1 << 63) - 1
_HEARTBEAT_S = 15.0


async def follow(context: Context, every_s: float = 1.0) -> None:
    """Look for new events, and wake the streams, until the application ends."""
    while True:
        with contextlib.suppress(EthogramError):  # the state of the store is shown; streams go on when it is back
            latest = await run_in_threadpool(context.store.last_event)
            if latest != context.latest_event:
                context.latest_event = latest
                context.news, old = asyncio.Event(), context.news
                old.set()
        await asyncio.sleep(every_s)


def _lines(event: EventRow) -> bytes:
    data = {"id": event.id, "time": event.time, "kind": event.kind, "device": event.device, "data": event.data}
    body = orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    return b"id: %d\nevent: message\ndata: %s\n\n" % (event.id, body)


async def _stream(context: Context, after: int) -> AsyncIterator[bytes]:
    context.streams += 1
    try:
        yield b"retry: 3000\n\n"
        while not context.closing:
            news = context.news
            try:
                events = await run_in_threadpool(context.store.events, after, limit=_PART)
            except EthogramError:
                events = ()
            for event in events:
                after = event.id
                yield _lines(event)
            if len(events) < _PART:
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await news.wait()
                except TimeoutError:
                    yield b": still here\n\n"
    finally:
        context.streams -= 1


@router.get(
    "/events", summary="Follow events", response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def events(
    context: Service,
    after: Annotated[int | None, Query(ge=0, le=_LARGEST_ID, description="Events with a larger id; default: new ones "
                                       "only.")] = None,
    last_event_id: Annotated[str, Header(max_length=20, description="Sent by browsers that connect again.")] = "",
) -> StreamingResponse:  # fmt: skip
    """The data of each event is JSON: `id`, `time`, `kind`, `device`, `data`. The latest 100,000 events are kept."""
    if context.streams >= context.settings.streams:
        raise ProblemError(503, "Too many open streams of events.", {"Retry-After": "10"})
    if last_event_id.isascii() and last_event_id.isdigit():
        after = min(int(last_event_id), _LARGEST_ID)
    if after is None:
        after = await run_in_threadpool(context.store.last_event)
    return StreamingResponse(
        _stream(context, after), media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip
