"""Write the reference pages, manual pages and completion files that are made from the code.

``--check`` writes nothing and fails if a file is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import api_page
import cli_page
import counters_page
import fields
import inventory_page
import manual_pages
import settings_page

from ethogram.config import CustomFlowSettings, PacketFlowSettings
from ethogram.representation.views import BASES, COLUMNS, OPTIONS, view_of
from ethogram.schema import BIFLOW, CUSTOM_FLOW, FLOW, IDENTITY, NAME_ANSWER, NAME_QUESTION, PACKET_FLOW, Table

REFERENCE = Path(__file__).parent / "reference"


def page_of(title: str, introduction: str, tables: list[Table]) -> str:
    """One Markdown page: each table with its columns, types, units and meanings."""
    lines = [f"# {title}", "", "<!-- made by docs/generate.py; do not edit -->", "", introduction, ""]
    for table in tables:
        lines += [f"## {table.name.replace('_', ' ').capitalize()}", "", table.meaning, ""]
        lines += ["| column | type | unit | may be null | meaning |", "|---|---|---|---|---|"]
        for column in table.columns:
            dtype = str(column.dtype).replace("|", "\\|")
            null = "yes" if column.nullable else ""
            lines.append(f"| `{column.name}` | {dtype} | {column.unit} | {null} | {column.meaning} |")
        lines.append("")
    return "\n".join(lines)


SCALED = {
    "relative_time": "0; with `/time-of-day`, the second of the day (UTC) / 86,400",
    "remote_octet_1": "octets of the remote IPv4 address / 255 (4 numbers); 0 if it is private",
    "remote_port": "port / 65,535",
    "device_port": "port / 65,535",
    "protocol": "protocol / 255",
    "octets": "min(1, log1p(octets) / log1p(10,000,000))",
    "packets": "min(1, log1p(packets) / log1p(100,000))",
    "packet_0_offset": "seconds since the first packet / 60, at most 1; the next numbers repeat for packets 1 to 9",
    "packet_0_octets": "IP total length / 1,500, at most 1",
    "packet_0_out": "1 if the device sent it; 0 if it received it or the packet does not exist",
    "symbol_0": "code / 258, where 0 is padding, 1 the start of a packet, 2 its end, and b + 3 the octet b; "
    "up to `symbol_2999`",
}


def vector_page() -> str:
    """The form of custom flows, and the layout, views and settings of their vectors."""
    page = page_of(
        "Custom flows and their vectors",
        "`ethogram vectors` writes custom flows as Parquet with values as captured, and with `--packets-output` the "
        "packets of both directions. This page describes both tables, and the vector that a row expands to.",
        [CUSTOM_FLOW, PACKET_FLOW],
    )
    lines = [
        page.rstrip(), "", "## Vector", "",
        "A vector has 3,040 numbers in [0, 1]. The scaling (version `1`) is fixed; nothing is fitted on data. Files "
        "and models store the version of the scaling, and other versions are rejected.", "",
        "| index | name | value |", "|---|---|---|",
        *(f"| {COLUMNS.index(name)} | `{name}` | {meaning} |" for name, meaning in SCALED.items()),
        "", "## Views", "",
        "A view selects numbers of the vector. Its name is a base, followed by any of "
        + ", ".join(f"`/{option}`" for option in OPTIONS) + " in any order, such as "
        "`meta+packets/no-address/no-ports`. The canonical name omits options without effect.", "",
        "| base | numbers | without address | without ports | without both |", "|---|---|---|---|---|",
        *(
            f"| `{base}` | "
            + " | ".join(
                f"{view_of(base + option).width:,}"
                for option in ("", "/no-address", "/no-ports", "/no-address/no-ports")
            )
            + " |"
            for base in BASES
        ),
        "", "## Settings", "", "| setting | default | meaning |", "|---|---|---|",
        *(
            f"| `{name}` | {field.default!r} | {field.description} |"
            for name, field in CustomFlowSettings.model_fields.items()
        ),
        "", "Settings of `--packets-output`:", "", "| setting | default | meaning |", "|---|---|---|",
        *(
            f"| `{name}` | {field.default!r} | {field.description} |"
            for name, field in PacketFlowSettings.model_fields.items()
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every generated file and what belongs into it."""
    return {
        REFERENCE / "flow-table.md": page_of(
            "The flow table",
            "`ethogram flows` writes this table as Parquet. All later stages read it and nothing else; it contains no "
            "labels. The tables of the stages before it follow.",
            [FLOW, IDENTITY, BIFLOW, NAME_ANSWER, NAME_QUESTION],
        ),
        REFERENCE / "custom-flow.md": vector_page(),
        REFERENCE / "fields.md": fields.page(),
        REFERENCE / "identify-json.md": inventory_page.page(),
        REFERENCE / "cli.md": cli_page.page(),
        REFERENCE / "settings.md": settings_page.page(),
        REFERENCE / "counters.md": counters_page.page(),
        REFERENCE / "api.md": api_page.page(),
        **manual_pages.files(),
    }


def main() -> int:
    """Write or check the files."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path], "utf-8")
    for path in stale:
        sys.stdout.write(f"{path}\n")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
