"""A server with the part of NetBox's REST API that the export uses: pages, filters, bulk writes, constraints."""

from __future__ import annotations

import http.server
import itertools
import json
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "0123456789abcdef0123456789abcdef01234567"
Row = dict[str, Any]
NESTED = {"dcim/devices": {"role": "dcim/device-roles", "device_type": "dcim/device-types", "site": "dcim/sites"},
          "dcim/device-types": {"manufacturer": "dcim/manufacturers"},
          "dcim/interfaces": {"device": "dcim/devices"}}  # fmt: skip
REQUIRED = {
    "dcim/devices": ("role", "device_type", "site"), "dcim/device-types": ("manufacturer", "model", "slug"),
    "dcim/device-roles": ("name", "slug"), "dcim/manufacturers": ("name", "slug"), "extras/tags": ("name", "slug"),
    "dcim/interfaces": ("device", "name", "type"), "dcim/mac-addresses": ("mac_address",),
    "ipam/ip-addresses": ("address",),
}  # fmt: skip
UNIQUE = {
    "dcim/devices": ("site", "name"), "dcim/device-roles": ("slug",), "dcim/manufacturers": ("slug",),
    "dcim/device-types": ("manufacturer", "slug"), "dcim/interfaces": ("device", "name"), "extras/tags": ("slug",),
}  # fmt: skip


@dataclass
class FakeNetBox:
    """Objects by endpoint, what was asked, and how it answers.

    Parameters
    ----------
    version
        What it says of itself.
    page
        Most objects of one page.
    failures
        Status codes of the next answers, before it works.
    delay_s
        Time until it answers.
    """

    version: str = "4.4.1"
    page: int = 2
    failures: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    redirect: str = ""
    next_host: str = ""
    port: int = 0
    objects: dict[str, dict[int, Row]] = field(default_factory=dict)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, endpoint: str, **values: Any) -> Row:
        """An object that a person entered."""
        row = {"id": next(self.numbers), "tags": []} | values
        self.objects.setdefault(endpoint, {})[row["id"]] = row
        return row

    def rows(self, endpoint: str) -> list[Row]:
        return list(self.objects.get(endpoint, {}).values())

    def shown(self, endpoint: str, row: Row) -> Row:
        """An object with what it refers to as nested objects."""
        made = dict(row)
        for name, other in NESTED.get(endpoint, {}).items():
            if isinstance(made.get(name), int):
                made[name] = self.objects[other][made[name]] | {"url": f"{self.url}/api/{other}/{made[name]}/"}
        made["tags"] = [self.objects["extras/tags"][tag] if isinstance(tag, int) else tag for tag in row["tags"]]
        if "status" in made:
            made["status"] = {"value": row["status"], "label": row["status"].capitalize()}
        return made

    def problem(self, endpoint: str, row: Row) -> str:
        for name in REQUIRED.get(endpoint, ()):
            if not row.get(name):
                return f"{name}: This field is required."
        if any(len(str(row.get(name) or "")) > 64 for name in ("name",)) or "refuse me" in str(row.get("name")):
            return "name: not accepted"
        key = UNIQUE.get(endpoint)
        for other in self.rows(endpoint) if key else ():
            same = [str(other.get(name)).lower() == str(row.get(name)).lower() for name in key or ()]
            if other["id"] != row.get("id") and all(same):
                return f"{key} must be unique"
        return ""


def matches(netbox: FakeNetBox, endpoint: str, row: Row, query: dict[str, list[str]]) -> bool:
    for name, values in query.items():
        if name in ("limit", "offset", "exclude"):
            continue
        if name == "tag":
            found = [tag["slug"] for tag in netbox.shown(endpoint, row)["tags"]]
        elif name == "address":
            found = [str(row["address"]).partition("/")[0], row["address"]]
        else:
            found = [str(row.get(name.removesuffix("_id")))]
        if not {each.lower() for each in found} & {value.lower() for value in values}:
            return False
    return True


@contextmanager
def fake_netbox(**values: Any) -> Iterator[FakeNetBox]:
    netbox = FakeNetBox(**values)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, value: object, **headers: str) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urllib.parse.urlsplit(self.path)
            netbox.calls.append((self.command, parts.path, body))
            time.sleep(netbox.delay_s)
            if netbox.redirect:
                return self.answer(302, {}, Location=netbox.redirect)
            if netbox.failures and (status := netbox.failures.pop(0)):
                return self.answer(status, b"<html>" if status == 200 else {"detail": "no\x1b[2J"})
            if self.headers.get("Authorization") != f"Token {TOKEN}":
                return self.answer(403, {"detail": "Invalid token"})
            if parts.path == "/api/status/":
                return self.answer(200, {"netbox-version": netbox.version})
            endpoint = parts.path.removeprefix("/api/").strip("/")
            if self.command == "GET":
                return self.list(endpoint, urllib.parse.parse_qs(parts.query))
            return self.write(endpoint, body)

        def list(self, endpoint: str, query: dict[str, list[str]]) -> None:
            if "tag" in query and not {row["slug"] for row in netbox.rows("extras/tags")} >= set(query["tag"]):
                return self.answer(400, {"tag": ["Select a valid choice."]})
            rows = [row for row in netbox.rows(endpoint) if matches(netbox, endpoint, row, query)]
            offset = int(query.get("offset", ["0"])[0])
            page = rows[offset : offset + netbox.page]
            following = None
            if offset + netbox.page < len(rows):
                query = query | {"offset": [str(offset + netbox.page)]}
                words = urllib.parse.urlencode(query, doseq=True)
                following = f"{netbox.next_host or netbox.url}/api/{endpoint}/?{words}"
            return self.answer(200, {"count": len(rows), "next": following, "previous": None,
                                     "results": [netbox.shown(endpoint, row) for row in page]})  # fmt: skip

        def write(self, endpoint: str, body: Any) -> None:
            created = self.command == "POST"
            known = netbox.objects.setdefault(endpoint, {})
            before = dict(known)
            rows = []
            for given in body:
                row = {"id": next(netbox.numbers), "tags": []} | given if created else known[given["id"]] | given
                if problem := netbox.problem(endpoint, row):
                    netbox.objects[endpoint] = before
                    return self.answer(400, [{"detail": problem}])
                known[row["id"]] = row
                rows.append(netbox.shown(endpoint, row))
            return self.answer(201 if created else 200, rows)

        def do_GET(self) -> None:
            self.handle_any()

        do_POST = do_PATCH = do_GET  # noqa: N815 (names of http.server)

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        netbox.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield netbox
        finally:
            server.shutdown()
