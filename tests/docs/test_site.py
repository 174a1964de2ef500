"""The documentation site: its navigation is complete, and its check finds what is broken."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.running import ROOT, page


def pages_of(nav: Any) -> Iterator[str]:
    """The pages of a navigation."""
    if isinstance(nav, str):
        yield nav
        return
    for entry in nav.values() if isinstance(nav, dict) else nav:
        yield from pages_of(entry)


def test_every_page_is_in_the_navigation() -> None:
    yaml = pytest.importorskip("yaml")
    nav = "nav:\n" + page("mkdocs.yml").split("\nnav:\n")[1]
    listed = set(pages_of(yaml.safe_load(nav)["nav"]))
    for name in listed:
        assert (ROOT / "docs" / name).is_file(), name
    for part in ("tutorial", "howto", "explanation", "reference"):
        pages = {f"{part}/{path.name}" for path in (ROOT / "docs" / part).glob("*.md")}
        assert pages <= listed, f"not in mkdocs.yml: {pages - listed}"
        if part in ("howto", "explanation"):
            named = set(re.findall(r"\]\(([\w-]+\.md)\)", page(f"docs/{part}/index.md")))
            assert pages - {f"{part}/index.md"} <= {f"{part}/{name}" for name in named}


def test_nothing_comes_from_other_hosts() -> None:
    settings = page("mkdocs.yml").split("\nnav:\n")[0]
    assert re.search(r"^  font: false$", settings, flags=re.MULTILINE)
    assert "http://" not in settings
    assert "https://" not in settings


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="other.html#part">', ""),
        ('<a href="https://example.org/">', ""),
        ('<img src="drawing.svg">', ""),
        ('<a href="missing.html">', "no such file: missing.html"),
        ('<a href="other.html#nowhere">', "no such anchor: other.html#nowhere"),
        ('<a href="#nowhere">', "no such anchor: #nowhere"),
        ('<script src="https://example.org/x.js"></script>', "loads https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "loads //example.org/x.css"),
    ],
)
def test_the_check_finds_broken_links_and_external_files(
    body: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    check_site = importlib.import_module("check_site")
    (tmp_path / "index.html").write_text(f"<html><body>{body}</body></html>")
    (tmp_path / "other.html").write_text('<h2 id="part">Part</h2>')
    (tmp_path / "drawing.svg").write_text("<svg/>")
    assert check_site.problems(tmp_path) == ([f"index.html: {problem}"] if problem else [])


def test_the_check_finds_external_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    check_site = importlib.import_module("check_site")
    (tmp_path / "index.html").write_text("<html></html>")
    (tmp_path / "x.css").write_text("@font-face { src: url(https://example.org/font.woff2) }")
    assert check_site.problems(tmp_path) == ["x.css: loads files from another host"]
