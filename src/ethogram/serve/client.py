"""A client of the API, with the standard library alone.

Examples
--------
>>> client = Client("http://127.0.0.1:8470", token="...")
>>> [row["name"] for row in client.devices(kind="camera")]  # doctest: +SKIP
['Hall camera']
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from ethogram.errors import InputError, UsageError

__all__ = ["ApiError", "Client"]

_PART = 500
_BASE = "/api/v1"


class ApiError(InputError):
    """An answer that is not the one asked for: status and reason of the service."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"{status}: {reason}")


class Client:
    """The API of one service.

    Parameters
    ----------
    url
        Address of the page, as ``ethogram serve`` prints it.
    token
        Token of a user.
    timeout_s
        Longest wait for an answer.
    tls
        TLS context for ``https``; None: certificates of the system.

    Raises
    ------
    UsageError
        If the address is not one of HTTP.
    """

    def __init__(self, url: str, token: str, timeout_s: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r}: expected the address of a page, as http://127.0.0.1:8470")
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout_s, self._context = timeout_s, tls

    def devices(self, *, limit: int | None = None, **filters: object) -> Iterator[dict[str, Any]]:
        """Devices, read in parts.

        Parameters
        ----------
        limit
            Largest number; None: all.
        filters
            ``search``, ``kind``, ``vendor``, ``state``, ``network``, ``sort``, ``descending``.
        """
        return self._parts("/devices", limit, filters)

    def _parts(self, path: str, limit: int | None, filters: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        offset = 0
        while limit is None or offset < limit:
            part = _PART if limit is None else min(_PART, limit - offset)
            page = self.get(path, offset=offset, limit=part, **filters)
            yield from page["rows"]
            offset += len(page["rows"])
            if not page["rows"] or offset >= page["total"]:
                return

    def device(self, device: str) -> dict[str, Any]:
        """Everything about one device."""
        return self.get(f"/devices/{_id(device)}")

    def peers(self, device: str) -> list[dict[str, Any]]:
        """Other ends of a device by name, and by network where they have none."""
        return cast(list[dict[str, Any]], self.get(f"/devices/{_id(device)}/peers")["rows"])

    def timeline(self, device: str) -> list[dict[str, Any]]:
        """Octets of a device by hour and service."""
        return cast(list[dict[str, Any]], self.get(f"/devices/{_id(device)}/timeline")["rows"])

    def behaviour(self, device: str) -> dict[str, Any]:
        """Each day of a device against its exported fingerprints, with what is outside."""
        return self.get(f"/devices/{_id(device)}/behaviour")

    def similarity(self, device: str) -> dict[str, Any]:
        """Similarity of each epoch of a device to its earlier ones."""
        return self.get(f"/devices/{_id(device)}/similarity")

    def changes(self, since: str = "1d", **filters: object) -> Iterator[dict[str, Any]]:
        """What differs from the days before, read in parts; :meth:`get` of ``/changes`` also gives the spans.

        Parameters
        ----------
        since
            Length of the later span: hours, days or weeks, as ``1d``.
        filters
            ``kind`` of devices, ``change``, and ``all`` for differences that are probably chance.
        """
        return self._parts("/changes", None, {"since": since, **filters})

    def device_changes(self, device: str, since: str = "1d") -> list[dict[str, Any]]:
        """What changed about one device."""
        return cast(list[dict[str, Any]], self.get(f"/devices/{_id(device)}/changes", since=since)["rows"])

    def history(self, *, offset: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Changes of statements of all devices, the latest first."""
        return cast(list[dict[str, Any]], self.get("/history", offset=offset, limit=limit)["rows"])

    def overview(self) -> dict[str, Any]:
        """Numbers of devices by kind, vendor, state and network."""
        return self.get("/overview")

    def label(self, device: str, value: str, *, kind: str = "", vendor: str = "", model: str = "") -> dict[str, Any]:
        """Label a device; the answer is the device as it is then."""
        body = {"value": value, "kind": kind, "vendor": vendor, "model": model}
        return self.send("PUT", f"/devices/{_id(device)}/label", body)

    def remove_label(self, device: str) -> dict[str, Any]:
        """Remove the label of a device."""
        return self.send("DELETE", f"/devices/{_id(device)}/label")

    def confirm(self, device: str) -> dict[str, Any]:
        """Say that the statement about a device is right."""
        return self.send("POST", f"/devices/{_id(device)}/confirm")

    def reject(self, device: str) -> dict[str, Any]:
        """Reject the statement about a device."""
        return self.send("POST", f"/devices/{_id(device)}/reject")

    def confirmed(self) -> list[dict[str, Any]]:
        """Statements that users confirmed, the latest first; :meth:`withdraw` takes one back."""
        return cast(list[dict[str, Any]], self.get("/library/confirmed")["rows"])

    def withdraw(self, device: str) -> dict[str, Any]:
        """Withdraw the latest confirmation or rejection."""
        return self.send("DELETE", f"/devices/{_id(device)}/feedback")

    def ignore(self, device: str, *, ignored: bool = True) -> dict[str, Any]:
        """Hide a device from lists and numbers, or show it again."""
        return self.send("PUT" if ignored else "DELETE", f"/devices/{_id(device)}/ignored")

    def note(self, device: str, text: str) -> dict[str, Any]:
        """Add a note to a device."""
        return self.send("POST", f"/devices/{_id(device)}/notes", {"text": text})

    def merge(self, device: str, into: str) -> dict[str, Any]:
        """Make two devices one."""
        return self.send("POST", f"/devices/{_id(device)}/merge", {"into": into})

    def split(self, device: str, keys: list[str]) -> dict[str, Any]:
        """Make a new device of some keys of another."""
        return self.send("POST", f"/devices/{_id(device)}/split", {"keys": keys})

    def groups(self) -> list[dict[str, Any]]:
        """Groups of unknown devices."""
        return cast(list[dict[str, Any]], self.get("/groups")["rows"])

    def name_group(self, group: str, value: str, *, kind: str = "") -> list[str]:
        """Name a group; returns the ids of its devices."""
        answer = self.send("PUT", f"/groups/{_id(group)}/label", {"value": value, "kind": kind})
        return cast(list[str], answer["devices"])

    def alerts(self, *, limit: int | None = None, **filters: object) -> Iterator[dict[str, Any]]:
        """Alerts, the latest first, read in parts.

        Parameters
        ----------
        limit
            Largest number; None: all.
        filters
            ``state``, ``kind``, ``severity``, ``device``, ``search``.
        """
        return self._parts("/alerts", limit, filters)

    def alert(self, alert: int) -> dict[str, Any]:
        """One alert."""
        return self.get(f"/alerts/{alert}")

    def alert_kinds(self) -> list[dict[str, Any]]:
        """Kinds of alerts, with the number of open ones."""
        return cast(list[dict[str, Any]], self.get("/alerts/kinds")["rows"])

    def acknowledge(self, *alerts: int) -> int:
        """Acknowledge alerts; returns how many were open."""
        return int(self.send("POST", "/alerts/acknowledge", {"alerts": list(alerts)})["acknowledged"])

    def reopen_alert(self, alert: int) -> dict[str, Any]:
        """Open an acknowledged alert again."""
        return self.send("DELETE", f"/alerts/{alert}/acknowledged")

    def mutes(self) -> list[dict[str, Any]]:
        """All mutes."""
        return cast(list[dict[str, Any]], self.get("/alerts/mutes")["rows"])

    def mute(self, *, kind: str = "", device: str = "", hours: int | None = None) -> dict[str, Any]:
        """Mute a kind of alert, a device, a kind about a device, or, without both, all."""
        return self.send("POST", "/alerts/mutes", {"kind": kind, "device": device, "hours": hours})

    def unmute(self, mute: int) -> list[dict[str, Any]]:
        """Remove a mute; returns the mutes that remain."""
        return cast(list[dict[str, Any]], self.send("DELETE", f"/alerts/mutes/{mute}")["rows"])

    def users(self) -> list[dict[str, Any]]:
        """All users, for editors."""
        return cast(list[dict[str, Any]], self.get("/users")["rows"])

    def add_user(self, name: str, role: str = "viewer") -> str:
        """Add a user; returns its token, which cannot be read again."""
        return str(self.send("POST", "/users", {"name": name, "role": role})["token"])

    def new_token(self, name: str) -> str:
        """Replace the token of a user; returns the new one, which cannot be read again."""
        return str(self.send("POST", f"/users/{_id(name)}/token")["token"])

    def remove_user(self, name: str) -> list[dict[str, Any]]:
        """Remove a user; returns the users that remain."""
        return cast(list[dict[str, Any]], self.send("DELETE", f"/users/{_id(name)}")["rows"])

    def upload(self, capture: Path) -> dict[str, Any]:
        """Upload a capture; :meth:`capture` tells how far it is."""
        with capture.open("rb") as stream:
            path = f"/captures?{urlencode({'name': capture.name})}"
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(capture.stat().st_size)}
            return self._object("POST", path, stream, headers)

    def capture(self, capture: str) -> dict[str, Any]:
        """Progress of a capture."""
        return self.get(f"/captures/{_id(capture)}")

    def capture_inventory(self, capture: str) -> dict[str, Any]:
        """Inventory of a capture that has been read."""
        return self.get(f"/captures/{_id(capture)}/inventory")

    def events(self, after: int | None = None) -> Iterator[dict[str, Any]]:
        """Follow events until the service ends the stream; ``after`` replays those with a larger id."""
        path = f"/events?after={after}" if after is not None else "/events"
        connection, answer = self._open("GET", path, None, {"Accept": "text/event-stream"})
        try:
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            connection.close()

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The object at a path below ``/api/v1``."""
        values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        return self._object("GET", f"{path}?{urlencode(values, doseq=True)}" if values else path, None, {})

    def send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Change something; the answer is the object as it is then."""
        content = None if body is None else json.dumps(body).encode()
        return self._object(method, path, content, {"Content-Type": "application/json"} if content else {})

    def _object(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        connection, answer = self._open(method, path, body, headers)
        try:
            return cast(dict[str, Any], json.loads(answer.read()))
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request; an answer that is not a success is an :class:`ApiError`."""
        connection: http.client.HTTPConnection
        if self._tls:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, _BASE + path, body, {**self._headers, **headers})
            answer = connection.getresponse()
            if answer.status >= 300:
                raise ApiError(answer.status, _reason(answer.read(65_536)))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise InputError(f"{self._host}: the service does not answer: {error}") from None
        except BaseException:
            connection.close()
            raise
        return connection, answer


def _id(text: str) -> str:
    return quote(text, safe="")


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
