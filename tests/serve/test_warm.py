"""What is sent ahead of the first real record reaches the end of every stage."""

from __future__ import annotations

from ethogram.config import CountSettings, ExporterSettings, FlowSettings
from ethogram.serve.warm import warm


def test_made_up_records_come_through_every_stage_and_leave_nothing() -> None:
    assert warm(FlowSettings(), ExporterSettings(), CountSettings(), 1800.0) == 1


def test_settings_under_which_nobody_is_inside_are_no_error() -> None:
    assert warm(FlowSettings(local=("203.0.113.0/24",)), ExporterSettings(), CountSettings(), 1800.0) == 0
