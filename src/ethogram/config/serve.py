"""Settings of the live service: one TOML file, environment variables and options of the command."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ethogram.config._base import Settings
from ethogram.config._toml import read_toml
from ethogram.config.alerts import AlertSettings, read_alert_rules
from ethogram.config.flow import ExporterSettings, FlowSettings
from ethogram.config.service import CollectSettings, JudgeSettings, WireSettings
from ethogram.config.sinks import SinkName, SinkSettings
from ethogram.config.web import WebSettings
from ethogram.errors import ConfigurationError

__all__ = ["ENVIRONMENT_PREFIX", "RetentionSettings", "ServeSettings", "read_serve_settings"]

ENVIRONMENT_PREFIX = "ETHOGRAM_SERVE_"


class RetentionSettings(Settings):
    """How long each kind of fact and decision is kept; labels, notes and verdicts are always kept."""

    flow_days: int = Field(default=7, gt=0, description="days of flow tables; unread ones are always kept")
    count_days: int = Field(default=400, gt=0, description="days of counts by hour and service")
    identity_days: int = Field(
        default=0, ge=0, description="days that identity facts stay after they were last seen; 0: always"
    )
    fingerprint_days: int = Field(
        default=0, ge=0, description="days of fingerprints that the collector wrote; 0: always"
    )
    history_days: int = Field(default=0, ge=0, description="days of changes of statements; 0: always")
    alert_days: int = Field(default=0, ge=0, description="days that closed alerts stay after the last time; 0: always")
    event_days: int = Field(default=0, ge=0, description="days of events, of which at most 100,000 stay; 0: always")
    audit_days: int = Field(default=0, ge=0, description="days of the audit log; 0: always")


class ServeSettings(Settings):
    """The live service. Paths are relative to the current folder."""

    data: str = Field(
        default="", description="folder of everything that is stored; empty: `ethogram` in the user's data folder"
    )
    store: str = Field(
        default="", description="database: a file of SQLite, or `postgresql://...`; empty: `store.db` in `data`"
    )
    collect: bool = Field(default=True, description="receive flows in this process")
    collector: str = Field(
        default="", description="folder of a collector; empty: `collector` in `data`"
    )
    listen: tuple[str, ...] = Field(
        default=("udp://127.0.0.1:4739", "udp://127.0.0.1:2055"), description="addresses to receive flows at"
    )
    watch: str = Field(default="", description="folder of captures and records to read as they appear; empty: none")
    page: bool = Field(default=True, description="serve the page and the API")
    library: tuple[str, ...] = Field(
        default=(), description="libraries of known devices, one or a list; `packaged` is the bundled one, which is "
                                "also used without any",
    )  # fmt: skip
    knowledge: str = Field(default="", description="rows that add to the knowledge pack; empty: none")
    devices: str = Field(default="", description="device file; empty: every local address is a device")
    names: tuple[str, ...] = Field(default=(), description="files that name devices: leases, hosts, inventories")
    certificate: str = Field(default="", description="certificate (PEM) of the page; empty: no TLS")
    key: str = Field(default="", description="private key (PEM) of the certificate")
    flow: FlowSettings = FlowSettings()
    wire: WireSettings = WireSettings()
    receive: CollectSettings = CollectSettings()
    exporter: ExporterSettings = ExporterSettings()
    judge: JudgeSettings = JudgeSettings()
    retention: RetentionSettings = RetentionSettings()
    alert_rules: str = Field(
        default="", description="file of rules of alerts (TOML), whose settings replace those of `alerts`; empty: none"
    )
    alerts: AlertSettings = AlertSettings()
    web: WebSettings = WebSettings()
    sinks: dict[SinkName, SinkSettings] = Field(
        default={}, description="where alerts and changes are sent, each a table `[sinks.NAME]` with a `type`: "
                                "`webhook`, `syslog`, `file`, `mqtt` or `apprise`",
    )  # fmt: skip

    @field_validator("library", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        """One name stands for a list of it; an empty one for no library."""
        return tuple(name for name in (value,) if name) if isinstance(value, str) else value

    def rules_in_force(self) -> AlertSettings:
        """The settings of alerts with those of the file ``alert_rules``, as it is now.

        Raises
        ------
        InputError
            If the file cannot be read.
        ConfigurationError
            If a setting in it is unknown or invalid.

        Examples
        --------
        >>> ServeSettings().rules_in_force() == AlertSettings()
        True
        """
        return read_alert_rules(Path(self.alert_rules), self.alerts) if self.alert_rules else self.alerts


def read_serve_settings(
    file: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]
) -> ServeSettings:  # fmt: skip
    """Put settings together: options of the command before the environment, before the file, before defaults.

    Parameters
    ----------
    file
        TOML, with a table for each nested setting; None: no file.
    environment
        Variables such as ``ETHOGRAM_SERVE_JUDGE__EPOCH_S=3600``: two underscores lead into a table. Values are TOML, or
        else plain text.
    options
        Values by dotted name; None and empty values are left out.

    Raises
    ------
    InputError
        If the file cannot be read.
    ConfigurationError
        If a setting is unknown or invalid.

    Examples
    --------
    >>> variables = {ENVIRONMENT_PREFIX + "JUDGE__EPOCH_S": "3600"}
    >>> read_serve_settings(None, variables, {"web.port": 8080}).judge.epoch_s
    3600
    """
    values: dict[str, Any] = {} if file is None else read_toml(file)[1]
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _put(values, path, _value(text), name)
    for dotted, value in options.items():
        if value is not None and value not in ((), ""):
            _put(values, dotted.split("."), value, dotted)
    try:
        settings = ServeSettings.of(**values)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}" if file is not None else str(error)) from None
    settings.rules_in_force()
    return settings


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{name}: {part} is not a table of settings")
        values = inner
    values[path[-1]] = value
