"""Result rows to pages: tables, plots, overviews. A study adds sections of its own with the names listed here."""

from ethogram.bench.report.flow_pages import Plots
from ethogram.bench.report.flow_rows import EXPERIMENTS, RAW, FlowRow
from ethogram.bench.report.flow_tables import best_of, default_of, method_name, quantity, ranked
from ethogram.bench.report.plots_networks import cost_plot
from ethogram.bench.report.plots_style import COLOURS, DASHES, MAP, MARKERS, saved
from ethogram.bench.report.tables import HEADS, Row, interval_of, number, picture, values_of
from ethogram.bench.report.write import Sections, is_report, rows_of_tasks, write_report

__all__ = [
    "COLOURS",
    "DASHES",
    "EXPERIMENTS",
    "HEADS",
    "MAP",
    "MARKERS",
    "RAW",
    "FlowRow",
    "Plots",
    "Row",
    "Sections",
    "best_of",
    "cost_plot",
    "default_of",
    "interval_of",
    "is_report",
    "method_name",
    "number",
    "picture",
    "quantity",
    "ranked",
    "rows_of_tasks",
    "saved",
    "values_of",
    "write_report",
]
