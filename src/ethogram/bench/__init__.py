"""Benchmarks on labelled corpora: tasks with splits that are proven disjoint, result rows, and reports made from them.

The names here are public; each loads its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ethogram._lazy import lazy_names

if TYPE_CHECKING:
    from ethogram.bench.parallel import MAX_JOBS, run_parallel, worker_count
    from ethogram.bench.row import Row, read_rows
    from ethogram.bench.splits import by_model, by_network, chronological
    from ethogram.bench.suite import Suite, applicable, every_method, every_task, rows_of_tasks
    from ethogram.corpora.card import Card, cards
    from ethogram.identify.metrics import (
        accuracy,
        area_under_roc,
        bootstrap_interval,
        calibration_error,
        macro_f1,
        seed_interval,
    )
    from ethogram.identify.split import FlowDays, Split
    from ethogram.report import (
        COLOURS,
        DASHES,
        EXPERIMENTS,
        FIGURE_TITLES,
        MAP_COLOURS,
        MARKERS,
        RAW_METHODS,
        FlowRow,
        Plots,
        Sections,
        best_of,
        cost_plot,
        default_of,
        figure_text,
        interval_of,
        is_report,
        method_name,
        picture_lines,
        quantity_text,
        ranked,
        save_figure,
        values_of,
        write_report,
    )

__all__ = [
    "COLOURS",
    "DASHES",
    "EXPERIMENTS",
    "FIGURE_TITLES",
    "MAP_COLOURS",
    "MARKERS",
    "MAX_JOBS",
    "RAW_METHODS",
    "Card",
    "FlowDays",
    "FlowRow",
    "Plots",
    "Row",
    "Sections",
    "Split",
    "Suite",
    "accuracy",
    "applicable",
    "area_under_roc",
    "best_of",
    "bootstrap_interval",
    "by_model",
    "by_network",
    "calibration_error",
    "cards",
    "chronological",
    "cost_plot",
    "default_of",
    "every_method",
    "every_task",
    "figure_text",
    "interval_of",
    "is_report",
    "macro_f1",
    "method_name",
    "picture_lines",
    "quantity_text",
    "ranked",
    "read_rows",
    "rows_of_tasks",
    "run_parallel",
    "save_figure",
    "seed_interval",
    "values_of",
    "worker_count",
    "write_report",
]

_MODULES = {
    **dict.fromkeys(("Card", "cards"), "ethogram.corpora.card"),
    **dict.fromkeys(("Suite", "applicable", "every_method", "every_task", "rows_of_tasks"), "ethogram.bench.suite"),
    **dict.fromkeys(("MAX_JOBS", "run_parallel", "worker_count"), "ethogram.bench.parallel"),
    **dict.fromkeys(("Row", "read_rows"), "ethogram.bench.row"),
    **dict.fromkeys(("FlowDays", "Split"), "ethogram.identify.split"),
    **dict.fromkeys(("by_model", "by_network", "chronological"), "ethogram.bench.splits"),
    **dict.fromkeys(
        (
            "accuracy", "area_under_roc", "bootstrap_interval", "calibration_error", "macro_f1", "seed_interval",
        ),
        "ethogram.identify.metrics",
    ),
    **dict.fromkeys(
        (
            "COLOURS", "DASHES", "EXPERIMENTS", "FIGURE_TITLES", "FlowRow", "MAP_COLOURS", "MARKERS", "Plots",
            "RAW_METHODS", "Sections", "best_of", "cost_plot", "default_of", "figure_text", "interval_of",
            "is_report", "method_name", "picture_lines", "quantity_text", "ranked",
            "save_figure", "values_of", "write_report",
        ),
        "ethogram.report",
    ),
}  # fmt: skip
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
