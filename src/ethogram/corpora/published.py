"""Published data sets: where to get them, their layout on disk, labels and terms, and how to use them.

A set is a TOML file (``published_sets/*.toml``). Nothing is downloaded; users accept the terms of the publisher.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ethogram.corpora.card import CardDevice
from ethogram.errors import ConfigurationError

__all__ = ["PublishedDevice", "PublishedSet", "missing", "published"]


class PublishedDevice(BaseModel):
    """One device of a published set, identified by its MAC address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    vendor: str
    type: str
    mac: str


class PublishedSet(BaseModel):
    """One published set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="also the folder's name below the folder of the corpora")
    title: str
    years: str
    holds: Literal["custom flows", "captures", "flow records"]
    where: tuple[str, ...] = Field(description="addresses and DOIs")
    get: str = Field(description="what to do to have it")
    layout: str
    labels: str
    licence: str
    citation: str
    unverified: tuple[str, ...] = Field(default=(), description="what stands here without having been looked up")
    card: str = Field(default="", description="card of the package that reads it, whose tasks then run")
    files: tuple[str, ...] = Field(default=(), description="patterns of its files, where the layout is known")
    known_devices: tuple[PublishedDevice, ...] = ()

    @property
    def devices(self) -> tuple[CardDevice, ...]:
        """Its devices in the form of a card."""
        return tuple(CardDevice(**device.model_dump(), files=self.files) for device in self.known_devices)

    @property
    def read_by(self) -> str:
        """How to use it, in a few words."""
        if self.card:
            return f"tasks of the card {self.card}"
        if self.known_devices:
            return f"bench --corpus …/{self.name}"
        if self.holds == "flow records":
            return "fingerprints: a card of kind flow_table"
        return f"bench --corpus …/{self.name}, with a labels.csv"


@cache
def published() -> dict[str, PublishedSet]:
    """All published sets by name.

    >>> published()["unsw-customflow"].licence
    'CC0-1.0'
    """
    sets = {}
    root = resources.files("ethogram.corpora") / "published_sets"
    for file in sorted(root.iterdir(), key=lambda p: p.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            published_set = PublishedSet.model_validate(tomllib.loads(file.read_text()))
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise ConfigurationError(f"{file.name}: {str(error).splitlines()[0]}") from None
        sets[published_set.name] = published_set
    return sets


def missing(published_set: PublishedSet, root: Path | None) -> str:
    """What is missing to use a set; '' when nothing is.

    Parameters
    ----------
    published_set
        The set.
    root
        Folder of the corpora; None: not given.
    """
    if root is None:
        return "no --corpus FOLDER given"
    folder = root / (published_set.card or published_set.name)
    if not folder.is_dir():
        return f"no folder {folder.name}"
    if published_set.card:
        return ""
    if published_set.files and not any(any(folder.glob(pattern)) for pattern in published_set.files):
        return f"no file {published_set.files[0]} in {folder.name}"
    if not published_set.known_devices and not (folder / "labels.csv").exists():
        return f"no labels.csv in {folder.name}"
    return ""
