"""Sections that the study adds to a report: goals, claims, sizes of encoders, and plots of the ablation grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ethogram.bench import FlowRow, Plots, Sections, cost_plot, picture_lines
from studies.claims import claim_lines, claims
from studies.flow_goals import flow_goal_lines, goal_details
from studies.goals import goal_table
from studies.grid_plots import grid_plot, shift_plot, size_plot
from studies.size_claim import compared, size_verdict
from studies.size_tables import brought_lines, size_lines

__all__ = ["STUDY"]

GRID: Plots = {
    "map": (grid_plot, "Macro-F1 by view, size and KL weight, mean and range of the seeds."),
    "shift": (
        shift_plot,
        "Shift ratio by KL weight, for each part of the input: error on the network that tests over error at home. At 1"
        " nothing has moved. Marks are seeds.",
    ),
    "size": (size_plot, "Macro-F1 by size of the network; marks are seeds, lines their mean."),
}
"""Plots of a page of the ablation grid, above its main table."""


def claims_and_sizes(by_task: Mapping[str, Sequence[FlowRow]], folder: Path) -> tuple[list[str], list[Path]]:
    """Goals, claims, and what pretraining brings: the first sections of the overview of flow tasks.

    Parameters
    ----------
    by_task
        Rows of flow tasks.
    folder
        Folder of the overview; the plot of quality against size is written there.

    Returns
    -------
    lines, written
        Markdown lines, and the plots written.
    """
    encoders = [encoder.row.method for encoder in compared(by_task)]
    path = cost_plot(folder / "size-across.png", by_task, "others", encoders) if encoders else None
    size = ""
    if path is not None:
        size = "\n".join(picture_lines(
            path.name,
            "Macro-F1 across networks against parameters and against flows embedded in a second on one core, tasks with"
            " third-party encoders.",
        )).rstrip()  # fmt: skip
    lines = [
        *flow_goal_lines(by_task),
        *claim_lines(claims(by_task), size_lines(by_task, size), size_verdict(by_task) if encoders else ""),
        *brought_lines(by_task),
    ]
    return lines, [] if path is None else [path]


STUDY = Sections(
    index=goal_table, flows_first=claims_and_sizes, flows_last=goal_details, plots_above_table={"grid": GRID}
)
"""What the study adds to a report."""
