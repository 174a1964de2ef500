"""``/api/v1/alerts``: alerts, acknowledging and muting them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from ethogram.schema import ALERT_KINDS, AlertRow, AlertState, Severity
from ethogram.serve.api.access import Editor, viewer
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import Limit, Offset, Service, existing
from ethogram.serve.api.models import (
    DEVICE_OR_NONE,
    LARGEST_ID,
    Acknowledged,
    AcknowledgeRequest,
    AlertItem,
    AlertKindItem,
    AlertKinds,
    AlertList,
    MuteItem,
    MuteList,
    MuteRequest,
)
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError
from ethogram.serve.api.replies import json_reply

__all__ = ["AlertFilter", "AlertId", "MuteId", "alert_of", "kinds_of", "router", "until"]

router = APIRouter(prefix="/alerts", tags=["alerts"], dependencies=[Depends(viewer)], responses=PROBLEM_RESPONSES)

AlertId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Id of an alert.", examples=[31])]
MuteId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Id of a mute.", examples=[3])]
_KINDS = ["", *ALERT_KINDS]


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts.

    Parameters
    ----------
    state, kind, severity, device
        Only these; empty: any.
    search
        Words that text or device contain, all of them.
    """

    state: Annotated[AlertState | Literal[""], Query(description="Only this state.")] = ""
    kind: Annotated[
        str, Query(max_length=32, description="Only this kind.", json_schema_extra={"enum": _KINDS})
    ] = ""  # fmt: skip
    severity: Annotated[Severity | Literal[""], Query(description="Only this severity.")] = ""
    device: Annotated[
        str, Query(pattern=DEVICE_OR_NONE, description="Only alerts about this device.")
    ] = ""  # fmt: skip
    search: Annotated[str, Query(max_length=200, description="Words that an alert must contain, all of them.")] = ""

    def arguments(self) -> dict[str, Any]:
        """Arguments of :meth:`ethogram.serve.store.Store.alerts`."""
        names = ("state", "kind", "severity", "device")
        return {name: getattr(self, name) or None for name in names} | {"search": self.search}

    def query(self, **changes: object) -> str:
        """Query text of an address with changes; empty values are left out.

        >>> AlertFilter(state="open").query(severity="warning")
        'state=open&severity=warning'
        """
        return urlencode({name: str(value) for name, value in {**vars(self), **changes}.items() if value != ""})


def alert_of(context: Context, alert: int) -> AlertRow:
    """An alert; 404 if there is none of this id."""
    rows = context.store.alerts(id_=alert, limit=1).rows
    if not rows:
        raise ProblemError(404, f"There is no alert {alert}.")
    return rows[0]


def until(hours: int | None) -> datetime | None:
    """When a mute of some hours ends."""
    return None if hours is None else datetime.now(UTC) + timedelta(hours=hours)


def kinds_of(context: Context) -> list[AlertKindItem]:
    """All kinds of alerts with the number of open ones."""
    counts = context.store.alerts_by_kind()
    return [
        AlertKindItem(kind=name, title=kind.title, severity=kind.severity, about=kind.about, meaning=kind.meaning,
                      open=counts.get((name, "open"), 0))
        for name, kind in ALERT_KINDS.items()
    ]  # fmt: skip


@router.get("", response_model=AlertList, summary="List alerts")
def alerts(
    request: Request, context: Service, wanted: Annotated[AlertFilter, Depends()], offset: Offset = 0,
    limit: Limit = 100,
) -> Response:  # fmt: skip
    """The latest first. An alert is open until its cause ends, or until a user acknowledges it."""
    page = context.store.alerts(**wanted.arguments(), offset=offset, limit=limit)
    answer = {"total": page.total, "offset": offset, "open": page.open, "rows": page.rows}
    return json_reply(request, AlertList.model_validate(answer))


@router.get("/kinds", response_model=AlertKinds, summary="Kinds of alerts")
def alert_kinds(request: Request, context: Service) -> Response:
    """When each is raised and closed, and how many are open."""
    return json_reply(request, AlertKinds(rows=kinds_of(context)))


@router.post("/acknowledge", response_model=Acknowledged, summary="Acknowledge alerts")
def acknowledge(request: Request, context: Service, access: Editor, body: AcknowledgeRequest) -> Response:
    """Alerts that are not open stay as they are."""
    return json_reply(request, Acknowledged(acknowledged=context.store.acknowledge(body.alerts, access.user)))


@router.get("/mutes", response_model=MuteList, summary="List mutes")
def mutes(request: Request, context: Service) -> Response:
    """Kinds of alerts and devices about which nothing is raised."""
    return json_reply(request, MuteList.model_validate({"rows": context.store.mutes()}))


@router.post("/mutes", response_model=MuteItem, summary="Mute alerts")
def mute(request: Request, context: Service, access: Editor, body: MuteRequest) -> Response:
    """A kind, a device, a kind about a device, or all. Open ones are closed; what would be raised is counted."""
    if body.device:
        existing(context, body.device)
    id_ = context.store.mute(access.user, kind=body.kind, device=body.device, until=until(body.hours))
    row = next((row for row in context.store.mutes() if row.id == id_), None)
    if row is None:
        raise ProblemError(404, "The mute was removed.")
    return json_reply(request, MuteItem.model_validate(row))


@router.delete("/mutes/{mute}", response_model=MuteList, summary="Remove a mute")
def unmute(request: Request, context: Service, access: Editor, mute: MuteId) -> Response:
    """The answer lists the mutes that remain."""
    if all(row.id != mute for row in context.store.mutes()):
        raise ProblemError(404, f"There is no mute {mute}.")
    context.store.unmute(mute, access.user)
    return json_reply(request, MuteList.model_validate({"rows": context.store.mutes()}))


@router.get("/{alert}", response_model=AlertItem, summary="One alert")
def alert(request: Request, context: Service, alert: AlertId) -> Response:
    """With its evidence."""
    return json_reply(request, AlertItem.model_validate(alert_of(context, alert)))


@router.put("/{alert}/acknowledged", response_model=AlertItem, summary="Acknowledge an alert")
def put_acknowledged(request: Request, context: Service, access: Editor, alert: AlertId) -> Response:
    """It is not open any more, and stays in the list until its cause ends."""
    alert_of(context, alert)
    context.store.acknowledge([alert], access.user)
    return json_reply(request, AlertItem.model_validate(alert_of(context, alert)))


@router.delete("/{alert}/acknowledged", response_model=AlertItem, summary="Open an acknowledged alert again")
def delete_acknowledged(request: Request, context: Service, access: Editor, alert: AlertId) -> Response:
    """An alert that is closed stays closed."""
    alert_of(context, alert)
    context.store.reopen_alert(alert, access.user)
    return json_reply(request, AlertItem.model_validate(alert_of(context, alert)))
