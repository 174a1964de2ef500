"""Settings, as frozen models. Unknown names are errors; a digest identifies the settings behind a result."""

from ethogram.config._base import Settings
from ethogram.config.alerts import AlertSettings
from ethogram.config.capture import CaptureSettings, CustomFlowSettings, MeterSettings, PacketFlowSettings
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
    "AlertSettings",
    "BoundSettings",
    "CaptureSettings",
    "CollectSettings",
    "CountSettings",
    "CustomFlowSettings",
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
]
