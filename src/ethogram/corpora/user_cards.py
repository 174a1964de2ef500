"""A user's own corpus: a folder of labelled flows gives one card per network.

The folder holds ``labels.csv``, custom flows (of ``ethogram vectors``, or in the published customFlow layout) or
captures, and optionally ``card.toml``. Each of several networks has a folder, named in the column ``network``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ethogram.config import Settings
from ethogram.corpora.card import Card
from ethogram.corpora.published import PublishedSet, published
from ethogram.corpora.user_labels import FILES, read_user_labels
from ethogram.errors import ConfigurationError, InputError

__all__ = ["UserCard", "UserCards", "is_user_corpus", "user_cards"]


class UserCard(Settings):
    """Fields of ``card.toml``; all of them are optional."""

    name: str = ""
    title: str = ""
    years: str = ""
    network: str = ""
    source: str = "own"
    citation: str = "none"
    licence: str = "not given"
    traps: tuple[str, ...] = ()
    published: str = ""


@dataclass(frozen=True)
class UserCards:
    """A folder as a corpus.

    Parameters
    ----------
    root
        Folder that holds the folders of the cards.
    cards
        One for each network.
    captures
        Whether the files are captures, so that services can be counted.
    """

    root: Path
    cards: Mapping[str, Card]
    captures: bool


def is_user_corpus(folder: Path, known: Mapping[str, Card]) -> bool:
    """Whether a folder is a user's corpus, rather than a folder of known corpora."""
    if any((folder / name).is_dir() for name in known):
        return False
    return any((folder / name).is_file() for name in ("labels.csv", "card.toml")) or folder.name in published()


def user_cards(folder: Path) -> UserCards:
    """Read the labels and the card of a folder, without its flows.

    Raises
    ------
    InputError
        When labels or files are missing, or a line of the labels is invalid; names the line.
    ConfigurationError
        When a column or a field of the card is unknown.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder)
    folder = folder.resolve()
    described = _card(folder / "card.toml")
    model = _published(described.published or ("" if (folder / "labels.csv").exists() else folder.name), folder)
    if (folder / "labels.csv").exists() or model is None or not model.devices:
        devices = read_user_labels(folder / "labels.csv")
    else:
        devices = list(model.devices)
    title = described.title or (model.title if model else described.name or folder.name)
    networks = list(dict.fromkeys(device.network for device in devices))
    cards = {}
    for network in networks:
        place = folder / network if len(networks) > 1 else folder
        if not place.is_dir():
            raise InputError(f"labels.csv names the network {network!r}, which has no folder", file=folder)
        if not any(_files(place)):
            raise InputError("no custom flows (.parquet) and no captures", file=place)
        name = place.name if len(networks) > 1 else described.name or folder.name
        if name != place.name:
            raise ConfigurationError(f"{folder / 'card.toml'}: name {name!r} is not the folder's, {place.name!r}")
        cards[name] = Card(
            name=name, title=title, years=described.years, network=network or described.network or name, kind="folder",
            runs="none", source=described.source,
            citation=model.citation if model and described.citation == "none" else described.citation,
            licence=model.licence if model and described.licence == "not given" else described.licence,
            traps=described.traps, devices=tuple(device for device in devices if device.network == network),
        )  # fmt: skip
    root = folder if len(networks) > 1 else folder.parent
    return UserCards(root, cards, captures=not any(file.suffix == ".parquet" for file in _files(folder)))


def _card(path: Path) -> UserCard:
    if not path.exists():
        return UserCard()
    try:
        return UserCard.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _published(name: str, folder: Path) -> PublishedSet | None:
    known = published()
    if name and name in known:
        return known[name]
    if name and name != folder.name:
        raise ConfigurationError(f"{folder / 'card.toml'}: no published set {name!r}; see 'ethogram bench list'")
    return None


def _files(folder: Path) -> Iterator[Path]:
    return (path for pattern in FILES for path in folder.rglob(pattern))
