"""The counts of the live service over all its sources, by device of the store or by name in the flow table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from ethogram.fingerprint.count import summed_counts
from ethogram.schema import COUNTS, DueDevice
from ethogram.serve.facts import CountFacts, midnight_before

__all__ = ["StoredCounts"]


class StoredCounts:
    """Reads the counts of all sources as one table.

    Parameters
    ----------
    folder
        Of the counts, one folder below it for each source.
    sources
        Names of the sources.
    window_days
        Days before its last flow that are read of a device.

    Attributes
    ----------
    by_source
        The counts of each source.

    Examples
    --------
    >>> StoredCounts(Path("facts"), ["collector"]).of_devices([]).height
    0
    """

    def __init__(self, folder: Path, sources: Iterable[str], window_days: int = 7) -> None:
        self.by_source = {name: CountFacts(folder / name) for name in sources}
        self.window_days = window_days

    def of_devices(self, devices: Sequence[DueDevice], since: datetime | None = None) -> pl.DataFrame:
        """Counts of devices with their ids (:data:`ethogram.schema.COUNTS`), sorted by key.

        Parameters
        ----------
        devices
            With the times at which their names in the flow table were theirs.
        since
            First hour; None: of each device, the days before its last flow.
        """
        rows = [
            (name, device.id, max(_hour(first), since or midnight_before(device.last_seen, self.window_days)), last)
            for device in devices
            for name, first, last in device.names
        ]
        if not rows:
            return COUNTS.empty()
        names = pl.DataFrame(
            rows, orient="row",
            schema={"device": pl.String, "id": pl.String, "since": COUNTS.schema["time"],
                    "until": COUNTS.schema["time"]},
        )  # fmt: skip
        counts = self._read(names["device"].unique().to_list(), min(row[2] for row in rows)).join(names, on="device")
        return summed_counts(counts.filter(pl.col("time").is_between("since", "until")).with_columns(device="id"))

    def of_names(self, names: Sequence[str], since: datetime) -> pl.DataFrame:
        """Counts of all names together since a time, with an empty device, sorted by key."""
        return summed_counts(self._read(names, since).with_columns(device=pl.lit("")))

    def _read(self, names: Sequence[str], since: datetime) -> pl.DataFrame:
        return pl.concat([COUNTS.empty(), *(facts.read(names, since) for facts in self.by_source.values())])


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
