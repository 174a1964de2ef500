"""The pages, and the forms on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Depends, Form, Query, Request, UploadFile
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ethogram.errors import EthogramError, UsageError
from ethogram.pipeline.text import plural
from ethogram.schema import DeviceDetail
from ethogram.serve.api.access import (
    Access,
    Editor,
    Viewer,
    check_same_site,
    end_session,
    find_access,
    start_session,
)
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import DeviceId, Offset, Service, existing
from ethogram.serve.api.problem import ProblemError
from ethogram.serve.api.queries import DeviceFilter, all_devices
from ethogram.serve.api.replies import devices_csv
from ethogram.serve.api.system import confirmed_items, library_status
from ethogram.serve.api.uploads import CaptureId, accept, capture_of
from ethogram.serve.api.users import UserName, known_user
from ethogram.serve.page import alerts as alerts_page
from ethogram.serve.page import changes as changes_page
from ethogram.serve.page import past, views
from ethogram.serve.page.environment import FOLDER, environment
from ethogram.serve.page.remedies import REMEDIES
from ethogram.serve.page.render import is_part, render
from ethogram.serve.page.text import number

__all__ = ["CAPTURE_PATH", "router", "static_files"]

CAPTURE_PATH = "/capture"

router = APIRouter(default_response_class=HTMLResponse)
router.include_router(alerts_page.router)
router.include_router(changes_page.router)

_COLUMNS = (
    ("name", "Device", False, False), ("statement", "Is", False, False), ("score", "Sure", True, True),
    ("kind", "Kind", False, False), ("", "State", False, False), ("octets_a_day", "A day", True, True),
    ("last_seen", "Seen", True, True),
)  # fmt: skip
_CHANGES, _AUDIT, _CHOICES, _ALERTS = 12, 100, 12, 5
_Text = Annotated[str, Form(max_length=4000)]
_Short = Annotated[str, Form(max_length=255)]


class _StaticFiles(StaticFiles):
    """Files of the package; they change with the version only."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "public, max-age=3600"
        return response


def static_files() -> StaticFiles:
    """Stylesheet, scripts, icons and the vendored libraries with their licences."""
    return _StaticFiles(directory=FOLDER / "static")


# Session


