"""What users change: the entry in the audit log and the event, written in the transaction of the change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert

from ethogram.serve.store.tables import audit, event

__all__ = ["log_change"]


def log_change(
    connection: Connection, user: str, action: str, device: str, detail: dict[str, Any], *, event_too: bool = True
) -> None:
    """Write an entry of the audit log, and the event unless ``event_too`` is False: only editors read the log."""
    now = datetime.now(tz=UTC)
    connection.execute(insert(audit).values(time=now, user=user, action=action, device=device, detail=detail))
    if event_too:
        connection.execute(insert(event).values(time=now, kind=action, device=device, data=detail | {"user": user}))
