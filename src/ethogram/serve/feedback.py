"""The service's own library: devices whose statement a user confirmed, enrolled with the user and the time.

The library follows from the confirmations in the store and from stored counts, so that a confirmation that is
withdrawn, or lost with a restored store, leaves the library in the next round. A statement is enrolled if it names
vendor and kind: one of them alone is true of many devices, and stays in the store only.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from pathlib import Path

from ethogram.errors import EthogramError
from ethogram.identify import library_file
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity, Library, Source
from ethogram.pipeline.fingerprints import windows_from_counts
from ethogram.pipeline.library import OpenLibrary, enrol_windows, open_library
from ethogram.pipeline.windows import ObservedWindows, settled_devices
from ethogram.schema import ConfirmedStatement
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

__all__ = ["LIBRARY", "MOST_CONFIRMED", "ConfirmedLibrary", "identity_of_statement"]

LIBRARY = "library.jsonl.gz"
MOST_CONFIRMED = 500
"""Devices in the library, those that were confirmed last."""
WINDOWS = 7
"""Latest days enrolled of a device."""
DAY_S = 86_400


def identity_of_statement(confirmed: ConfirmedStatement) -> Identity | None:
    """What is enrolled for a statement; None if it does not name vendor and kind, or is not stated any more.

    Parameters
    ----------
    confirmed
        With the latest verdict on the device.
    """
    ladder = confirmed.verdict.get("ladder") or {}
    if ladder.get("statement") != confirmed.statement or ladder.get("level") not in ("family", "model", "device"):
        return None
    vendor, kind, model = (str(ladder.get(name) or "") for name in ("vendor", "kind", "model"))
    if not vendor or not kind or " or " in kind:
        return None
    return Identity(confirmed.statement, model if " or " not in model else "", vendor, kind)


class ConfirmedLibrary:
    """Keeps the library of confirmed devices equal to the confirmations in the store.

    Parameters
    ----------
    folder
        Of the service; the library is ``library.jsonl.gz`` in it.

    Attributes
    ----------
    problem
        Why the library could not be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LIBRARY
        self.problem = ""
        self._mark: tuple[int, int, str] | None = None

    def open(self) -> OpenLibrary | None:
        """The library; None if it has no device or cannot be read (see :attr:`problem`)."""
        if not self.path.exists():
            return None
        try:
            library = open_library(self.path)
        except (EthogramError, OSError) as error:
            self.problem = str(error)
            return None
        return library if library.entries else None

    def update(self, store: Store, counts: StoredCounts) -> bool:
        """Enrol devices that were confirmed, and remove those that are not any more; returns whether it changed.

        Parameters
        ----------
        store
            With the statements that users confirmed; they are read only after a change by a user.
        counts
            What is enrolled.

        Raises
        ------
        InputError
            If the store cannot be read.
        """
        mark = store.feedback_mark()
        if mark == self._mark:
            return False
        wanted = {each.device.id: each for each in store.confirmed(limit=MOST_CONFIRMED)}
        before = self._read()
        enrolled = {o.device: o.source for entry in before.entries for o in entry.observed}
        sources = {id_: _source(each).name for id_, each in wanted.items()}
        gone = [device for device, source in enrolled.items() if sources.get(device) != source]
        library = before.remove(devices=gone) if gone else before
        used = {observed.source for entry in library.entries for observed in entry.observed}
        library = replace(library, sources=tuple(each for each in library.sources if each.name in used))
        for id_, each in wanted.items():
            if enrolled.get(id_) != sources[id_]:
                library = self._enrol(library, each, counts)
        changed = library != before
        if changed:
            try:
                library_file.write(library, self.path)
            except EthogramError as error:
                self.problem = str(error)
                return False
        self.problem, self._mark = "", mark
        return changed

    def _read(self) -> Library:
        """The library on disk; one that is damaged is made again from the store and the counts."""
        try:
            return library_file.read(self.path) if self.path.exists() else Library(name="confirmed")
        except (EthogramError, OSError):
            return Library(name="confirmed")

    @staticmethod
    def _enrol(library: Library, confirmed: ConfirmedStatement, counts: StoredCounts) -> Library:
        who = identity_of_statement(confirmed)
        rows = None if who is None else counts.of_devices([confirmed.device])
        if who is None or rows is None or not rows.height:
            return library
        windows = windows_from_counts(rows, DAY_S)
        last = windows.items.sort("start").tail(WINDOWS)["item"].to_list()
        windows = windows.take(sorted(last))
        settled = confirmed.device.id in settled_devices(rows)
        observed = ObservedWindows(windows, ["converged" if settled else "open"] * len(windows))
        label = Label(confirmed.device.id, who)
        extended, _ = enrol_windows(observed, [label], source=_source(confirmed), extend=library, name="confirmed")
        return extended


def _source(confirmed: ConfirmedStatement) -> Source:
    """Who confirmed what, and when."""
    time = f"{confirmed.time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Source(f"confirmed by {confirmed.user} on {time}: {confirmed.statement} ({confirmed.device.id})", time)
