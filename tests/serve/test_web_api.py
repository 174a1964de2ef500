"""The API through its own client and over plain HTTP: every route, access, bounds and headers."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import ethogram
from ethogram.config.web import WebSettings
from ethogram.errors import ConfigurationError, InputError
from ethogram.serve.api.headers import CONTENT_POLICY
from ethogram.serve.api.limits import RateLimit
from ethogram.serve.api.models import DeviceItem
from ethogram.serve.api.secrets import first_token
from ethogram.serve.api.server import WebServer, check_bind
from ethogram.serve.client import ApiError, Client
from ethogram.serve.page.text import lasting
from ethogram.serve.store import Store
from serve.web_made import SCRIPT, FakeService, RunningPage, raise_alerts, running_page, small_capture


@pytest.fixture(scope="module")
def page() -> Iterator[RunningPage]:
    with running_page(20, name=SCRIPT) as running:
        yield running


@pytest.fixture
def client(page: RunningPage) -> Client:
    return Client(page.url, page.token)


@pytest.fixture
def http(page: RunningPage) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page.url, headers={"authorization": f"Bearer {page.token}"}) as made:
        yield made


def test_the_list_of_devices_filters_sorts_and_pages(client: Client) -> None:
    rows = list(client.devices())
    assert len(rows) == 20
    cameras = list(client.devices(kind="camera"))
    assert cameras and {row["kind"] for row in cameras} == {"camera"}
    assert {row["kind"] for row in client.devices(kind="-")} == {""}
    addresses = [tuple(map(int, row["address"].split("."))) for row in rows if row["name"] == row["address"]]
    assert addresses == sorted(addresses) and addresses[-1][-1] > 9
    scores = [row["score"] for row in client.devices(sort="score", descending=True)]
    assert scores == sorted(scores, reverse=True)
    assert [row["id"] for row in client.devices(search=rows[3]["mac"])] == [rows[3]["id"]]
    part = client.get("/devices", offset=5, limit=3)
    assert (part["total"], [row["id"] for row in part["rows"]]) == (20, [row["id"] for row in rows[5:8]])
    few = client.get("/devices", fields=["id", "name"], limit=2)
    assert [set(row) for row in few["rows"]] == [{"id", "name"}] * 2


def test_rows_of_the_list_are_what_is_described(client: Client) -> None:
    rows = client.get("/devices", limit=7)["rows"]
    assert [DeviceItem.model_validate(row).model_dump(mode="json") for row in rows] == rows


def test_a_provisional_verdict_says_how_long_the_device_was_seen(client: Client, http: httpx.Client) -> None:
    row = next(row for row in client.devices() if row["provisional"] and row["judged"] and not row["pinned"])
    assert row["seen_s"] > 0
    assert client.get("/devices", fields="seen_s", limit=1)["rows"][0].keys() == {"seen_s"}
    for path in (f"devices/{row['id']}", "devices"):
        assert f"Provisional: seen for {lasting(row['seen_s'])}" in http.get(path).text
    assert "seen_s" in http.get("devices.csv").text.partition("\n")[0]


def test_a_device_has_ladder_evidence_facts_and_history(client: Client, page: RunningPage) -> None:
    document = client.device(page.ids[1])
    assert document["device"]["id"] == page.ids[1]
    assert document["verdict"]["ladder"]["levels"]
    assert {fact["fact"] for fact in document["facts"]} >= {"mac", "address"}
    assert document["history"][-1]["reason"]


def test_a_device_has_peers_a_timeline_and_a_past(client: Client, page: RunningPage, http: httpx.Client) -> None:
    peers = client.peers(page.ids[1])
    assert [row["name"] or row["network"] for row in peers][::4] == ["tplinkcloud.com", "203.0.113.0/24"]
    assert {row["service"] for row in client.timeline(page.ids[1])} >= {"TCP/443", "UDP/53"}
    past = client.similarity(page.ids[1])
    assert (past["epoch_s"], past["rows"][8]["new"]) == (86_400, ["UDP/123 client wan"])
    assert client.behaviour(page.ids[1])["epochs"] == []
    for path in ("peers", "timeline", "similarity", "behaviour"):
        assert http.get(f"api/v1/devices/{'0' * 16}/{path}").status_code == 404


def test_changes_are_listed_for_each_device_and_kind(client: Client, page: RunningPage, http: httpx.Client) -> None:
    found = client.get("/changes", since="2d")
    assert (found["after"]["hours"], found["unchanged"], found["total"]) == (48, 16, 5)
    assert [row["change"] for row in found["rows"]] == [
        "new device", "silent device", "service appeared", "service appeared", "peer grew",
    ]  # fmt: skip
    assert sum(counts.get("service appeared", 0) for counts in found["by_kind"].values()) == 2
    telnet = list(client.changes(change="service appeared"))
    assert {(row["subject"], row["service"]) for row in telnet} == {("Telnet", "TCP/23")}
    assert [row["change"] for row in client.changes(all=True)][-1] == "peer vanished"
    kind = found["rows"][2]["device_kind"]
    assert {row["device_kind"] for row in client.changes(kind=kind or "-")} == {kind}
    assert [row["device"] for row in client.device_changes(page.ids[1])] == [page.ids[1]] * 2
    page.store.label(page.ids[15], "Changed lamp", "admin")
    page.store.label(page.ids[15], "Other lamp", "admin")
    (verdict,) = (row for row in client.changes(change="verdict") if row["subject"] == "Other lamp")
    assert (verdict["device"], verdict["reason"]) == (page.ids[15], "was Changed lamp; labelled by admin")
    assert [row["after"] for row in client.history(limit=2)] == ["Other lamp", "Changed lamp"]
    for since in ("0d", "1y", "1000h", "", "1d\n"):
        assert http.get("api/v1/changes", params={"since": since}).status_code == 422, since
    assert http.get(f"api/v1/devices/{'0' * 16}/changes").status_code == 404
    tag = http.get("api/v1/changes").headers["etag"]
    assert http.get("api/v1/changes", headers={"if-none-match": tag}).status_code == 304


def test_what_the_user_says_is_stored_and_shown(client: Client, page: RunningPage) -> None:
    device = page.ids[4]
    before = page.store.last_event()
    labelled = client.label(device, "Hall camera", kind="camera")
    assert (labelled["device"]["name"], labelled["device"]["kind"], labelled["device"]["pinned"]) == (
        "Hall camera", "camera", True,
    )  # fmt: skip
    assert client.note(device, "moved")["notes"][0]["text"] == "moved"
    assert "ignored" in client.ignore(device)["device"]["states"]
    assert device not in [row["id"] for row in client.devices()]
    assert "ignored" not in client.ignore(device, ignored=False)["device"]["states"]
    assert not client.remove_label(device)["device"]["pinned"]
    stated = next(row for row in client.devices() if row["level"] not in ("", "unknown"))
    assert client.confirm(stated["id"])["notes"][0]["kind"] == "confirm"
    (confirmed,) = client.confirmed()
    assert (confirmed["device"], confirmed["statement"], confirmed["user"]) == (
        stated["id"], stated["statement"], "admin",
    )  # fmt: skip
    assert client.reject(stated["id"])["device"]["level"] == "unknown"
    actions = [entry["action"] for entry in client.get("/audit")["rows"]]
    assert actions[:2] == ["reject", "confirm"]
    assert {entry["user"] for entry in client.get("/audit")["rows"]} == {"admin"}
    assert page.store.events(before)[0].kind == "label"


def test_devices_are_merged_and_the_old_id_leads_on(client: Client, page: RunningPage) -> None:
    merged = client.merge(page.ids[8], page.ids[9])
    assert merged["device"]["id"] == page.ids[9]
    assert client.device(page.ids[8])["device"]["id"] == page.ids[9]
    flows = [key["value"] for key in merged["keys"] if key["kind"] == "flow"]
    apart = client.split(page.ids[9], [flows[0]])
    assert apart["device"]["id"] not in page.ids


def test_a_group_is_named_at_once(client: Client, page: RunningPage) -> None:
    page.store.record_groups([(page.ids[10:13], ["UDP/5353"])])
    [group] = client.groups()
    assert group["shares"] == ["UDP/5353"]
    assert sorted(client.name_group(group["id"], "Garden lights", kind="light")) == sorted(page.ids[10:13])
    assert client.device(page.ids[11])["device"]["name"] == "Garden lights"


def test_alerts_are_listed_acknowledged_and_muted(client: Client, page: RunningPage, http: httpx.Client) -> None:
    raise_alerts(page.store, page.ids[2:])
    rows = list(client.alerts(state="open"))
    assert {row["severity"] for row in rows} == {"critical", "warning", "info"}
    (changed,) = client.alerts(kind="changed verdict")
    assert (changed["device"], changed["evidence"][0]) == (page.ids[3], "three judgements in a row say so")
    assert client.alert(changed["id"]) == changed
    assert client.acknowledge(changed["id"]) == 1
    assert client.alert(changed["id"])["state"] == "acknowledged"
    assert client.reopen_alert(changed["id"])["state"] == "open"
    kinds = {row["kind"]: row["open"] for row in client.alert_kinds()}
    assert kinds["changed verdict"] == kinds["service trouble"] == 1
    mute = client.mute(kind="changed verdict", device=page.ids[3], hours=2)
    assert client.alert(changed["id"])["state"] == "closed"
    assert [row["id"] for row in client.mutes()] == [mute["id"]]
    assert client.unmute(mute["id"]) == []
    for path, status in (("alerts/999999", 404), ("alerts?state=odd", 422), ("alerts?kind=odd", 422)):
        assert http.get(f"api/v1/{path}").status_code == status
    assert http.delete("api/v1/alerts/mutes/99").status_code == 404
    assert http.post("api/v1/alerts/mutes", json={"device": "0" * 16}).status_code == 404
    lines = http.get("metrics").text.splitlines()
    assert 'ethogram_alerts{kind="service trouble",severity="critical",state="open"} 1' in lines
    assert 'ethogram_alerts_total{outcome="raised"} 3' in lines


def test_errors_are_problems_with_one_line(client: Client, http: httpx.Client, page: RunningPage) -> None:
    cases = [
        (http.get("api/v1/devices/0123456789abcdef"), 404), (http.get("api/v1/nothing"), 404),
        (http.get("api/v1/devices?sort=colour"), 422), (http.get("api/v1/devices?limit=0"), 422),
        (http.get("api/v1/devices?fields=secret"), 422), (http.get("api/v1/devices/..%2f..%2fetc"), 404),
        (http.put(f"api/v1/devices/{page.ids[2]}/label", json={"value": " "}), 422),
        (http.put(f"api/v1/devices/{page.ids[2]}/label", json={"value": "x", "kind": "spaceship"}), 422),
        (http.put(f"api/v1/devices/{page.ids[2]}/label", content=b"{"), 422),
        (http.post(f"api/v1/devices/{page.ids[2]}/merge", json={"into": page.ids[2]}), 422),
        (http.delete(f"api/v1/devices/{page.ids[2]}"), 405),
    ]  # fmt: skip
    for answer, status in cases:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status and problem["detail"] and "\n" not in problem["detail"]
    with pytest.raises(ApiError, match="404"):
        client.device("0123456789abcdef")


def test_the_same_answer_is_sent_once(http: httpx.Client) -> None:
    first = http.get("api/v1/library")
    again = http.get("api/v1/library", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("api/v1/library", headers={"if-none-match": '"other"'}).status_code == 200


def test_without_a_token_nothing_is_told(page: RunningPage) -> None:
    with httpx.Client(base_url=page.url) as nobody:
        description = httpx.get(page.url + "api/v1/openapi.json", headers={"authorization": f"Bearer {page.token}"})
        paths = [path for path in description.json()["paths"] if path not in ("/healthz", "/readyz")]
        for path in paths:
            given = path.replace("{device}", page.ids[0]).replace("{group}", "0" * 16).replace("{capture}", "0" * 16)
            for method in description.json()["paths"][path]:
                answer = nobody.request(method.upper(), given)
                assert answer.status_code == 401, (method, path, answer.status_code)
                assert page.ids[1] not in answer.text
        for header in ("Bearer", "Bearer wrong", "Basic YTpi", f"Bearer {page.token}x"):
            assert nobody.get("api/v1/me", headers={"authorization": header}).status_code == 401
        for path in ("", "devices", f"devices/{page.ids[0]}", "unknown", "settings", "capture", "devices.csv"):
            answer = nobody.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert nobody.get("healthz").text == "ok\n"
        assert set(nobody.get("readyz").json()) == {"ready", "parts"}


def test_a_viewer_reads_and_changes_nothing(page: RunningPage) -> None:
    viewer = Client(page.url, page.store.create_user("guest", "viewer"))
    assert viewer.get("/me") == {"user": "guest", "role": "viewer"}
    assert viewer.overview()["devices"] > 0
    for change in (
        lambda: viewer.label(page.ids[0], "mine"), lambda: viewer.reject(page.ids[0]), lambda: viewer.get("/audit"),
        lambda: viewer.merge(page.ids[0], page.ids[1]), lambda: viewer.name_group("0" * 16, "x"),
    ):  # fmt: skip
        with pytest.raises(ApiError, match="403"):
            change()
    assert not viewer.device(page.ids[0])["device"]["pinned"]


def log_in(page: RunningPage) -> tuple[httpx.Client, str]:
    browser = httpx.Client(base_url=page.url, headers={"origin": page.url.rstrip("/")})
    answer = browser.post("login", data={"token": page.token, "next": "/devices"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/devices")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    html = browser.get("devices").text
    csrf = html.partition('name="csrf" value="')[2].partition('"')[0]
    assert len(csrf) > 20
    return browser, csrf


def test_users_are_added_and_removed_by_editors_and_tokens_are_shown_once(page: RunningPage) -> None:
    admin = Client(page.url, page.token)
    token = admin.add_user("grafana")
    assert Client(page.url, token).get("/me") == {"user": "grafana", "role": "viewer"}
    assert {"name": "grafana", "role": "viewer"}.items() <= next(
        user for user in admin.users() if user["name"] == "grafana"
    ).items()
    fresh = admin.new_token("grafana")
    for work, status in (
        (lambda: Client(page.url, token).get("/me"), 401), (lambda: Client(page.url, fresh).users(), 403),
        (lambda: Client(page.url, fresh).add_user("other"), 403), (lambda: admin.add_user("grafana"), 409),
        (lambda: admin.add_user("a b"), 422), (lambda: admin.remove_user("nobody"), 404),
        (lambda: admin.remove_user("admin"), 409), (lambda: admin.new_token("nobody"), 404),
    ):  # fmt: skip
        with pytest.raises(ApiError) as failure:
            work()
        assert failure.value.status == status
    assert "grafana" not in [user["name"] for user in admin.remove_user("grafana")]
    assert [row["action"] for row in admin.get("/audit")["rows"]][:3] == ["remove user", "new token", "add user"]
    assert token not in str(admin.get("/audit")) and fresh not in str(admin.get("/audit"))
    assert not [event for event in page.store.events() if "user" in event.kind or "token" in event.kind]


def test_a_session_needs_its_csrf_token_to_change_things(page: RunningPage) -> None:
    browser, csrf = log_in(page)
    path = f"devices/{page.ids[5]}/label"
    assert browser.post(path, data={"value": "x"}).status_code == 403
    assert browser.post(path, data={"value": "x", "csrf": "0" * 43}).status_code == 403
    foreign = browser.post(path, data={"value": "x", "csrf": csrf}, headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    cross = browser.put(
        f"api/v1/{path}", json={"value": "x"}, headers={"sec-fetch-site": "cross-site", "x-csrf-token": csrf}
    )
    assert cross.status_code == 403
    assert not page.store.device(page.ids[5]).row.pinned  # type: ignore[union-attr]
    assert browser.post(path, data={"value": "Lamp", "csrf": csrf}).status_code == 303
    assert page.store.device(page.ids[5]).row.name == "Lamp"  # type: ignore[union-attr]
    done = browser.put(f"api/v1/{path}", json={"value": "Lamp 2"}, headers={"x-csrf-token": csrf})
    assert done.status_code == 200
    assert browser.post("logout", data={"csrf": csrf}).headers["location"] == "/login"
    assert browser.get("devices").headers["location"] == "/login"


def test_a_login_leads_only_to_this_page_and_is_slowed_down() -> None:
    with running_page(0) as page, httpx.Client(base_url=page.url) as browser:
        for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"):
            answer = browser.post("login", data={"token": page.token, "next": target})
            assert answer.headers["location"] == "/", target
        statuses = [browser.post("login", data={"token": "wrong"}).status_code for _ in range(10)]
        assert set(statuses) == {401, 429}
        assert httpx.post(page.url + "login", data={"token": page.token},
                          headers={"sec-fetch-site": "cross-site"}).status_code == 403  # fmt: skip


def test_requests_are_bounded() -> None:
    with running_page(0, request_octets=1000, url_octets=300, rate_limit=0.1, burst=12) as page:
        headers = {"authorization": f"Bearer {page.token}"}
        with httpx.Client(base_url=page.url, headers=headers) as http:
            assert http.get("api/v1/devices", params={"search": "x" * 400}).status_code == 414
            assert http.put("api/v1/devices/0123456789abcdef/label", content=b"x" * 2000).status_code == 413
            streamed = http.put("api/v1/devices/0123456789abcdef/label", content=iter([b"x" * 800] * 3))
            assert streamed.status_code == 413
            for host in ("evil.example", "127.0.0.1.evil.example"):
                answer = http.get("api/v1/me", headers={"host": host})
                assert (answer.status_code, "allowed_hosts" in answer.text) == (400, True)
            assert http.get("api/v1/me", headers={"host": "localhost:1"}).status_code == 200
            statuses = [http.get("api/v1/me") for _ in range(20)]
            assert statuses[-1].status_code == 429 and int(statuses[-1].headers["retry-after"]) >= 1


def test_every_answer_says_what_a_browser_may_do(page: RunningPage, http: httpx.Client) -> None:
    for path in ("login", "devices", "api/v1/me", "static/ethogram.css", "static/page.js", "nothing", "readyz"):
        headers = http.get(path).headers
        assert headers["content-security-policy"] == CONTENT_POLICY, path
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert "access-control-allow-origin" not in headers and "server" not in headers
    asked = http.options("api/v1/devices", headers={"origin": "http://evil.example",
                                                    "access-control-request-method": "GET"})  # fmt: skip
    assert "access-control-allow-origin" not in asked.headers
    for path in ("static/../../api/app.py", "static/%2e%2e/routes.py", "static/..%2froutes.py"):
        assert http.get(path).status_code == 404


def test_foreign_text_is_text(http: httpx.Client, page: RunningPage) -> None:
    for path in ("devices", f"devices/{page.ids[0]}", ""):
        html = http.get(path).text
        assert "<script>alert" not in html and "\u202e" not in html
        assert not path or "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in html
    page.store.label(page.ids[15], "=1+1", "admin")
    assert "'=1+1" in http.get("devices.csv").text
    # JSON keeps the exact text
    assert http.get(f"api/v1/devices/{page.ids[0]}").json()["device"]["name"] == SCRIPT


def test_events_are_replayed_and_followed(client: Client, page: RunningPage) -> None:
    before = page.store.last_event()
    client.note(page.ids[2], "first")
    heard: list[str] = []

    def listen() -> None:
        for event in client.events(after=before):
            heard.append(event["data"].get("text", ""))
            if len(heard) == 2:
                return

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.3)
    client.note(page.ids[2], "second")
    listener.join(10)
    assert heard == ["first", "second"]
    headers = {"authorization": f"Bearer {page.token}", "last-event-id": str(before)}
    with httpx.stream("GET", page.url + "api/v1/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("id:")) == f"id: {before + 1}"


def test_streams_are_bounded(page: RunningPage) -> None:
    with running_page(0, streams=1) as small:
        headers = {"authorization": f"Bearer {small.token}"}
        with httpx.stream("GET", small.url + "api/v1/events", headers=headers) as stream:
            lines = stream.iter_lines()
            next(lines)
            assert httpx.get(small.url + "api/v1/events", headers=headers).status_code == 503


def test_a_capture_is_read_apart_from_the_inventory(client: Client, tmp_path: Path) -> None:
    before = client.overview()["devices"]
    capture = small_capture(tmp_path / "home.pcap")
    status = client.upload(capture)
    assert (status["state"], status["name"]) == ("waiting", "home.pcap")
    until = time.monotonic() + 180
    while status["state"] in ("waiting", "reading") and time.monotonic() < until:
        time.sleep(0.2)
        status = client.capture(status["id"])
    assert status["state"] == "done", status
    inventory = client.capture_inventory(status["id"])
    assert inventory["format"] == "ethogram.inventory/2" and inventory["devices"]
    assert any("packets" in line for line in status["messages"])
    assert client.overview()["devices"] == before


def finished(client: Client, capture: Path) -> dict[str, Any]:
    """The status of an uploaded capture at its end."""
    status = client.upload(capture)
    until = time.monotonic() + 180
    while status["state"] in ("waiting", "reading") and time.monotonic() < until:
        time.sleep(0.2)
        status = client.capture(status["id"])
    return status


def test_a_capture_is_judged_with_the_libraries_of_the_service(tmp_path: Path) -> None:
    capture = small_capture(tmp_path / "home.pcap")
    device = ethogram.identify(capture).devices[0].device
    ethogram.enrol(capture, labels={device: "den"}).save(tmp_path / "mine.jsonl.gz")
    facts = tmp_path / "facts.csv"
    facts.write_text("table,key,subject,value\nvendors,maker,name,Maker\n")
    service = FakeService(with_files=((str(tmp_path / "mine.jsonl.gz"), "packaged"), str(facts)))
    with running_page(0, service) as page:
        client = Client(page.url, page.token)
        status = finished(client, capture)
        assert status["state"] == "done", status
        inventory = client.capture_inventory(status["id"])
        assert inventory["library"].startswith("mine.jsonl.gz ")
        assert " + library.jsonl.gz " in inventory["library"]
        expected = ethogram.identify(
            capture, library=[tmp_path / "mine.jsonl.gz", "packaged"], knowledge=facts, flows=False
        )  # fmt: skip
        assert [row["verdict"] for row in inventory["devices"]] == [row.verdict for row in expected.devices]
        assert inventory["devices"] and all("den" in row["known_types"] for row in inventory["devices"])
        facts.write_text("table,key\n")
        assert "facts.csv" in finished(client, capture)["problem"]
        service.with_files = ((str(tmp_path / "gone.jsonl.gz"),), "")
        assert finished(client, capture)["problem"].endswith("gone.jsonl.gz: there is no such library")


def test_a_bad_capture_fails_with_one_line_and_leaves_no_file(client: Client, page: RunningPage) -> None:
    context = page.folder
    for content in (b"not a capture\n" * 50, b"\xd4\xc3\xb2\xa1" + b"\xff" * 64):
        file = page.folder / "made.pcap"
        file.write_bytes(content)
        status = client.upload(file)
        until = time.monotonic() + 60
        while status["state"] in ("waiting", "reading") and time.monotonic() < until:
            time.sleep(0.2)
            status = client.capture(status["id"])
        assert status["state"] == "failed" and status["problem"] and "\n" not in status["problem"]
        assert "/" not in status["problem"].replace("n/a", "")
        with pytest.raises(ApiError, match="404"):
            client.capture_inventory(status["id"])
    assert not list(context.glob("ethogram-capture-*"))


def test_uploads_are_bounded(tmp_path: Path) -> None:
    with running_page(0, upload_octets=5000) as page:
        client = Client(page.url, page.token)
        large = tmp_path / "large.pcap"
        large.write_bytes(b"x" * 6000)
        with pytest.raises(ApiError, match="413"):
            client.upload(large)
        large.write_bytes(b"")
        with pytest.raises(ApiError, match="422"):
            client.upload(large)
        assert not list(page.folder.glob("ethogram-capture-*"))


def test_metrics_name_every_counter_with_help(http: httpx.Client) -> None:
    http.get("api/v1/me")
    text = http.get("metrics").text
    lines = text.splitlines()
    helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
    used = {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}
    assert used <= helped and "ethogram_devices" in used and "ethogram_web_requests_total" in used
    assert all(line.rpartition(" ")[2].replace(".", "").replace("e+", "").replace("-", "").isdigit()
               for line in lines if not line.startswith("#"))  # fmt: skip


def test_readiness_follows_the_parts() -> None:
    from dataclasses import replace

    service = FakeService()
    with running_page(0, service) as page:
        assert httpx.get(page.url + "readyz").json()["ready"]
        service.parts = (replace(service.parts[0], state="failed", message="port 4739 is in use"), *service.parts[1:])
        answer = httpx.get(page.url + "readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert "4739" not in answer.text
        headers = {"authorization": f"Bearer {page.token}"}
        assert "port 4739 is in use" in httpx.get(page.url, headers=headers).text


def test_the_token_of_the_first_start_is_for_its_owner_only(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        path = first_token(store, tmp_path)
        assert path is not None and stat.S_IMODE(path.stat().st_mode) == 0o600
        token = path.read_text().strip()
        user = store.user_of(token)
        assert user is not None and user.role == "editor"
        assert first_token(store, tmp_path) is None
    assert token.encode() not in (tmp_path / "store.db").read_bytes()


def test_an_address_that_others_reach_needs_tls_or_a_proxy() -> None:
    check_bind(WebSettings(), None)
    check_bind(WebSettings(host="::1"), None)
    check_bind(WebSettings(host="0.0.0.0", behind_proxy=True), None)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigurationError, match="--behind-proxy"):
            check_bind(WebSettings(host=host), None)


def test_a_port_in_use_is_one_clear_line(page: RunningPage) -> None:
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    other = WebServer(page.app, WebSettings(port=port))
    with pytest.raises(InputError, match=f"127.0.0.1:{port}: the page cannot listen there: Address already in use"):
        other.start()


def test_a_rate_limit_forgets_the_client_that_was_idle_longest() -> None:
    now = [0.0]
    limit = RateLimit(1.0, 1, 2, clock=lambda: now[0])
    assert [limit.wait_s(name) for name in ("a", "a", "b", "c")] == [0.0, 1.0, 0.0, 0.0]
    assert limit.wait_s("a") == 0.0  # forgotten: c came as the third
    now[0] = 10.0
    assert limit.wait_s("a") == 0.0


def without_example(value: object, place: str = "") -> Iterator[str]:
    """Places of an example that nothing stands at."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from without_example(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from without_example(inner, f"{place}[]")
    elif value is None:
        yield place


NULLABLE = {"changed", "removed", "until", "candidate", "hours", "live", "octets_a_day", "judged", "inventory"}


def test_openapi_describes_every_route_with_examples(http: httpx.Client) -> None:
    description = http.get("api/v1/openapi.json").json()
    assert len(description["paths"]) >= 35
    missing: list[str] = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary") and operation.get("description"), (method, path)
            missing += [
                f"{method} {path} {parameter['name']}" for parameter in operation.get("parameters", ())
                if "example" not in parameter and "examples" not in parameter["schema"]
            ]  # fmt: skip
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            bodies = (each for body in contents for each in body.get("content", {}).values())
            missing += [f"{method} {path} body" for body in bodies if body.get("example") is None]
    for name, schema in description["components"]["schemas"].items():
        assert schema.get("examples"), name
        places = without_example(schema["examples"][0])
        missing += [f"{name}{place}" for place in places if place.rpartition(".")[2].strip("[]") not in NULLABLE]
    assert sorted(set(missing)) == []
