"""Take the four pictures of the page from a running service, with Debian's Chromium.

They show the devices of the LSIF data set (``ethogram library list`` cites it), seven products, read by
``ethogram serve --no-collect --watch FOLDER`` from a folder with its captures of one week. Usage:
``python docs/page_pictures.py URL TOKEN_FILE DEVICE``, with ``DEVICE`` the name of the device to show.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

IMAGES = Path(__file__).parent / "images"


def main() -> int:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("token", type=Path)
    parser.add_argument("device")
    options = parser.parse_args()
    url = options.url.rstrip("/")
    pictures = (
        ("page-overview", "/", 1180, 900, "light"),
        ("page-devices", "/devices?sort=score&descending=true", 1180, 900, "light"),
        ("page-device", "", 1180, 1200, "light"), ("page-phone", "", 390, 844, "dark"),
    )  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, path, width, height, scheme in pictures:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(url)
            page.get_by_label("Token").fill(options.token.read_text().strip())
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{url}/")
            page.goto(url + (path or f"/devices?search={options.device}"))
            if not path:
                page.locator(".devices .c-name a").first.click()
                page.wait_for_url("**/devices/*")
            page.wait_for_timeout(500)
            page.screenshot(path=str(IMAGES / f"{name}.png"))
            context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
