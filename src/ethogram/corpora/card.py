"""Corpus cards: source, citation, pitfalls and labelled devices of each corpus.

A card is a TOML file (``cards/*.toml``). It holds the labels, keyed by device; flows never have labels.
"""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ethogram.errors import ConfigurationError, InputError

__all__ = ["COARSE", "Card", "CardDevice", "card", "cards", "coarse_of", "read_card"]

COARSE = {
    "camera": "camera", "doorbell": "camera", "plug": "plug", "light": "light", "hub": "hub", "speaker": "speaker",
    "tv": "tv", "lock": "lock", "sensor": "sensor", "alarm": "sensor", "health": "sensor", "thermostat": "sensor",
    "appliance": "appliance", "vacuum": "appliance", "non-iot": "non-iot",
}  # fmt: skip
"""Type to the coarse class that is used across networks; all other types are ``other``."""

Kind = Literal[
    "capture",
    "zeek_csv",
    "joy",
    "app_flows",
    "packet_csv",
    "flow_features",
    "rule_counters",
    "mud",
    "flow_table",
    "folder",
]
"""How the files of a corpus are read; ``folder``: a user's custom flows and captures, all devices at once."""


def coarse_of(fine: str) -> str:
    """Coarse class of a fine type.

    >>> coarse_of("doorbell"), coarse_of("printer")
    ('camera', 'other')
    """
    return COARSE.get(fine, "other")


class CardDevice(BaseModel):
    """One device of a corpus.

    ``id`` is its name in the corpus; ``model`` is one make and model, which twin units share; ``files`` are patterns
    below the corpus's folder; ``network`` overrides the card's; ``dropped`` says why it must not be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    vendor: str
    type: str
    files: tuple[str, ...]
    mac: str | None = None
    addresses: tuple[str, ...] = ()
    network: str = ""
    dropped: str = ""

    @property
    def family(self) -> str:
        """Vendor and type: the product family that is used across networks."""
        return f"{self.vendor}/{self.type}"

    @property
    def coarse(self) -> str:
        """Coarse class of the type."""
        return coarse_of(self.type)


class Card(BaseModel):
    """One corpus: a folder of traffic, its source, and how it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="also the folder's name")
    title: str
    years: str
    network: str = Field(description="the network of all devices that name no other")
    kind: Kind = Field(description="how the files are read")
    runs: Literal["none", "file", "day"] = Field(
        description="what one run is; with 'file' every file is a device instance of its own, Device#file"
    )
    source: str
    citation: str
    licence: str
    traps: tuple[str, ...]
    devices: tuple[CardDevice, ...]
    exclude: tuple[str, ...] = Field(default=(), description="files whose name holds one of these are left out")
    expected: dict[str, int] = Field(default_factory=dict, description="counted by parsing the published files")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the fields that decide the data; descriptions are not among them."""
        prose = {"title", "source", "citation", "licence", "traps", "expected"}
        return hashlib.sha256(self.model_dump_json(exclude=prose).encode()).hexdigest()[:12]

    @property
    def used_devices(self) -> tuple[CardDevice, ...]:
        """The devices that are not dropped."""
        return tuple(device for device in self.devices if not device.dropped)

    def network_of(self, device: CardDevice) -> str:
        """The network of a device."""
        return device.network or self.network

    def unit_of(self, device: CardDevice) -> str:
        """Identifier of a unit over all corpora: its MAC if known, else corpus and name."""
        return device.mac or f"{self.name}/{device.id}"


def read_card(text: str, *, file: str | Path) -> Card:
    """Read one card.

    Raises
    ------
    ConfigurationError
        When the text is not valid TOML, or a field is missing or unknown.
    """
    try:
        read = Card.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    names = [device.id for device in read.devices]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{file}: device {twice[0]} is listed twice")
    return read


def cards(folder: Path | None = None) -> dict[str, Card]:
    """All cards by name: those of the package, or of a folder.

    >>> cards()["stevens_lsif_2019"].network
    'stevens-2019'
    """
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of cards", file=folder)
    root = resources.files("ethogram.corpora") / "cards" if folder is None else folder
    read_cards = [read_card(p.read_text(), file=p.name) for p in root.iterdir() if p.name.endswith(".toml")]
    return {read.name: read for read in sorted(read_cards, key=lambda read: read.name)}


def card(name: str, folder: Path | None = None) -> Card:
    """One card by name."""
    known = cards(folder)
    if name not in known:
        raise ConfigurationError(f"no corpus card {name!r}; there are {', '.join(known)}")
    return known[name]
