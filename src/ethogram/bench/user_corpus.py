"""The tasks that a user's own corpus allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ethogram.bench.counts.task import CountTask
from ethogram.bench.flows.task import FlowTask
from ethogram.corpora.card import Card
from ethogram.corpora.user_cards import user_cards

__all__ = ["UserCorpus", "user_corpus"]

SERVICES_INSIDE = ("list", "g16", "prevalence", "log-packets", "evidence", "bag-of-ports", "mud")
SERVICES_ACROSS = ("list", "g16", "log-packets-role-scope", "cross-network-kinds", "bag-of-ports", "mud")
"""Methods on counts that tasks of a user's corpus run."""

QUICK = ("raw-40", "shuffled", "shortcut", "pca", "vae")
"""Methods of the quick set."""

LEVELS: tuple[Literal["model", "family", "type", "coarse"], ...] = ("model", "family", "type", "coarse")


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


def user_corpus(folder: Path) -> UserCorpus:
    """Read the labels and the card of a folder, without its flows; raises as :func:`user_cards`."""
    read = user_cards(folder)
    tasks, notes = _tasks(read.cards, read.captures)
    return UserCorpus(read.root, read.cards, tasks, tuple(notes))


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
