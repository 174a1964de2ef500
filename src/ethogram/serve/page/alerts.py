"""The page of alerts, and the forms on it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ethogram.pipeline.text import plural
from ethogram.schema import ALERT_KINDS, SEVERITIES
from ethogram.serve.api.access import Access, Editor, Viewer
from ethogram.serve.api.alerts import AlertFilter, AlertId, MuteId, kinds_of, until
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import Offset, Service
from ethogram.serve.api.models import DEVICE_OR_NONE
from ethogram.serve.page.render import is_part, render

__all__ = ["TITLES", "router"]

router = APIRouter(prefix="/alerts", default_response_class=HTMLResponse)

TITLES = {name: kind.title for name, kind in ALERT_KINDS.items()}
_FILTERS = ("state", "kind", "severity", "device", "search")
_Back = Annotated[str, Form(max_length=1000)]
_State = Literal["", "open", "acknowledged", "closed", "any"]


def _page(
    context: Context, access: Access, wanted: AlertFilter, offset: int = 0, *, done: str = "", part: bool = False
) -> HTMLResponse:
    """The list; without a state, alerts that are open."""
    size = context.settings.page_size
    arguments = wanted.arguments() | {"state": {"": "open", "any": None}.get(wanted.state, wanted.state)}
    page = context.store.alerts(**arguments, offset=offset, limit=size)
    device = context.store.device(wanted.device) if wanted.device else None
    return render(
        context, access, "alerts_part.html" if part else "alerts.html", "/alerts", wanted=wanted, page=page, done=done,
        offset=offset, size=size, severities=SEVERITIES, titles=TITLES,
        kinds_of_alerts=kinds_of(context), mutes=context.store.mutes(), about=device.row if device else None,
    )  # fmt: skip


@router.get("")
def alerts(
    request: Request, context: Service, access: Viewer, wanted: Annotated[AlertFilter, Depends()],
    shown: Annotated[_State, Query(alias="show")] = "", offset: Offset = 0,
) -> Response:  # fmt: skip
    """Alerts, the latest first; the address holds the filters."""
    wanted = AlertFilter(**{**vars(wanted), "state": shown or wanted.state})
    return _page(context, access, wanted, offset, part=is_part(request))


def _after(request: Request, context: Context, access: Access, back: str, done: str) -> Response:
    """The list with the filters that it had."""
    given: dict[str, Any] = {name: text for name, text in parse_qsl(back) if name in _FILTERS}
    if request.headers.get("hx-request") != "true":
        return RedirectResponse(f"/alerts?{AlertFilter(**given).query()}".rstrip("?"), 303)
    return _page(context, access, AlertFilter(**given), done=done, part=True)


@router.post("/acknowledge")
def acknowledge(
    request: Request, context: Service, access: Editor,
    alert: Annotated[list[int] | None, Form(max_length=1000)] = None, back: _Back = "",
) -> Response:  # fmt: skip
    """Acknowledge alerts."""
    count = context.store.acknowledge(alert or [], access.user)
    done = f"{plural(count, 'alert is', 'alerts are')} acknowledged."
    return _after(request, context, access, back, done)


@router.post("/{alert}/reopen")
def reopen(request: Request, context: Service, access: Editor, alert: AlertId, back: _Back = "") -> Response:
    """Open an acknowledged alert again."""
    context.store.reopen_alert(alert, access.user)
    return _after(request, context, access, back, "The alert is open again.")


@router.post("/mute")
def mute(
    request: Request, context: Service, access: Editor, kind: Annotated[str, Form(max_length=32)] = "",
    device: Annotated[str, Form(pattern=DEVICE_OR_NONE)] = "",
    what: Literal["both", "kind", "device"] = Form("both"), hours: Annotated[int, Form(ge=0, le=24 * 366)] = 0,
    back: _Back = "",
) -> Response:  # fmt: skip
    """Mute a kind of alert, a device, or the kind about the device; 0 hours: until it is removed."""
    kind, device = "" if what == "device" else kind, "" if what == "kind" else device
    context.store.mute(access.user, kind=kind, device=device, until=until(hours or None))
    return _after(request, context, access, back, "Muted. What would be raised is counted, and not shown.")


@router.post("/mutes/{mute}/remove")
def unmute(
    request: Request, context: Service, access: Editor, mute: MuteId, back: _Back = "",
) -> Response:  # fmt: skip
    """Remove a mute."""
    context.store.unmute(mute, access.user)
    return _after(request, context, access, back, "Not muted any more.")
