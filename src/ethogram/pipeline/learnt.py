"""What was learnt from a library is kept beside it, so that each run reads it instead of learning again.

The models of ``home.jsonl.gz`` are in ``home.learnt-METHOD-LEVEL.npz``. A file is used only for the library, settings
and code that it was made from; otherwise the library is learnt anew, and the file is written again if its folder can
be. What the bundled library teaches comes with the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ethogram._version import __version__
from ethogram.config import IdentifySettings, KeySettings, RepresentationSettings
from ethogram.errors import EthogramError, LibraryError
from ethogram.identify.learnt_file import code_digest, read_learnt, write_learnt
from ethogram.identify.library import Library
from ethogram.identify.verdict import VerdictModel
from ethogram.pipeline.fingerprints import service_matrix
from ethogram.pipeline.learnt_ladder import keep_ladder
from ethogram.pipeline.library import PACKAGED, OpenLibrary
from ethogram.pipeline.text import plural
from ethogram.pipeline.unread_library import UnreadEntries, file_digest, stem
from ethogram.pipeline.verdicts import (
    default_method,
    fit_verdict_model,
    identify_windows,
    refit_verdict_model,
    settings_for,
    usual_services,
)
from ethogram.pipeline.windows import ObservedWindows
from ethogram.schema import ITEM, ITEM_COUNTS, Inventory, Windows

__all__ = ["BUNDLED", "Learnt", "identify_by_library", "learn", "learn_enrolled", "learnt_path", "write_bundled"]

BUNDLED = ("label", "family", "type", "coarse")
"""Levels at which what the bundled library teaches comes with the package."""

PRESENCE = RepresentationSettings(kind="prevalence", weight="presence")
MOST_GROWN = 0.25
"""Share by which a library may grow before weights and calibration are learnt again."""
DECIDING_ONLY = ("closed", "terms")
"""Settings that change verdicts, but not what is learnt."""


@dataclass
class Learnt:
    """A fitted model, and what verdicts need of the library beside it.

    Parameters
    ----------
    model
        The fitted model.
    usual
        Services of the enrolled windows by label.
    messages
        Whether it was read or learnt, and why; for the detailed log.
    """

    model: VerdictModel
    usual: Mapping[str, set[str]]
    messages: list[str] = field(default_factory=list)


def learnt_path(library: Path, settings: IdentifySettings) -> Path:
    """The file beside a library with what was learnt under these settings.

    >>> learnt_path(Path("home.jsonl.gz"), IdentifySettings(method="evidence")).name
    'home.learnt-evidence-label.npz'
    """
    return library.with_name(f"{stem(library)}.learnt-{settings.method}-{settings.level}.npz")


def learn(
    library: Library,
    settings: IdentifySettings,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> Learnt:
    """Read what was learnt from a library, or learn it, and keep it beside the library.

    Of the bundled library nothing is written, and a file that comes with the package is trusted to be of its code,
    which a test holds.

    Parameters
    ----------
    library
        Known devices; if they were not read from a file, nothing is read or kept.
    settings, key, representation
        The method, and what it looks at.

    Raises
    ------
    LibraryError
        If the library is empty.
    """
    wanted = _key(library, settings, key, representation)
    file, bundled = (library.file, library.bundled) if isinstance(library, OpenLibrary) else (None, False)
    path = None if file is None else learnt_path(file, settings)
    reason = ""
    if path is not None:
        try:
            header, value = read_learnt(path)
            stale = [name for name, text in wanted.items() if header.get(name) != text]
            if not stale or (bundled and stale == ["code"]):
                return _checked(value, settings, f"read what was learnt: {path}")
            reason = f"{path.name} is of another {' and '.join(stale)}"
        except LibraryError as error:
            reason = str(error) if path.exists() else ""
    learnt = _fit(library, settings, key, representation)
    if path is not None and not bundled:
        octets = library.octets if isinstance(library, OpenLibrary) else ""
        learnt.messages.append(_keep(learnt, path, {**wanted, "file": octets}, reason))
    return learnt


def learn_enrolled(library: Library, path: Path, extended: Library | None = None) -> list[str]:
    """Learn a library that was just written, by the default method and for all levels, so that ``identify`` need not.

    If it extends a library that was learnt before, by less than :data:`MOST_GROWN` since everything was learnt, only
    what the new windows change is learnt: densities, rates and nearest windows, but neither the weights of terms nor
    the calibration, which rest on all windows.

    Parameters
    ----------
    library
        What was written.
    path
        Where.
    extended
        The library that it extends, as it was opened.

    Returns
    -------
    Lines for the detailed log.
    """
    written = OpenLibrary.opened(library, path=str(path)).with_origin(file_digest(path))
    updated = None if extended is None else _update(written, extended, settings_for(default_method(packaged=False)))
    if updated is not None:
        return updated + keep_ladder(written)
    return learn(written, settings_for(default_method(packaged=False))).messages + keep_ladder(written)


def _update(written: OpenLibrary, extended: Library, settings: IdentifySettings) -> list[str] | None:
    """Learn what a library has more than the one that it extends; None if it must be learnt as a whole."""
    file = extended.file if isinstance(extended, OpenLibrary) else None
    if file is None or written.file is None:
        return None
    if isinstance(extended.entries, UnreadEntries) and not extended.entries.were_read:
        return None  # its file may be the one that was just written
    try:
        header, value = read_learnt(learnt_path(file, settings))
        wanted = _key(extended, settings, None, None)
        if any(header.get(name) != text for name, text in wanted.items()):
            return None
        model = _checked(value, settings, "").model
        whole = int(header.get("whole", len(extended)))
    except (LibraryError, TypeError, ValueError):
        return None
    before = {entry.digest for entry in extended.entries}
    new = [entry for entry in written.entries if entry.digest not in before]
    grown = len(written) - whole
    if not before <= {entry.digest for entry in written.entries} or not 0 <= grown <= MOST_GROWN * whole:
        return None
    if model.recognition_ is None:
        return None
    refit_verdict_model(model, written, {entry.identity.at(settings.level) for entry in new})
    usual = usual_services(written, settings.level, service_matrix(written.windows(), None, PRESENCE))
    key = {**_key(written, settings, None, None), "file": written.octets, "whole": str(whole)}
    reason = f"{plural(len(new), 'new window')}; weights and calibration are those of {whole:,} windows"
    path = learnt_path(written.file, settings)
    try:
        write_learnt(path, {"model": model, "usual": dict(usual)}, key)
    except (EthogramError, OSError) as error:
        return [f"updated what was learnt: {reason}; not kept: {getattr(error, 'strerror', None) or error}"]
    return [f"updated what was learnt: {reason}; kept in {path}"]


def identify_by_library(
    seen: ObservedWindows, library: Library, settings: IdentifySettings, learnt: Learnt | None = None
) -> tuple[Inventory, list[str]]:
    """Identify items by what was learnt from a library; returns the inventory, and lines for the detailed log.

    Parameters
    ----------
    seen
        The items.
    library, settings
        Known devices and the method.
    learnt
        What was learnt from the library; None: it is read, or learnt and kept beside the library.

    Raises
    ------
    InputError
        If there is nothing to identify.
    LibraryError
        If the library is empty.
    """
    if len(seen.windows) == 0:
        return identify_windows(seen, library, settings), []
    learnt = learnt or learn(library, settings)
    inventory = identify_windows(seen, library, settings, judge=learnt.model, usual=learnt.usual)
    return inventory, learnt.messages


def _fit(
    library: Library, settings: IdentifySettings, key: KeySettings | None, representation: RepresentationSettings | None
) -> Learnt:  # fmt: skip
    model = fit_verdict_model(library, settings, key, representation)
    return Learnt(model, usual_services(library, settings.level, service_matrix(library.windows(), key, PRESENCE)))


def _key(
    library: Library, settings: IdentifySettings, key: KeySettings | None, representation: RepresentationSettings | None
) -> dict[str, str]:  # fmt: skip
    """What a file must have been made from."""
    learning = settings.model_copy(update={name: IdentifySettings().model_dump()[name] for name in DECIDING_ONLY})
    looked_at = (learning, key or KeySettings(), representation or RepresentationSettings())
    return {
        "version": __version__, "code": code_digest(), "library": library.digest,
        "settings": "-".join(part.digest for part in looked_at),
    }  # fmt: skip


def _checked(value: Any, settings: IdentifySettings, message: str) -> Learnt:
    """What a file holds, if it can decide: tried on no items at all, so that arrays that do not fit are found."""
    model, usual = value["model"], value["usual"]
    if not isinstance(model, VerdictModel) or not isinstance(usual, dict):
        raise LibraryError("it holds something else")
    model.settings = settings
    nothing = Windows(pl.DataFrame(schema=ITEM.schema), pl.DataFrame(schema=ITEM_COUNTS.schema))
    try:
        model.decide(nothing)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EthogramError) as error:
        raise LibraryError(f"its arrays do not fit together: {type(error).__name__}") from None
    return Learnt(model, usual, [message])


def _keep(learnt: Learnt, path: Path, wanted: Mapping[str, str], reason: str) -> str:
    """Write what was learnt, and say what was done."""
    why = f"learnt the library anew: {reason}" if reason else "learnt the library"
    try:
        write_learnt(path, {"model": learnt.model, "usual": dict(learnt.usual)}, wanted)
    except (EthogramError, OSError) as error:
        return f"{why}; not kept: {getattr(error, 'strerror', None) or error}"
    return f"{why}; kept in {path}"


def write_bundled(library: Library, folder: Path, levels: Sequence[str] = BUNDLED) -> list[Path]:
    """Write what the bundled library teaches at some levels, for the package."""
    written = []
    for level in levels:
        settings = settings_for(default_method(packaged=True, level=level), level=level)
        learnt = _fit(library, settings, None, None)
        path = learnt_path(folder / PACKAGED, settings)
        value = {"model": learnt.model, "usual": dict(learnt.usual)}
        # Without the digest of the code: a test holds the file to be what this code learns.
        write_learnt(path, value, {**_key(library, settings, None, None), "code": "package"}, compress=True)
        written.append(path)
    return written
