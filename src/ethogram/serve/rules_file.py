"""The rules of alerts follow their file: a change is read by the running service."""

from __future__ import annotations

from pathlib import Path

from ethogram.config import AlertSettings, ServeSettings
from ethogram.errors import EthogramError
from ethogram.serve.library_files import file_mark

__all__ = ["RulesFile"]


class RulesFile:
    """Keeps the settings of alerts that are in force.

    Parameters
    ----------
    settings
        Of the service: the file, and the settings that are not in it.

    Attributes
    ----------
    rules
        In force.
    problem
        Why the file as it is now cannot be used; empty if it is in force, or there is none.

    Examples
    --------
    >>> file = RulesFile(ServeSettings())
    >>> file.refresh(), file.rules == AlertSettings(), file.problem
    (False, True, '')
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._mark: tuple[int, int] | None = None
        self.rules: AlertSettings = settings.alerts
        self.problem = ""

    def refresh(self) -> bool:
        """Read the file if its time of change or its size differs; returns whether other rules are in force."""
        if not self._settings.alert_rules:
            return False
        mark = file_mark(Path(self._settings.alert_rules))
        if mark == self._mark:
            return False
        first, self._mark = self._mark is None, mark
        try:
            rules = self._settings.rules_in_force()
        except EthogramError as error:
            self.problem = f"{error}; alerts follow the {'settings' if first else 'rules that were read before'}"
            return False
        self.problem = ""
        changed, self.rules = rules != self.rules, rules
        return changed
