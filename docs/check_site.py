"""Check a built site: every internal link and anchor exists, and no page loads anything from another host."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""Elements whose attribute makes a browser load a file."""
LOADING_LINKS = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "icon", "modulepreload"}
EXTERNAL_CSS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])(?:https?:)?//""")


class PageLinks(HTMLParser):
    """Identifiers, links and loaded files of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what one start tag defines, links to and loads."""
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        loaded = values.get(LOADING.get(tag, ""), "")
        if tag == "link" and LOADING_LINKS & set(values.get("rel", "").split()):
            loaded = values.get("href", "")
        if loaded:
            self.loads.append(loaded)
        elif tag == "a" and values.get("href"):
            self.links.append(values["href"])


def problems(site: Path) -> list[str]:
    """One line for each broken link, missing anchor and external file of a site."""
    pages: dict[Path, PageLinks] = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = PageLinks()
        pages[path].feed(path.read_text("utf-8"))
    lines = [
        f"{path.relative_to(site)}: loads files from another host"
        for path in sorted(site.rglob("*.css"))
        if EXTERNAL_CSS.search(path.read_text("utf-8"))
    ]
    for path, page in pages.items():
        name = path.relative_to(site)
        lines += [f"{name}: loads {target}" for target in page.loads if urlsplit(target).netloc]
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            base = site if parts.path.startswith("/") else path.parent
            linked = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path.resolve()
            if linked.is_dir():
                linked /= "index.html"
            if not linked.exists():
                lines.append(f"{name}: no such file: {target}")
            elif parts.fragment and linked.suffix == ".html":
                anchors = pages.get(site / linked.relative_to(site.resolve()))
                if anchors is not None and unquote(parts.fragment) not in anchors.ids:
                    lines.append(f"{name}: no such anchor: {target}")
    return lines


def main() -> int:
    """Check the site in the folder given; exit with 1 if anything is wrong."""
    site = Path(sys.argv[1])
    lines = problems(site) if (site / "index.html").exists() else [f"{site}: no site"]
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
