"""Pages of a report: side by side gives the same files as one by one; powers on axes are plain text."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from bench import flow_rows_made as made
from ethogram.report.write import write_report
from ethogram.representation.plots import plain_powers


def test_pages_side_by_side_are_those_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.report.page_writer.WORTH", 2)
    rows = made.all_rows()
    written = [write_report(rows, tmp_path / str(jobs), jobs) for jobs in (1, 2)]
    one_by_one, side_by_side = ({p.relative_to(tmp_path).parts[1:]: p.read_bytes() for p in paths} for paths in written)
    assert list(one_by_one) == list(side_by_side)
    assert one_by_one == side_by_side


def test_powers_on_logarithmic_axes_are_plain_text() -> None:
    figure = Figure()
    panel = figure.subplots()
    panel.set_xscale("log")
    panel.set_xlim(1e-3, 1e5)
    plain_powers(figure)
    figure.draw_without_rendering()
    texts = [label.get_text() for label in panel.get_xticklabels()]
    assert "10⁻¹" in texts and "10³" in texts
    assert not any("$" in text for text in texts)
