"""Groups, library, knowledge, collectors, users' changes: what is not a device; and the state of the service."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import PlainTextResponse, Response

from ethogram.errors import EthogramError
from ethogram.serve.api.access import Editor, Viewer, find_access, viewer
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import Offset, Service
from ethogram.serve.api.metrics import metrics_text
from ethogram.serve.api.models import (
    AuditList,
    CollectorStatus,
    ConfirmedItem,
    ConfirmedList,
    GroupLabel,
    GroupList,
    KnowledgeAnswer,
    LibraryStatus,
    NamedGroup,
    Readiness,
    WhoAmI,
)
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError
from ethogram.serve.api.replies import json_reply
from ethogram.serve.feedback import MOST_CONFIRMED, identity_of_statement

__all__ = ["confirmed_items", "health_router", "library_status", "readiness", "router"]

router = APIRouter(dependencies=[Depends(viewer)], responses=PROBLEM_RESPONSES)
health_router = APIRouter(tags=["service"])

_GroupId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id of a group.", examples=["52d3be978c1f00aa"])]


@router.get("/groups", response_model=GroupList, tags=["unknown devices"], summary="Groups of unknown devices")
def groups(request: Request, context: Service) -> Response:
    """The largest first."""
    return json_reply(request, GroupList.model_validate({"rows": context.store.groups()}))


@router.put("/groups/{group}/label", response_model=NamedGroup, tags=["unknown devices"], summary="Name a group")
def name_group(request: Request, context: Service, access: Editor, group: _GroupId, body: GroupLabel) -> Response:
    """All devices of the group get the label."""
    if all(row.id != group for row in context.store.groups()):
        raise ProblemError(404, f"There is no group {group!r}.")
    devices = context.store.name_group(
        group, body.value, access.user, kind=body.kind, vendor=body.vendor, model=body.model
    )
    return json_reply(request, NamedGroup(devices=list(devices)))


def library_status(context: Context) -> LibraryStatus:
    """Names, size and labels of the libraries; rows of the knowledge pack."""
    libraries, knowledge = context.service.libraries(), context.service.knowledge()
    if not libraries or knowledge is None:
        raise ProblemError(503, "The library or the knowledge pack cannot be read; the state of the judge says why.")
    return LibraryStatus(
        name=" + ".join(library.name for library in libraries),
        digest=" + ".join(library.digest for library in libraries), windows=sum(map(len, libraries)),
        labels=sorted({entry.identity.at("label") or "" for each in libraries for entry in each.entries} - {""}),
        knowledge={table: len(knowledge.rows(table)) for table in TABLES},
    )  # fmt: skip


def confirmed_items(context: Context) -> list[ConfirmedItem]:
    """Statements that users confirmed, the latest first."""
    confirmed = context.store.confirmed(limit=MOST_CONFIRMED)[::-1]
    rows = context.store.rows([each.device.id for each in confirmed])
    return [
        ConfirmedItem(
            device=each.device.id, device_name=rows[each.device.id].name, device_kind=rows[each.device.id].kind,
            statement=each.statement, user=each.user, time=each.time,
            enrolled=identity_of_statement(each) is not None,
        )
        for each in confirmed if each.device.id in rows
    ]  # fmt: skip


TABLES = ("vendors", "names", "macs", "ports", "mdns", "hosts", "dhcp", "texts", "kinds", "platforms")


@router.get("/library", response_model=LibraryStatus, tags=["library"], summary="The libraries and the knowledge pack")
def library(request: Request, context: Service) -> Response:
    """What devices are compared with."""
    return json_reply(request, library_status(context))


@router.get(
    "/library/confirmed", response_model=ConfirmedList, tags=["library"], summary="Statements that users confirmed"
)  # fmt: skip
def confirmed(request: Request, context: Service) -> Response:
    """What joins the library of this service; `DELETE /devices/{device}/feedback` takes one back."""
    return json_reply(request, ConfirmedList(rows=confirmed_items(context)))


@router.get("/knowledge", response_model=KnowledgeAnswer, tags=["library"], summary="Look up public facts")
def knowledge(
    request: Request, context: Service,
    q: Annotated[str, Query(min_length=1, max_length=253, description="A name, port, MAC or vendor.",
                            examples=["tcp/9100"])],
) -> Response:  # fmt: skip
    """An ambiguous query is read in every way that it can be."""
    from ethogram.knowledge.query import look_up

    known = context.service.knowledge()
    if known is None:
        raise ProblemError(503, "The knowledge pack cannot be read.")
    answers = [asdict(answer) for answer in look_up(known, q)]
    return json_reply(request, KnowledgeAnswer(query=q, answers=answers))


@router.get("/collectors", response_model=CollectorStatus, tags=["collectors"], summary="Exporters and all counters")
def collectors(request: Request, context: Service) -> Response:
    """Counters by stage, outcome and reason; every loss is among them."""
    return json_reply(request, CollectorStatus.model_validate({
        "listening": list(context.service.listening()), "health": context.service.health(),
        "exporters": context.store.exporters(), "counters": context.store.counters(),
        "live": context.service.collector_counters(),
    }))  # fmt: skip


@router.get("/audit", response_model=AuditList, tags=["service"], summary="Changes by users, the latest first")
def audit(
    request: Request, context: Service, _: Editor, offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:  # fmt: skip
    """Who changed what, and when."""
    return json_reply(request, AuditList.model_validate({"rows": context.store.audit(offset=offset, limit=limit)}))


@router.get("/me", response_model=WhoAmI, tags=["service"], summary="The user of the token or session")
def me(request: Request, access: Viewer) -> Response:
    """Name and role."""
    return json_reply(request, WhoAmI(user=access.user, role=access.role))


@health_router.get("/healthz", response_class=PlainTextResponse, summary="Whether the process answers")
def healthz() -> str:
    """Needs no token, and tells nothing else."""
    return "ok\n"


def readiness(context: Context) -> Readiness:
    """State of every part; the store is asked."""
    parts = {health.part: health.state for health in context.service.health()}
    try:
        context.store.check()
        parts["store"] = parts.get("store", "running")
    except EthogramError:
        parts["store"] = "failed"
    return Readiness(ready=all(state in ("running", "degraded") for state in parts.values()), parts={**parts})


@health_router.get(
    "/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "A part does not work."}},
    summary="Whether every part works",
)  # fmt: skip
def readyz(context: Service) -> Response:
    """Needs no token; reasons are at `/api/v1/collectors`."""
    ready = readiness(context)
    return Response(
        ready.model_dump_json(), status_code=200 if ready.ready else 503, media_type="application/json"
    )


@health_router.get(
    "/metrics", response_class=PlainTextResponse, summary="All counters for Prometheus",
    responses={401: PROBLEM_RESPONSES[401]},
)  # fmt: skip
async def metrics(request: Request, context: Service) -> Response:
    """Needs a token: `authorization` in the configuration of Prometheus."""
    from starlette.concurrency import run_in_threadpool

    if await find_access(request) is None:
        raise ProblemError(401, "No valid token or session.", {"WWW-Authenticate": 'Bearer realm="ethogram"'})
    text = await run_in_threadpool(metrics_text, context)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
