"""Debian's Chromium for tests of the page; where it cannot be had, the tests skip and say so."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

import pytest

from serve.web_made import RunningPage

AXE = Path(os.environ.get("ETHOGRAM_AXE", Path(__file__).parents[2] / "build" / "axe" / "axe.min.js"))
"""axe-core, a checker of accessibility; CI fetches it from the npm registry, it is not a part of the project."""

CALL_MS = 20_000
"""Longest wait of one call of Playwright; calls that take no limit run in :meth:`Visit.evaluate`."""
EVALUATE_S = 60.0
LONGEST_S = 150.0
"""One visit takes seconds; ten thousand devices take half a minute on a slow machine."""
MARK = f"--ethogram-tests={os.getpid()}"
"""An option that Chromium ignores, by which the processes of this browser are found."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; it must not be used in a loop of asyncio."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = Chromium(playwright, path)
        try:
            yield browser
        finally:
            with bounded(EVALUATE_S, "closing the browser"):
                browser.close()


class Chromium:
    """A browser that is started again after it was ended, so that one hang does not fail the tests that follow."""

    def __init__(self, playwright: Any, path: str) -> None:
        self._playwright, self._path = playwright, path
        self._browser = self._start()

    def _start(self) -> Any:
        options = ["--no-sandbox", "--disable-gpu", MARK]
        return self._playwright.chromium.launch(executable_path=self._path, args=options, timeout=2 * CALL_MS)

    def new_context(self, **options: Any) -> Any:
        """A window with its own cookies."""
        if not self._browser.is_connected():
            self._browser = self._start()
        return self._browser.new_context(**options)

    def close(self) -> None:
        """End the browser."""
        self._browser.close()


@contextmanager
def bounded(seconds: float = LONGEST_S, step: str = "the visit") -> Iterator[None]:
    """End the browser if a step takes too long: calls without a limit then raise, and the failure names the step."""
    ended: list[float] = []

    def end() -> None:
        ended.append(seconds)
        subprocess.run(["pkill", "-9", "-f", "--", MARK], check=False, timeout=30)

    watchdog = Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception as error:
        if ended:
            raise AssertionError(f"{step} took longer than {seconds:.0f} s, and the browser was ended") from error
        raise
    finally:
        watchdog.cancel()


class Visit:
    """A user with a page open; notes errors of the console and requests to anywhere else."""

    def __init__(
        self, browser: Any, running: RunningPage, *, token: str = "", width: int = 1280, **options: Any
    ) -> None:
        self.running = running
        with bounded(EVALUATE_S, "opening a window"):
            self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
            self.context.set_default_timeout(CALL_MS)
            self.context.set_default_navigation_timeout(CALL_MS)
            self.page = self.context.new_page()
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._note)
        self.page.goto(running.url)
        self.page.get_by_label("Token").fill(token or running.token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(running.url)

    def _note(self, request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.running.url).netloc and not request.url.startswith("data:"):
            self.elsewhere.append(request.url)

    def go(self, path: str) -> Any:
        """Open a path, and wait until the page has settled."""
        self.page.goto(self.running.url + path)
        self.page.wait_for_load_state("load")
        return self.page

    def evaluate(self, script: str) -> Any:
        """The value of a script in the page; Playwright's own call has no limit."""
        with bounded(EVALUATE_S, f"evaluating {script[:60]!r}"):
            return self.page.evaluate(script)

    def close(self) -> None:
        """Leave; nothing must have gone wrong on the page.

        Chromium sometimes does not close a window for a minute; it is then ended, which is no fault of the page.
        """
        try:
            with bounded(EVALUATE_S, "closing the window"):
                self.context.close()
        except AssertionError as error:
            warnings.warn(str(error), stacklevel=2)
        assert self.errors == []
        assert self.elsewhere == []


@contextmanager
def visiting(browser: Any, running: RunningPage, **options: Any) -> Iterator[Visit]:
    """A visit that ends without an error of the console and without a request elsewhere."""
    with bounded():
        visit = Visit(browser, running, **options)
        try:
            yield visit
        except BaseException:
            with contextlib.suppress(Exception), bounded(EVALUATE_S, "closing the window"):
                visit.context.close()
            raise
        visit.close()