@router.get("/login")
async def login_page(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:  # noqa: A002
    """The page to log in."""
    if await find_access(request) is not None:
        return RedirectResponse(_local(next), 303)
    return HTMLResponse(environment().get_template("login.html").render(problem="", next=_local(next)))


@router.post("/login")
async def login(
    request: Request, context: Service, token: Annotated[str, Form(max_length=256)],
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002
) -> Response:  # fmt: skip
    """Begin a session."""
    check_same_site(request)
    client = request.client.host if request.client else ""
    wait = context.logins.wait_s(client)
    if wait:
        context.bounds.refused["login rate"] += 1
        raise ProblemError(429, "Too many attempts to log in.", {"Retry-After": str(int(wait) + 1)})
    user = await run_in_threadpool(context.store.user_of, token.strip())
    if user is None:
        context.bounds.refused["wrong token"] += 1
        problem = "This is not a token of a user."
        html = environment().get_template("login.html").render(problem=problem, next=_local(next))
        return HTMLResponse(html, 401)
    response = RedirectResponse(_local(next), 303)
    await start_session(context, response, user.name, secure=request.url.scheme == "https")
    return response


def _local(path: str) -> str:
    """A path of this page; anything else leads to the overview.

    >>> _local("/devices?kind=camera"), _local("//example.org/"), _local("https://example.org/")
    ('/devices?kind=camera', '/', '/')
    """
    parts = urlsplit(path)
    local = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return path if local and path.isprintable() and "\\" not in path else "/"


@router.post("/logout")
async def logout(request: Request, context: Service, _: Viewer) -> Response:
    """End the session."""
    response = RedirectResponse("/login", 303)
    await end_session(context, request, response)
    return response


# Pages


@router.get("/")
def overview(context: Service, access: Viewer) -> Response:
    """State of the service, devices by kind and vendor, traffic and latest changes."""
    numbers = context.store.overview()
    first_run = not any(numbers.by_state.values())
    listening = context.service.listening()
    vendors, vendors_left = views.vendor_bars(numbers)
    groups = context.store.groups() if numbers.by_state.get("unknown") else ()
    moving = views.arrived(context)
    alerts = context.store.alerts(state="open", limit=_ALERTS)
    return render(
        context, access, "overview.html", "/", overview=numbers, first_run=first_run, listening=listening,
        loopback_only=bool(listening) and all("127.0.0.1" in place or "[::1]" in place for place in listening),
        arrived=moving, arrival_hint=_arrival_hint(dict(moving)), health=views.health_line(context),
        todo=views.todo(context, numbers, len([group for group in groups if not group.name]), alerts.total),
        kinds_bars=views.kind_bars(numbers), vendor_bars=vendors, vendors_left=vendors_left,
        vendor_most=max((row[2] for row in vendors), default=1),
        traffic=None if first_run else views.traffic_chart(context.service.traffic()),
        changes=views.news(context.store.changes(limit=_CHANGES * 8))[:_CHANGES], alerts=alerts,
        titles=alerts_page.TITLES,
    )  # fmt: skip


def _arrival_hint(moving: dict[str, int]) -> str:
    if moving["messages"] and not moving["records"]:
        return "Messages arrive, but no record could be decoded yet: templates come within a minute or so."
    if moving["flows"]:
        return "Flows arrive. The first devices are judged a few minutes after their first flow."
    return ""


@router.get("/devices")
def devices(
    request: Request, context: Service, access: Viewer, wanted: Annotated[DeviceFilter, Depends()], offset: Offset = 0
) -> Response:
    """The inventory; the address holds search, filters and order."""
    size = context.settings.page_size
    page = context.store.devices(**wanted.arguments(), offset=offset, limit=size)
    values: dict[str, Any] = {"wanted": wanted, "page": page, "offset": offset, "size": size, "columns": _COLUMNS}
    if is_part(request):
        response = render(context, access, "devices_results.html", any=True, **values)
        if request.headers.get("hx-source", "").startswith("form"):
            place = f"/devices?{wanted.query()}".rstrip("?")
            response.headers[_history_header(request, wanted)] = place
        return response
    numbers = context.store.overview()
    values |= {"choices": views.choices(numbers), "any": any(numbers.by_state.values())}
    return render(context, access, "devices.html", "/devices", **values)


def _history_header(request: Request, wanted: DeviceFilter) -> str:
    """Typing in the search replaces the entry of the history; a change of a filter makes a new one."""
    query = dict(parse_qsl(urlsplit(request.headers.get("hx-current-url", "")).query))
    now = dict(parse_qsl(wanted.query()))
    same = {key: query.get(key, "") for key in ("kind", "vendor", "state", "network")}
    return "HX-Replace-Url" if same == {key: now.get(key, "") for key in same} else "HX-Push-Url"


@router.get("/devices.csv")
def devices_file(context: Service, _: Viewer, wanted: Annotated[DeviceFilter, Depends()]) -> Response:
    """All pages of the list, as CSV."""
    return devices_csv(all_devices(context.store, wanted))


@router.get("/devices/{device}")
def device(context: Service, access: Viewer, device: DeviceId) -> Response:
    """One device; the address of a merged device leads to the device that it is in."""
    detail = existing(context, device)
    if detail.row.id != device:
        return RedirectResponse(f"/devices/{detail.row.id}", 303)
    return _device(context, access, detail)


def _device(
    context: Context, access: Access, detail: DeviceDetail, *, done: str = "", part: bool = False
) -> HTMLResponse:
    flows = [key for key in detail.keys if key.kind == "flow"]
    return render(
        context, access, "device_part.html" if part else "device.html", "/devices", detail=detail, done=done,
        ladder=views.ladder(detail), evidence=views.evidence(detail), verdict=detail.verdict,
        facts=views.facts_of(detail), heat=views.heat_map(context.service.activity(detail.row.id)),
        label=next((label for label in detail.labels if label.removed is None), None),
        splittable=flows if len(flows) > 1 else (), titles=alerts_page.TITLES,
        alerts=context.store.alerts(device=detail.row.id, limit=_ALERTS * 2),
    )  # fmt: skip


@router.get("/devices/{device}/past")
def device_past(context: Service, access: Viewer, device: DeviceId) -> Response:
    """The part of the page that reads stored counts: what changed, traffic, similarity to itself, and peers."""
    detail = existing(context, device)
    id_ = detail.row.id
    try:
        changed = context.service.device_changes(detail, timedelta(days=1))
    except EthogramError:  # nothing is stored yet
        changed = None
    return render(
        context, access, "device_past.html", similar=past.similarity_chart(*context.service.similarity(id_)),
        behaviour=past.behaviour_chart(context.service.behaviour(id_)),
        peers=past.peer_tables(context.service.peers(id_)), changed=changed,
        traffic=past.traffic_by_hour(context.service.activity(id_)),
        lines=changes_page.change_lines(changed.rows) if changed else [],
    )  # fmt: skip


@router.get("/choices")
def other_devices(
    context: Service, access: Viewer, into: Annotated[str, Query(max_length=255)] = "",
    but: Annotated[str, Query(max_length=16)] = "",
) -> Response:  # fmt: skip
    """Devices to merge with, as options of a list."""
    rows = context.store.devices(search=into, limit=_CHOICES).rows if into else ()
    return render(context, access, "choices.html", rows=[row for row in rows if row.id != but])


_ACTIONS = "^(label|unlabel|confirm|reject|withdraw|ignore|unignore|note|merge|split)$"


@router.post("/devices/{device}/{action}")
def change(
    request: Request, context: Service, access: Editor, device: DeviceId,
    action: Annotated[str, PathParameter(pattern=_ACTIONS)],
    value: _Short = "", kind: _Short = "", text: _Text = "", into: _Short = "",
    keys: Annotated[list[str] | None, Form()] = None,
) -> Response:  # fmt: skip
    """Labels, notes and feedback on a device; the answer is the device afterwards."""
    detail, store, user = existing(context, device), context.store, access.user
    shown, name = detail.row.id, detail.row.name
    if action == "label":
        store.label(device, value, user, kind=kind)
        done = f"Called “{value.strip()}”. The label stays above every verdict."
    elif action == "unlabel":
        store.remove_label(device, user)
        done = "The label is removed; what is stated is shown again."
    elif action == "confirm":
        store.confirm(device, user)
        done = "Confirmed. What names vendor and kind joins the library of this service."
    elif action == "reject":
        store.reject(device, user)
        done = "Rejected. The device is unknown until something else is stated about it."
    elif action == "withdraw":
        store.withdraw(device, user)
        done = "Taken back."
    elif action in ("ignore", "unignore"):
        store.ignore(device, user, ignored=action == "ignore")
        done = "Ignored: left out of lists and numbers." if action == "ignore" else "Taken back into lists and numbers."
    elif action == "note":
        store.note(device, text, user)
        done = "The note is stored."
    elif action == "merge":
        shown = _target(context, into, device)
        store.merge(device, shown, user)
        done = f"“{name}” is part of this device from now on."
    else:
        shown = store.split(device, keys or [], user)
        done = f"This was part of “{name}” until now."
    if request.headers.get("hx-request") != "true":
        return RedirectResponse(f"/devices/{shown}", 303)
    response = _device(context, access, existing(context, shown), done=done, part=True)
    if shown != device:
        response.headers["HX-Push-Url"] = f"/devices/{shown}"
    return response


def _target(context: Context, text: str, device: str) -> str:
    """The device that a user means by an id, a name or an address."""
    text = text.strip()
    if len(text) == 16 and context.store.device(text) is not None:
        return text
    rows = context.store.devices(search=text, limit=_CHOICES).rows if text else ()
    exact = [row for row in rows if text.lower() in (row.name.lower(), row.address, row.mac) and row.id != device]
    if len(exact) != 1:
        what = "no other device" if not exact else f"{len(exact)} devices"
        raise UsageError(f"{what} of the name or address {text!r}")
    return exact[0].id


@router.get("/unknown")
def unknown(context: Service, access: Viewer) -> Response:
    """Groups of unknown devices that behave alike, to be named."""
    return _unknown(context, access)


def _unknown(context: Context, access: Access, done: Any = None) -> HTMLResponse:
    groups = [group for group in context.store.groups() if not group.name]
    count = context.store.overview().by_state.get("unknown", 0)
    return render(context, access, "unknown.html", "/unknown", groups=groups, unknown=count, done=done)


@router.post("/unknown/{group}")
def name_group(
    request: Request, context: Service, access: Editor, group: DeviceId, value: _Short = "", kind: _Short = ""
) -> Response:
    """Name a group: all of its devices have the label."""
    event, before = context.store.last_event(), _numbers(context)
    ids = context.store.name_group(group, value, access.user, kind=kind)
    if request.headers.get("hx-request") != "true":
        return RedirectResponse("/unknown", 303)
    details = [detail for detail in map(context.store.device, ids[:40]) if detail is not None]
    others = {each.device for each in context.store.events(event) if each.device} - set(ids)
    also = [f"{name}: {number(old)} → {number(new)}"
            for (name, old), (_, new) in zip(before, _numbers(context), strict=True) if old != new]  # fmt: skip
    done = {
        "text": f"{plural(len(ids), 'device is', 'devices are')} called “{value.strip()}”:",
        "devices": [detail.row for detail in details], "more": len(ids) - len(details), "also": also,
        "others": list(context.store.rows(sorted(others)[:_CHOICES]).values()),
    }  # fmt: skip
    return _unknown(context, access, done)


def _numbers(context: Context) -> list[tuple[str, int]]:
    """What naming devices changes: unknown devices, groups to name, open alerts."""
    groups = sum(not group.name for group in context.store.groups())
    unknown = context.store.overview().by_state.get("unknown", 0)
    return [("Unknown devices", unknown), ("Groups to name", groups), ("Open alerts", context.store.open_alerts())]


@router.get("/library")
def library(
    context: Service, access: Viewer, q: Annotated[str, Query(max_length=253)] = ""
) -> Response:
    """What devices are compared with, and what is publicly known."""
    return _library(context, access, q)


@router.post("/library/withdraw")
def withdraw_confirmed(
    request: Request, context: Service, access: Editor, device: Annotated[str, Form(pattern="^[0-9a-f]{16}$")]
) -> Response:  # fmt: skip
    """Take back a confirmation."""
    row = existing(context, device).row
    context.store.withdraw(row.id, access.user)
    if request.headers.get("hx-request") != "true":
        return RedirectResponse("/library", 303)
    return _library(context, access, done=f"Taken back: “{row.name}” leaves the library with the next round.")


def _library(context: Context, access: Access, q: str = "", done: str = "") -> HTMLResponse:
    from ethogram.knowledge.query import look_up

    known = context.service.knowledge()
    answers = look_up(known, q.strip()) if known is not None and q.strip() else []
    try:
        status = library_status(context)
    except ProblemError:
        status = None
    rows: dict[tuple[str, str, str], int] = {}
    for entry in (entry for opened in context.service.libraries() for entry in opened.entries):
        key = (entry.identity.at("label") or "", entry.identity.vendor or "", entry.identity.at("type") or "")
        rows[key] = rows.get(key, 0) + 1
    return render(
        context, access, "library.html", "/library", query=q, answers=answers, library=status,
        library_rows=[(*key, count) for key, count in sorted(rows.items())], done=done,
        confirmed=confirmed_items(context),
    )  # fmt: skip


@router.get("/collectors")
def collectors(context: Service, access: Viewer) -> Response:
    """Every exporter and every counter, and what is wrong."""
    return render(
        context, access, "collectors.html", "/collectors", health=views.health_line(context),
        parts=context.service.health(), exporters=context.store.exporters(), listening=context.service.listening(),
        stages=views.counter_rows(context), figure=views.figure, problems=views.problems(context),
    )  # fmt: skip


@router.get("/collectors/remedies")
def remedies(context: Service, access: Viewer) -> Response:
    """What is wrong with an export, why, and what mends it."""
    counts: dict[str, int] = {}
    for _, count, remedy in views.problems(context):
        if remedy is not None:
            counts[remedy.id] = counts.get(remedy.id, 0) + count
    return render(context, access, "remedies.html", "/collectors", remedies=REMEDIES, counts=counts)


@router.get("/settings")
def settings(context: Service, access: Viewer) -> Response:
    """Settings, users and the log of changes."""
    return _settings(context, access)


def _settings(context: Context, access: Access, done: str = "", token: str = "") -> HTMLResponse:
    editor = access.role == "editor"
    response = render(
        context, access, "settings.html", "/settings", users=context.store.users() if editor else (), done=done,
        sections=views.settings_sections(context.service.settings()), token=token,
        audit=context.store.audit(limit=_AUDIT) if editor else (),
    )  # fmt: skip
    response.headers["cache-control"] = "no-store"
    return response


@router.post("/settings/users")
def add_user(
    context: Service, access: Editor, name: Annotated[str, Form(max_length=64)],
    role: Annotated[Literal["viewer", "editor"], Form()] = "viewer",
) -> Response:  # fmt: skip
    """Add a user; its token is shown once."""
    token = context.store.create_user(name.strip(), role, access.user)
    return _settings(context, access, f"{name.strip()} may log in with this token. It is not shown again:", token)


@router.post("/settings/users/{user}/{action}")
def change_user(
    context: Service, access: Editor, user: UserName,
    action: Annotated[str, PathParameter(pattern="^(token|remove)$")],
) -> Response:  # fmt: skip
    """Replace the token of a user, or remove the user."""
    known_user(context, user)
    if action == "token":
        token = context.store.new_token(user, access.user)
        done = f"The old token and the sessions of {user} have ended. The new token is not shown again:"
        return _settings(context, access, done, token)
    context.store.delete_user(user, access.user)
    return _settings(context, access, f"{user} is removed; its token and sessions have ended.")


@router.get("/about")
def about(context: Service, access: Viewer) -> Response:
    """Version, licences, what the words mean, limits."""
    return render(context, access, "about.html", "/about", overview=context.store.overview())


# Captures


@router.get(CAPTURE_PATH)
async def capture_page(context: Service, access: Viewer) -> Response:
    """Drop a capture, see its inventory."""
    return _capture(context, access, None)


def _capture(context: Context, access: Access, capture: Any) -> HTMLResponse:
    rows = views.capture_rows(capture.inventory) if capture is not None and capture.inventory is not None else []
    return render(
        context, access, "capture.html", CAPTURE_PATH, capture=capture, rows=rows, most=context.settings.upload_octets
    )


@router.post(CAPTURE_PATH)
async def upload(context: Service, _: Viewer, file: UploadFile) -> Response:
    """Queue a capture."""

    async def chunks() -> AsyncIterator[bytes]:
        while chunk := await file.read(1 << 18):
            yield chunk

    capture = await accept(context, Path(file.filename or "capture").name, chunks())
    return RedirectResponse(f"{CAPTURE_PATH}/{capture.id}", 303)


@router.get(CAPTURE_PATH + "/{capture}")
async def capture_state(context: Service, access: Viewer, capture: CaptureId) -> Response:
    """Progress, then the inventory."""
    return _capture(context, access, replace(capture_of(context, capture)))
