"""Ethogram: identify the devices on a network from its flow records alone, and explain why.

Each verb is a function here and a command of the same name, with the same defaults::

    import ethogram

    inventory = ethogram.identify("capture.pcap")
    for verdict in inventory.devices:
        print(verdict.device, verdict.verdict, verdict.score, verdict.reason)

Importing :mod:`ethogram` loads nothing heavy: a name is loaded when it is used first.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ethogram._version import __version__

if TYPE_CHECKING:
    from ethogram._api import (
        changes,
        deviations,
        embed,
        enrol,
        export,
        fingerprint,
        identify,
        label,
        monitor,
        open_library,
        pretrain,
        read_flows,
        unknown,
    )
    from ethogram._research import probe, stability, vectors
    from ethogram._results import CustomFlowTable, Embeddings, EncoderFiles, Fingerprints, FlowTable
    from ethogram.errors import (
        ConfigurationError,
        EthogramError,
        EthogramWarning,
        InputError,
        LeakError,
        LibraryError,
        UsageError,
    )
    from ethogram.export.result import ExportedFiles
    from ethogram.identify.library import Library
    from ethogram.identify.probe_classifier import ProbeClassifier
    from ethogram.knowledge.tables import Fact, Knowledge
    from ethogram.pipeline.library import OpenLibrary
    from ethogram.pipeline.probe import ProbeRun
    from ethogram.pipeline.stability import Stability
    from ethogram.pipeline.unknown_groups import UnknownGroups
    from ethogram.schema import BehaviourReport, Inventory, MonitorReport, NetworkChange, NetworkChanges, Verdict

__all__ = [
    "BehaviourReport",
    "ConfigurationError",
    "CustomFlowTable",
    "Embeddings",
    "EncoderFiles",
    "EthogramError",
    "EthogramWarning",
    "ExportedFiles",
    "Fact",
    "Fingerprints",
    "FlowTable",
    "InputError",
    "Inventory",
    "Knowledge",
    "LeakError",
    "Library",
    "LibraryError",
    "MonitorReport",
    "NetworkChange",
    "NetworkChanges",
    "OpenLibrary",
    "ProbeClassifier",
    "ProbeRun",
    "Stability",
    "UnknownGroups",
    "UsageError",
    "Verdict",
    "__version__",
    "changes",
    "deviations",
    "embed",
    "enrol",
    "export",
    "fingerprint",
    "identify",
    "label",
    "monitor",
    "open_library",
    "pretrain",
    "probe",
    "read_flows",
    "stability",
    "unknown",
    "vectors",
]

_MODULES = {
    **dict.fromkeys(
        ("changes", "deviations", "embed", "enrol", "export", "fingerprint", "identify", "label", "monitor",
         "open_library",
         "pretrain", "read_flows", "unknown"),
        "_api",
    ),
    **dict.fromkeys(("probe", "stability", "vectors"), "_research"),
    **dict.fromkeys(("CustomFlowTable", "Embeddings", "EncoderFiles", "Fingerprints", "FlowTable"), "_results"),
    **dict.fromkeys(
        (
            "ConfigurationError", "EthogramError", "EthogramWarning", "InputError", "LeakError", "LibraryError",
            "UsageError",
        ),
        "errors",
    ),
    **dict.fromkeys(
        ("BehaviourReport", "NetworkChange", "NetworkChanges", "Inventory", "MonitorReport", "Verdict"), "schema"
    ),
    **dict.fromkeys(("Fact", "Knowledge"), "knowledge.tables"),
    "ExportedFiles": "export.result",
    "Library": "identify.library",
    "OpenLibrary": "pipeline.library",
    "ProbeClassifier": "identify.probe_classifier",
    "ProbeRun": "pipeline.probe",
    "Stability": "pipeline.stability",
    "UnknownGroups": "pipeline.unknown_groups",
}


class _Package(ModuleType):
    """The package with its public names loaded on first use.

    The packages ``ethogram.identify``, ``ethogram.fingerprint`` and ``ethogram.export`` share their names with
    functions. Python sets a package's attribute when it imports a subpackage; here the functions keep the names, and
    modules of the subpackages are imported as ``from ethogram.identify.library import Library``.
    """

    def __getattr__(self, name: str) -> Any:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{module}"), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
