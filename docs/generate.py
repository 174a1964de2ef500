"""Write the reference pages that are made from the code; ``--check`` only says which are stale."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import fields

from ethogram.schema import BIFLOW, FLOW, NAME_ANSWER, NAME_QUESTION, Table

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


def pages() -> dict[Path, str]:
    """Every generated page and what belongs into it."""
    return {
        REFERENCE / "flow-table.md": page_of(
            "The flow table",
            "What `ethogram flows` writes (Parquet), and the tables before it. Everything downstream reads the flow "
            "table and nothing else; labels never ride on it.",
            [FLOW, BIFLOW, NAME_ANSWER, NAME_QUESTION],
        ),
        REFERENCE / "fields.md": fields.page(),
    }


def main() -> int:
    """Write or check the pages."""
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
