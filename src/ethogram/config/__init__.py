"""Settings, as frozen models. Unknown names are errors; a digest identifies the settings behind a result.

The names here are public; each loads its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ethogram._lazy import lazy_names

if TYPE_CHECKING:
    from ethogram.config._base import Settings
    from ethogram.config.alerts import AlertRule, AlertSettings, read_alert_rules
    from ethogram.config.capture import CaptureSettings, CustomFlowSettings, MeterSettings, PacketFlowSettings
    from ethogram.config.deviations import DeviationSettings
    from ethogram.config.encoder import (
        EncoderSettings,
        FieldSettings,
        LinearFieldSettings,
        ProbeSettings,
        ReconstructionSettings,
        TrainingSettings,
    )
    from ethogram.config.flow import (
        BoundSettings,
        CountSettings,
        ExporterSettings,
        FlowSettings,
        KeySettings,
        NameSettings,
        RepresentationSettings,
    )
    from ethogram.config.identify import IdentifySettings
    from ethogram.config.monitor import MonitorSettings
    from ethogram.config.serve import RetentionSettings, ServeSettings
    from ethogram.config.service import CollectSettings, JudgeSettings, WireSettings

__all__ = [
    "AlertRule",
    "AlertSettings",
    "BoundSettings",
    "CaptureSettings",
    "CollectSettings",
    "CountSettings",
    "CustomFlowSettings",
    "DeviationSettings",
    "EncoderSettings",
    "ExporterSettings",
    "FieldSettings",
    "FlowSettings",
    "IdentifySettings",
    "JudgeSettings",
    "KeySettings",
    "LinearFieldSettings",
    "MeterSettings",
    "MonitorSettings",
    "NameSettings",
    "PacketFlowSettings",
    "ProbeSettings",
    "ReconstructionSettings",
    "RepresentationSettings",
    "RetentionSettings",
    "ServeSettings",
    "Settings",
    "TrainingSettings",
    "WireSettings",
    "read_alert_rules",
]

_MODULES = {
    "Settings": "ethogram.config._base",
    **dict.fromkeys(("AlertRule", "AlertSettings", "read_alert_rules"), "ethogram.config.alerts"),
    **dict.fromkeys(
        ("CaptureSettings", "CustomFlowSettings", "MeterSettings", "PacketFlowSettings"), "ethogram.config.capture"
    ),
    **dict.fromkeys(
        (
            "EncoderSettings",
            "FieldSettings",
            "LinearFieldSettings",
            "ProbeSettings",
            "ReconstructionSettings",
            "TrainingSettings",
        ),
        "ethogram.config.encoder",
    ),
    **dict.fromkeys(
        (
            "BoundSettings",
            "CountSettings",
            "ExporterSettings",
            "FlowSettings",
            "KeySettings",
            "NameSettings",
            "RepresentationSettings",
        ),
        "ethogram.config.flow",
    ),
    "DeviationSettings": "ethogram.config.deviations",
    "IdentifySettings": "ethogram.config.identify",
    "MonitorSettings": "ethogram.config.monitor",
    **dict.fromkeys(("RetentionSettings", "ServeSettings"), "ethogram.config.serve"),
    **dict.fromkeys(("CollectSettings", "JudgeSettings", "WireSettings"), "ethogram.config.service"),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
