"""The page in Debian's Chromium: what a user does, what is shown, and that nothing goes wrong on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.browser import AXE, Visit, chromium, visiting
from serve.web_made import SCRIPT, FakeService, RunningPage, fill, raise_alerts, running_page, small_capture

PAGES = (
    "", "devices", "unknown", "changes", "changes?by=device", "changes?by=kind", "alerts", "alerts?show=any",
    "library?q=tcp/9100", "collectors", "collectors/remedies", "capture", "settings", "about",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def home(browser: Any) -> Iterator[RunningPage]:
    with running_page(20, name=SCRIPT) as running:
        running.store.record_groups([(running.ids[13:16], ["UDP/5353"])])
        raise_alerts(running.store, running.ids)
        yield running


@pytest.fixture
def visit(browser: Any, home: RunningPage) -> Iterator[Visit]:
    with visiting(browser, home) as begun:
        yield begun


def rows(page: Any) -> Any:
    """Expectations about the rows of the list; they are checked until they hold."""
    from playwright.sync_api import expect

    return expect(page.locator(".devices tbody tr"))


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".devices .c-name a").all_inner_texts()]


def choose_cameras(page: Any) -> None:
    """Show cameras alone; the link to the CSV follows the list when it has been replaced."""
    page.get_by_label("Kind").select_option("camera")
    page.locator("[data-csv][href*='kind=camera']").wait_for(state="attached")
    page.wait_for_url("**kind=camera*")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_window_and_shows_no_error(
    browser: Any, home: RunningPage, width: int, scheme: str
) -> None:  # fmt: skip
    with visiting(browser, home, width=width, color_scheme=scheme) as visit:
        for path in (*PAGES, f"devices/{home.ids[1]}"):
            page = visit.go(path)
            if path.startswith("devices/"):
                page.get_by_role("heading", name="Peers by name").wait_for()
            assert page.locator("h1").count() == 1, path
            assert visit.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
            assert "undefined" not in page.locator("main").inner_text().lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(browser: Any, home: RunningPage, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip(f"axe-core is not at {AXE} (npm pack axe-core)")
    with visiting(browser, home, color_scheme=scheme, bypass_csp=True) as visit:
        for path in (*PAGES, f"devices/{home.ids[1]}", f"devices/{home.ids[4]}"):
            visit.go(path)
            visit.evaluate(AXE.read_text("utf-8"))
            result = visit.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [
                f"{each['id']}: {each['nodes'][0]['html'][:150]}"
                for each in result["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], path


def test_typing_filters_the_list_and_the_address_keeps_it(visit: Visit, home: RunningPage) -> None:
    page = visit.go("devices")
    assert len(names(page)) == 20
    page.keyboard.press("/")
    page.keyboard.type("192.168.1.7", delay=20)
    rows(page).to_have_count(1)
    page.wait_for_url("**search=192.168.1.7*")
    assert page.locator("[data-csv]").get_attribute("href").endswith("search=192.168.1.7")
    page.reload()
    assert len(names(page)) == 1 and page.get_by_label("Search").input_value() == "192.168.1.7"
    page.get_by_label("Search").fill("no such device")
    page.get_by_role("heading", name="No device fits").wait_for()
    page.get_by_role("link", name="Show all devices").click()
    rows(page).to_have_count(20)


def test_filters_and_order_go_back_with_the_back_button(visit: Visit) -> None:
    page = visit.go("devices")
    choose_cameras(page)
    cameras = names(page)
    assert 0 < len(cameras) < 20
    page.get_by_role("link", name="Sure").click()
    page.locator("th[aria-sort=descending]").wait_for()
    page.wait_for_url("**sort=score*")
    scores = [float(text or 0) for text in page.locator(".devices .c-score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Sure")
    page.go_back()
    page.wait_for_url("**kind=camera")
    page.go_back()
    rows(page).to_have_count(20)
    assert page.get_by_label("Kind").input_value() == ""
    page.go_forward()
    rows(page).to_have_count(len(cameras))


def test_the_back_button_pressed_again_while_a_page_loads_shows_the_page_of_the_address(visit: Visit) -> None:
    page = visit.go("devices")
    choose_cameras(page)
    cameras = len(names(page))
    page.get_by_role("link", name="Sure").click()
    page.locator("th[aria-sort=descending]").wait_for()
    # The scripts of the page that the first step back loads are held until the second step has been taken.
    held: list[Any] = []
    page.route("**/htmx*.js", lambda route: route.continue_() if held else held.append(route))
    visit.evaluate("history.back()")
    page.wait_for_url("**kind=camera", wait_until="commit")
    page.locator("th[aria-sort=descending]").wait_for(state="detached")
    assert 0 < cameras < 20
    for _ in range(400):
        if held:
            break
        page.wait_for_timeout(50)
    assert held
    visit.evaluate("history.back()")
    held[0].continue_()
    page.wait_for_url("**/devices")
    rows(page).to_have_count(20)


def test_a_device_says_what_it_is_and_why(visit: Visit, home: RunningPage) -> None:
    page = visit.go("devices")
    page.get_by_role("link", name="device-1", exact=True).click()
    page.wait_for_url("**/devices/*")
    for heading in ("What it is", "History", "Addresses and names", "Services over time"):
        assert page.get_by_role("heading", name=heading).is_visible()
    page.get_by_role("heading", name="Peers by name").wait_for()
    assert page.get_by_role("row", name="tplinkcloud.com HTTPS 40 kB 123 kB").is_visible()
    assert page.get_by_role("row", name="203.0.113.0/24 NTP").is_visible()
    assert page.locator("#past .u-legend").get_by_text("similarity to earlier days").is_visible()
    assert page.locator("#past .u-legend").get_by_text("both directions").is_visible()
    assert page.locator(".ladder li.stated").count() >= 1
    assert "likely" in page.locator(".ladder").inner_text() or "certain" in page.locator(".ladder").inner_text()
    assert page.locator(".evidence svg rect.value").count() > 2


def test_a_device_shows_what_left_its_behaviour(visit: Visit, home: RunningPage) -> None:
    page = visit.go(f"devices/{home.ids[2]}")
    page.get_by_role("heading", name="Its behaviour").wait_for()
    row = page.locator("tr", has_text="left it")
    assert "Telnet from the device: 960 kB, before never" in row.inner_text()
    assert page.locator("#past .u-legend").get_by_text("limit").is_visible()


def test_foreign_text_is_shown_and_not_run(visit: Visit, home: RunningPage) -> None:
    visit.page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page = visit.go(f"devices/{home.ids[0]}")
    assert page.locator("h1").inner_text() == "<script>alert(1)</script>\\u202e"
    page = visit.go("devices")
    assert "<script>alert(1)</script>\\u202e" in names(page)


def test_labelling_noting_confirming_and_rejecting(visit: Visit, home: RunningPage) -> None:
    device = next(row for row in home.store.devices(limit=100).rows if row.level not in ("", "unknown", "label"))
    page = visit.go(f"devices/{device.id}")
    page.get_by_role("button", name="Right").click()
    page.get_by_text("Confirmed.").wait_for()
    page.get_by_label("Your label").fill("Hall <camera>")
    page.locator("#kind").select_option("camera")
    page.get_by_role("button", name="Label", exact=True).click()
    page.get_by_text("Called “Hall <camera>”").wait_for()
    assert page.locator("h1").inner_text() == "Hall <camera>"
    assert page.locator(".chip.pinned").is_visible()
    page.get_by_label("Note").fill("moved to the garage")
    page.get_by_role("button", name="Add the note").click()
    page.get_by_text("moved to the garage").first.wait_for()
    page.get_by_role("button", name="Remove the label").click()
    page.get_by_text("The label is removed").wait_for()
    page.get_by_role("button", name="Wrong").click()
    page.get_by_text("Rejected.").wait_for()
    assert page.get_by_text("Unknown: no level is sure enough.").is_visible()
    assert [entry.action for entry in home.store.audit(id_=device.id)][::-1] == [
        "confirm", "label", "note", "remove label", "reject",
    ]  # fmt: skip


def test_ignoring_merging_and_splitting(visit: Visit, home: RunningPage) -> None:
    first, second = home.ids[16], home.ids[17]
    page = visit.go(f"devices/{first}")
    page.get_by_text("Merge, split, ignore").click()
    page.get_by_role("button", name="Ignore this device").click()
    page.get_by_text("Ignored: left out").wait_for()
    page.get_by_text("Merge, split, ignore").click()
    page.get_by_role("button", name="Stop ignoring").click()
    page.get_by_text("Taken back").wait_for()
    page.get_by_text("Merge, split, ignore").click()
    page.get_by_label("This is the same device as").fill("no such thing")
    page.get_by_role("button", name="Merge").click()
    page.get_by_text("no other device of the name or address").wait_for()
    page.get_by_label("This is the same device as").fill("192.168.1.18")
    page.locator("#others option").first.wait_for(state="attached")
    page.get_by_role("button", name="Merge").click()
    page.get_by_text("is part of this device from now on").wait_for()
    page.wait_for_url(f"**/devices/{second}")
    visit.go(f"devices/{first}")
    assert page.url.endswith(second)
    page.get_by_text("Merge, split, ignore").click()
    page.get_by_role("button", name="Split").click()
    page.get_by_text("This was part of").wait_for()
    assert not page.url.endswith(second)


def test_naming_a_group_names_all_of_its_devices(visit: Visit, home: RunningPage) -> None:
    page = visit.go("unknown")
    assert page.get_by_text("They share: UDP/5353").is_visible()
    page.get_by_label("What are they?").fill("Garden lights")
    page.get_by_label("Kind").select_option("light")
    page.get_by_role("button", name="Name all").click()
    page.get_by_text("3 devices are called “Garden lights”").wait_for()
    assert page.get_by_text("Groups to name: 1 → 0").is_visible()
    assert page.get_by_role("heading", name="No groups").is_visible()
    page = visit.go("devices?search=garden")
    assert names(page) == ["Garden lights"] * 3


def test_changes_are_shown_by_change_device_and_kind(browser: Any) -> None:
    from playwright.sync_api import expect

    with running_page(6) as running, visiting(browser, running) as visit:
        page = visit.go("")
        page.get_by_role("link", name="Changes", exact=True).click()
        page.get_by_role("heading", name="New devices").wait_for()
        headings = page.locator("#change-list h2")
        titles = ["New devices", "Silent devices", "Services that appeared", "Peers that grew"]
        expect(headings).to_have_text(titles)
        telnet = page.get_by_role("row").filter(has_text="Telnet")
        expect(telnet).to_have_count(1)
        assert telnet.get_by_role("link").count() == 2  # two devices have the same change
        assert telnet.get_by_text("in 0 of 169 hours with traffic before, in 23 of 24 after").is_visible()
        page.get_by_label("Grouped by").select_option("device")
        expect(page.locator("#change-list h2 a")).to_have_count(4)
        page.get_by_label("Change", exact=True).select_option("service appeared")
        expect(headings).to_have_count(2)
        page.wait_for_url(re.compile("(?=.*by=device)(?=.*change=service\\+appeared)"))
        page.reload()
        expect(headings).to_have_count(2)
        page.get_by_label("Change", exact=True).select_option("peer vanished")
        page.get_by_text("No change fits.").wait_for()
        page.get_by_role("link", name="Show all changes").click()
        expect(headings).to_have_count(4)
        page.get_by_label("Grouped by").select_option("kind")
        page.get_by_text(re.compile("service appeared: [12]")).first.wait_for()
        page.get_by_label("In the latest").select_option("2d")
        expect(page.get_by_role("link", name="new devices")).to_have_attribute("href", re.compile("since=2d"))
        page = visit.go(f"devices/{running.ids[1]}")
        page.get_by_role("heading", name="What changed in a day").wait_for()
        assert page.locator("#past table.changes tbody tr").count() == 2


def test_changes_of_an_empty_store_say_so(browser: Any) -> None:
    with running_page(0) as running, visiting(browser, running) as visit:
        page = visit.go("changes")
        page.get_by_role("heading", name="Nothing to compare").wait_for()
        assert page.get_by_text("no flows are stored yet").is_visible()


def test_alerts_are_filtered_acknowledged_and_muted(browser: Any) -> None:
    from playwright.sync_api import expect

    with running_page(4) as running, visiting(browser, running) as visit:
        raise_alerts(running.store, running.ids)
        page = visit.go("")
        assert page.get_by_text("3 alerts are open.").is_visible()
        page.get_by_role("link", name="Alerts 3").click()
        page.wait_for_url("**/alerts")
        rows = page.locator(".alerts > li")
        expect(rows).to_have_count(3)
        page.get_by_label("Severity").select_option("critical")
        expect(rows).to_have_count(1)
        assert "severity=critical" in page.url
        page.get_by_role("button", name="Acknowledge", exact=True).click()
        page.get_by_text("1 alert is acknowledged.").wait_for()
        page = visit.go("alerts")
        expect(rows).to_have_count(2)
        changed = rows.filter(has_text="Changed verdict")
        changed.get_by_text("Mute", exact=True).first.click()
        changed.get_by_role("button", name="Mute").click()
        page.get_by_role("heading", name="Muted").wait_for()
        expect(rows).to_have_count(1)
        page.get_by_role("button", name="Remove").click()
        page.get_by_text("Not muted any more.").wait_for()
        page = visit.go(f"devices/{running.ids[1]}")
        assert page.get_by_text("Belkin plug → TP-Link plug").is_visible()
        page.get_by_role("link", name="1 alert", exact=True).click()
        page.get_by_text("Only about").wait_for()
        expect(rows).to_have_count(1)
        page = visit.go("alerts?show=acknowledged")
        page.get_by_role("button", name="Open again").click()
        page.get_by_text("The alert is open again.").wait_for()
        page = visit.go("alerts")
        page.get_by_role("button", name="Acknowledge these").click()
        page.get_by_role("heading", name="Nothing needs attention").wait_for()


def test_what_happens_is_shown_without_reloading(browser: Any) -> None:
    with running_page(3) as running, visiting(browser, running) as visit:
        page = visit.go("devices")
        page.locator(".live[data-state=on]").wait_for()
        running.store.label(running.ids[1], "Kitchen plug", "somebody else", kind="plug")
        page.get_by_role("link", name="Kitchen plug").wait_for()
        device = visit.go(f"devices/{running.ids[0]}")
        device.locator(".live[data-state=on]").wait_for()
        device.get_by_label("Your label").fill("half a na")
        running.store.label(running.ids[0], "Named elsewhere", "somebody else")
        device.locator("#findings").get_by_text("labelled by somebody else").wait_for()
        assert device.get_by_label("Your label").input_value() == "half a na"


def test_the_first_run_shows_what_to_switch_on_and_counters_that_move(browser: Any) -> None:
    service = FakeService(counters={"stages": {"datagrams": {"unit": "messages", "read": 0, "used": 0}}})
    with running_page(0, service) as running, visiting(browser, running) as visit:
        page = visit.go("")
        assert page.get_by_role("heading", name="Waiting for the first flow").is_visible()
        assert page.get_by_text("udp://127.0.0.1:4739", exact=True).is_visible()
        assert page.get_by_text("reached from this machine only").is_visible()
        service.counters = {"stages": {"datagrams": {"unit": "messages", "read": 1234, "used": 1234}}}
        page.get_by_text("1,234").wait_for()
        page.get_by_text("no record could be decoded yet").wait_for()
        assert visit.go("devices").get_by_role("heading", name="No devices yet").is_visible()
        fill(running.store, 5)
        page = visit.go("")
        assert page.get_by_role("link", name="5 devices").is_visible()


def test_what_is_wrong_is_shown_with_what_mends_it(browser: Any) -> None:
    from dataclasses import replace

    service = FakeService(counters={
        "stages": {"sets": {"unit": "sets", "read": 9, "used": 2, "dropped": {"no template": 7}}},
        "lost": [{"place": "sets", "reason": "no template", "count": 7, "unit": "sets"}],
    })  # fmt: skip
    service.parts = (replace(service.parts[0], state="degraded", message="disk is full"), *service.parts[1:])
    with running_page(3, service) as running, visiting(browser, running) as visit:
        assert visit.go("").get_by_text("Working, with a problem").is_visible()
        page = visit.go("collectors")
        assert page.get_by_text("collector: disk is full").first.is_visible()
        assert page.get_by_text("Set the template refresh of the exporter to 60 s").is_visible()
        assert page.get_by_role("row", name="sets dropped no template 7 sets").is_visible()
        page.get_by_role("link", name="More").click()
        page.wait_for_url("**/collectors/remedies#no-template")
        page.get_by_role("heading", name="Data comes before its template").wait_for()
        assert page.get_by_text("7 counted here").is_visible()


def test_a_capture_is_dropped_and_its_inventory_shown(visit: Visit, home: RunningPage, tmp_path: Path) -> None:
    page = visit.go("capture")
    page.locator("#file").set_input_files(small_capture(tmp_path / "home.pcap"))
    page.get_by_role("button", name="Read it").click()
    page.wait_for_url("**/capture/*")
    page.get_by_text("1 device.", exact=True).wait_for(timeout=180_000)
    assert page.get_by_role("heading", name="home.pcap").is_visible()
    bad = tmp_path / "notes.txt"
    bad.write_text("not a capture")
    page = visit.go("capture")
    page.locator("#file").set_input_files(bad)
    page.get_by_role("button", name="Read it").click()
    page.locator(".notice.bad").wait_for(timeout=60_000)
    assert "unknown format" in page.locator(".notice.bad").inner_text()


def test_confirmed_devices_are_listed_and_taken_back(browser: Any) -> None:
    from playwright.sync_api import expect

    with running_page(12) as running, visiting(browser, running) as visit:
        page = visit.go("library")
        assert page.get_by_text("None yet.").is_visible()
        device = next(row for row in running.store.devices(sort="score", descending=True).rows if row.level == "model")
        page = visit.go(f"devices/{device.id}")
        page.get_by_role("button", name="Right", exact=True).click()
        page.get_by_text("joins the library of this service").wait_for()
        page = visit.go("library")
        rows = page.locator("#confirmed tbody tr")
        expect(rows).to_have_count(1)
        assert rows.get_by_text("enrolled").is_visible()
        page.get_by_role("button", name="Take back").click()
        page.get_by_text("leaves the library with the next round").wait_for()
        expect(rows).to_have_count(0)
        assert running.store.confirmed() == []


def test_a_session_begins_with_the_token_and_ends(visit: Visit, home: RunningPage) -> None:
    page = visit.page
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(home.url + "devices")
    assert page.url.endswith("/login")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("This is not a token of a user.").wait_for()
    visit.errors.clear()  # the browser notes the status 401
    page.get_by_label("Token").fill(home.token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(home.url)
    assert visit.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.go_back()
    page.wait_for_load_state("load")
    page.goto(home.url + "devices")
    assert page.url.endswith("/login")


def test_a_viewer_sees_no_forms(browser: Any, home: RunningPage) -> None:
    token = home.store.create_user("guest", "viewer")
    with visiting(browser, home, token=token) as visit:
        page = visit.go(f"devices/{home.ids[2]}")
        assert page.get_by_role("heading", name="What it is").is_visible()
        assert page.get_by_role("heading", name="You know better?").count() == 0
        assert visit.go("settings").get_by_text("Changes by users").count() == 0
        assert visit.go("alerts").get_by_role("button").filter(has_text="Acknowledge").count() == 0


def test_users_are_added_and_removed_on_the_page(browser: Any) -> None:
    with running_page(2) as running, visiting(browser, running) as visit:
        visit.page.on("dialog", lambda dialog: dialog.accept())
        page = visit.go("settings")
        page.get_by_label("Name", exact=True).fill("guest")
        page.get_by_role("button", name="Add the user").click()
        page.get_by_text("guest may log in with this token.").wait_for()
        token = page.locator("code.token").inner_text()
        assert running.store.user_of(token).name == "guest"
        row = page.get_by_role("row", name="guest viewer")
        row.get_by_role("button", name="New token").click()
        page.get_by_text("The new token is not shown again").wait_for()
        assert running.store.user_of(token) is None
        page = visit.go("settings")
        assert page.locator("code.token").count() == 0
        page.get_by_role("row", name="guest viewer").get_by_role("button", name="Remove").click()
        page.get_by_text("guest is removed").wait_for()
        assert [user.name for user in running.store.users()] == ["admin"]
        page = visit.go("settings")
        assert page.get_by_role("row").filter(has_text="remove user").is_visible()


def test_the_page_works_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.go("")
    page.keyboard.press("Tab")
    assert visit.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert visit.evaluate("location.hash") == "#main"
    page = visit.go("devices")
    page.get_by_role("link", name="Devices", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/devices")


def test_dark_and_light_are_chosen_and_kept(visit: Visit) -> None:
    page = visit.go("")
    before = visit.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark or light").click()
    after = visit.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after
    page.reload()
    assert visit.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_ten_thousand_devices_without_lag(browser: Any) -> None:
    with running_page(10_000) as running, visiting(browser, running) as visit:
        page = visit.go("devices")
        assert page.get_by_text("1 to 100 of 10,000 devices").is_visible()
        page.get_by_label("Search").fill("192.168.40.77")
        rows(page).to_have_count(1)
        page.get_by_label("Search").fill("")
        page.get_by_role("link", name="Next").wait_for()
        page.get_by_role("link", name="Next").click()
        page.get_by_text("101 to 200 of 10,000 devices").wait_for()
        assert visit.go("").get_by_role("link", name="10,000 devices").is_visible()
