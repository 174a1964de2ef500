"""Result rows to pages: tables, plots, overviews. A study adds sections of its own with the names listed here."""

from ethogram.report.flow_pages import Plots
from ethogram.report.flow_rows import EXPERIMENTS, RAW_METHODS, FlowRow
from ethogram.report.flow_tables import best_of, default_of, method_name, quantity_text, ranked
from ethogram.report.plots_networks import cost_plot
from ethogram.report.plots_style import COLOURS, DASHES, MAP_COLOURS, MARKERS, save_figure
from ethogram.report.tables import FIGURE_TITLES, Row, figure_text, interval_of, picture_lines, values_of
from ethogram.report.write import Sections, is_report, write_report

__all__ = [
    "COLOURS",
    "DASHES",
    "EXPERIMENTS",
    "FIGURE_TITLES",
    "MAP_COLOURS",
    "MARKERS",
    "RAW_METHODS",
    "FlowRow",
    "Plots",
    "Row",
    "Sections",
    "best_of",
    "cost_plot",
    "default_of",
    "figure_text",
    "interval_of",
    "is_report",
    "method_name",
    "picture_lines",
    "quantity_text",
    "ranked",
    "save_figure",
    "values_of",
    "write_report",
]
