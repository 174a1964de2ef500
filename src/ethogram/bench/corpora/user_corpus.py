"""A user's corpus: a folder of labelled flows gives one card per network, and the tasks that they allow.

The folder holds ``labels.csv``, custom flows (of ``ethogram vectors``, or in the published customFlow layout) or
captures, and optionally ``card.toml``. Each of several networks has a folder, named in the column ``network``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ethogram.bench.corpora.card import Card
from ethogram.bench.corpora.published import PublishedSet, published
from ethogram.bench.corpora.user_labels import FILES, read_user_labels
from ethogram.bench.counts.task import CountTask
from ethogram.bench.flows.task import FlowTask
from ethogram.config import Settings
from ethogram.errors import ConfigurationError, InputError

__all__ = ["UserCard", "UserCorpus", "is_user_corpus", "user_corpus"]

SERVICES_INSIDE = ("list", "g16", "prevalence", "log-packets", "evidence", "bag-of-ports", "mud")
SERVICES_ACROSS = ("list", "g16", "log-packets-role-scope", "cross-network-kinds", "bag-of-ports", "mud")
"""Methods on counts that tasks of a user's corpus run."""

QUICK = ("raw-40", "shuffled", "shortcut", "pca", "vae")
"""Methods of the quick set."""

LEVELS: tuple[Literal["model", "family", "type", "coarse"], ...] = ("model", "family", "type", "coarse")


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
class UserCorpus:
    """A folder as a corpus: its cards and tasks.

    Parameters
    ----------
    root
        Folder that holds the folders of the cards.
    cards
        One for each network.
    tasks
        Tasks by name.
    notes
        Tasks that the corpus does not allow, and why.
    """

    root: Path
    cards: Mapping[str, Card]
    tasks: Mapping[str, FlowTask | CountTask]
    notes: tuple[str, ...] = ()


def is_user_corpus(folder: Path, known: Mapping[str, Card]) -> bool:
    """Whether a folder is a user's corpus, rather than a folder of known corpora."""
    if any((folder / name).is_dir() for name in known):
        return False
    return any((folder / name).is_file() for name in ("labels.csv", "card.toml")) or folder.name in published()


def user_corpus(folder: Path) -> UserCorpus:
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
    counted = not any(file.suffix == ".parquet" for file in _files(folder))
    tasks, notes = _tasks(cards, counted)
    return UserCorpus(root, cards, tasks, tuple(notes))


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


def _tasks(cards: Mapping[str, Card], counted: bool) -> tuple[dict[str, FlowTask | CountTask], list[str]]:
    """Tasks by day in each network, and across networks with shared labels; with captures also on services."""
    tasks: list[FlowTask | CountTask] = []
    notes: list[str] = []
    for name, card in cards.items():
        inside = _level([card], LEVELS)
        if inside is None:
            notes.append(f"{name}: only one label, so no task inside it")
            continue
        title = f"{card.title}: inside {card.network}, early days train, the last ones test"
        tasks.append(_task(f"{name}-days", title, "P0", inside, encoder=(name,), probe=(name,), test=(name,)))
        if counted:
            tasks.append(_services(f"{name}-days-services", f"{card.title}: device-days, the first third enrols",
                                   inside, (name,), SERVICES_INSIDE))  # fmt: skip
    names = list(cards)
    if len(names) > 2:
        level = _level(list(cards.values()), LEVELS)
        if level is None:
            notes.append("fewer than two labels are in all networks, so no task across all of them")
        else:
            title = f"each of {', '.join(names)} in turn: the others train, it tests"
            tasks.append(_task("each-network", title, "P3", level, each=tuple(names)))
    pairs = [(a, b) for a in names for b in names if a != b] if len(names) == 2 else []
    for a, b in pairs:
        level = _level([cards[a], cards[b]], LEVELS)
        if level is None:
            notes.append(f"{a} and {b} share fewer than two labels at every level, so no task across them")
            break
        tasks += [
            _task(f"{a}-to-{b}", f"Encoder and labels from {a}, tested on {b}", "P3", level, encoder=(a,), probe=(a,),
                  test=(b,)),
            _task(f"{a}-encodes-{b}", f"Encoder from {a}; labels and test from {b}", "P2", level, encoder=(a,),
                  probe=(b,), test=(b,)),
        ]  # fmt: skip
        if counted:
            split = {"kind": "network", "enrol": (cards[a].network,), "test": (cards[b].network,)}
            tasks.append(_services(f"{a}-to-{b}-services", f"{a} enrols, {b} tests: device-days", level, (a, b),
                                   SERVICES_ACROSS, split=split))  # fmt: skip
    return {task.name: task for task in tasks}, notes


def _services(
    name: str, title: str, level: str, corpora: tuple[str, ...], methods: tuple[str, ...], **more: object
) -> CountTask:
    """A task on counts."""
    return CountTask.of(name=name, title=title, experiment="own", level=level, corpora=corpora, methods=methods, **more)


def _task(name: str, title: str, protocol: str, level: str, **networks: tuple[str, ...]) -> FlowTask:
    return FlowTask.of(
        name=name, title=title, experiment=protocol, protocol=protocol, level=level, quick_methods=QUICK, **networks
    )


def _level(cards: Sequence[Card], levels: Sequence[Literal["model", "family", "type", "coarse"]]) -> str | None:
    """The finest level at which at least two labels are in all networks; None without one."""
    for level in levels:
        shared = set.intersection(*({str(getattr(device, level)) for device in card.used_devices} for card in cards))
        if len(shared) > 1:
            return level
    return None
