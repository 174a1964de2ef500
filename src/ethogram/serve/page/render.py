"""Pages from templates, with what all of them show: navigation, user, open alerts."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse

from ethogram.errors import EthogramError
from ethogram.schema import KINDS
from ethogram.serve.api.access import Access
from ethogram.serve.api.context import Context
from ethogram.serve.page.environment import environment

__all__ = ["is_part", "render"]

_NAVIGATION = (
    ("/", "Overview", "overview"), ("/devices", "Devices", "devices"), ("/unknown", "Unknown", "groups"),
    ("/changes", "Changes", "changes"), ("/alerts", "Alerts", "bell"), ("/library", "Library", "book"),
    ("/collectors", "Collectors", "inbox"), ("/capture", "Capture", "upload"), ("/settings", "Settings", "gear"),
    ("/about", "About", "info"),
)  # fmt: skip
_KINDS = sorted(((slug, kind.label) for slug, kind in KINDS.items()), key=lambda row: row[1].lower())


def render(
    context: Context, access: Access, template: str, active: str = "", *, done: Any = None, **values: Any
) -> HTMLResponse:  # fmt: skip
    """A page, or a part of one."""
    html = environment().get_template(template).render(
        access=access, active=active, kinds=_KINDS, done=done, navigation=partial(_navigation, context), **values,
    )  # fmt: skip
    return HTMLResponse(html, headers={"Vary": "HX-Request"})


def _navigation(context: Context) -> list[tuple[str, str, str, int]]:
    """Path, name, icon and number of each page; called by whole pages only, since it counts open alerts."""
    try:
        counts = {"/alerts": context.store.open_alerts()}
    except EthogramError:  # the page says what does not answer
        counts = {}
    return [(path, name, icon, counts.get(path, 0)) for path, name, icon in _NAVIGATION]


def is_part(request: Request) -> bool:
    """Whether htmx asks for a part; when it restores history, it needs the whole page."""
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"
