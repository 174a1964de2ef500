"""Evidence for the ladder of levels: what each term says of a device's vendor, platform, kind or model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LadderEvidence", "LadderTerm", "TermLevel"]

TermLevel = Literal["vendor", "platform", "kind", "family", "model"]


@dataclass(frozen=True, slots=True)
class LadderTerm:
    """One fact about a device, and the label that it speaks for.

    Parameters
    ----------
    level
        Level of the label. A *family* is a vendor and a kind together.
    label
        Vendor, platform, kind or model; the kind of a family.
    feature
        Name of the weight that this term is multiplied by.
    value
        Strength: a share, a presence, a log likelihood ratio; usually 0 to 1.
    text
        The fact in words, without the label.
    source
        Where the fact is from: the row of the knowledge pack, the library, the protocol.
    vendor
        Vendor of a family or model; else empty.
    kind
        Kind of a model; else empty.
    """

    level: TermLevel
    label: str
    feature: str
    value: float
    text: str = ""
    source: str = ""
    vendor: str = ""
    kind: str = ""


@dataclass
class LadderEvidence:
    """Everything that speaks for the levels of one device.

    Parameters
    ----------
    terms
        Facts, in any order.
    vendor_kinds
        For each candidate vendor, how likely its devices are of each kind; shares sum to 1.
    owners
        For each candidate vendor, the company that owns it; a vendor without an entry owns itself.
    base_kinds
        Share of each kind among devices of unknown vendor; its keys are the kinds considered.
    breadth
        Number of vendors whose services the device contacts.
    named, has_mac
        Whether the device contacted names that tell vendors, and whether its MAC has an organisation.
    platform_kinds
        For each operating system among the platforms, how likely the devices that run it are of each kind.
    """

    terms: list[LadderTerm] = field(default_factory=list)
    vendor_kinds: dict[str, dict[str, float]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    base_kinds: dict[str, float] = field(default_factory=dict)
    breadth: int = 0
    named: bool = False
    has_mac: bool = False
    platform_kinds: dict[str, dict[str, float]] = field(default_factory=dict)
