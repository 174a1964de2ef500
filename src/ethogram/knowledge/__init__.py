"""Public facts about devices: which names, ports, groups, texts and MAC prefixes belong to which vendor or kind.

The names here are public; each loads its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ethogram._lazy import lazy_names

if TYPE_CHECKING:
    from ethogram.knowledge.organisations import squeezed
    from ethogram.knowledge.rows import COLUMNS, TABLES, KnowledgeSource, Row, key_problem, row_problem
    from ethogram.knowledge.tables import Fact, Knowledge

__all__ = [
    "COLUMNS",
    "TABLES",
    "Fact",
    "Knowledge",
    "KnowledgeSource",
    "Row",
    "key_problem",
    "row_problem",
    "squeezed",
]

_MODULES = {
    **dict.fromkeys(("Fact", "Knowledge"), "ethogram.knowledge.tables"),
    **dict.fromkeys(
        ("COLUMNS", "KnowledgeSource", "Row", "TABLES", "key_problem", "row_problem"), "ethogram.knowledge.rows"
    ),
    "squeezed": "ethogram.knowledge.organisations",
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
