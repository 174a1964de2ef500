"""What a resolver's log gives: answers and questions with their clients, and the accounting of its entries."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ethogram.io.parse_columns import parse_addresses
from ethogram.io.parse_times import parse_times_or_null
from ethogram.schema import NAME_ANSWER, NAME_QUESTION, TIME, Accounting

__all__ = ["MAX_ROWS", "ResolverLog", "decoded_lines", "log_times"]

MAX_ROWS = 1 << 21
"""Most answers, and most questions, kept of one log: the last ones."""

TIME_PATTERN = (
    r"^(?:<\d{1,3}>)?(?:\d )?(?:[A-Z][a-z]{2} )?"
    r"(?<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d(?: \d{4})?|\[\d{9,11}\])"
)
"""Beginning of a line of a log: ISO 8601, syslog (RFC 3164, which has neither year nor zone), or seconds since 1970."""


class ResolverLog:
    """Collects answers and questions of one log.

    Attributes
    ----------
    accounting
        Over the unit ``log entries``.
    first_problem
        Line and reason of the first entry that was dropped.
    zoneless
        Whether times without a zone were read.
    left_out
        Answers and questions beyond the bound.
    version_note
        Note on the version of the format; empty if there is nothing to say.
    """

    def __init__(self, path: Path, form: str) -> None:
        self.path = path
        self.format = form
        self.accounting = Accounting("log entries")
        self.first_problem: tuple[int, str] | None = None
        self.zoneless = False
        self.left_out = 0
        self.version_note = ""
        self._answers = [NAME_ANSWER.empty()]
        self._questions = [NAME_QUESTION.empty()]

    def add(self, entries: pl.DataFrame, lines: pl.Series | None = None) -> None:
        """Add questions: columns ``time``, ``client`` (text), ``name``, and optionally ``client_port`` and ``server``.

        Entries without a time, client or name are counted as dropped.
        """
        self.accounting.read += entries.height
        frame = entries.with_columns(
            client=parse_addresses(entries["client"]).values,
            name=pl.col("name").str.to_lowercase().str.strip_suffix("."),
        )
        sound = frame.select(
            pl.col("time").is_not_null() & pl.col("client").is_not_null() & (pl.col("name").str.len_bytes() > 0)
        ).to_series().fill_null(value=False)  # fmt: skip
        self.drop("no time, client or name", int((~sound).sum()),
                  None if lines is None or sound.all() else int(lines[int((~sound).arg_max() or 0)]))  # fmt: skip
        self.accounting.used += int(sound.sum())
        self._questions.append(NAME_QUESTION.conform(frame.filter(sound)))
        self._bound(self._questions)

    def add_answers(self, answers: pl.DataFrame) -> None:
        """Add answers (:data:`ethogram.schema.NAME_ANSWER`, addresses as text); incomplete ones are left out."""
        frame = answers.with_columns(
            client=parse_addresses(answers["client"]).values, address=parse_addresses(answers["address"]).values,
            name=pl.col("name").str.to_lowercase().str.strip_suffix("."),
        )  # fmt: skip
        self._answers.append(NAME_ANSWER.conform(frame.drop_nulls()))
        self._bound(self._answers)

    def drop(self, reason: str, count: int, line: int | None = None) -> None:
        """Count entries that cannot be used; they have been counted as read."""
        self.accounting.drop(reason, count)
        if count and self.first_problem is None and line is not None:
            self.first_problem = (line, reason)

    def _bound(self, frames: list[pl.DataFrame]) -> None:
        if sum(frame.height for frame in frames) > 2 * MAX_ROWS:
            together = pl.concat(frames)
            self.left_out += together.height - MAX_ROWS
            frames[:] = [together.sort("time").tail(MAX_ROWS)]

    @property
    def answers(self) -> pl.DataFrame:
        """Answers (:data:`ethogram.schema.NAME_ANSWER`)."""
        return pl.concat(self._answers).sort("time").tail(MAX_ROWS)

    @property
    def questions(self) -> pl.DataFrame:
        """Questions (:data:`ethogram.schema.NAME_QUESTION`)."""
        return pl.concat(self._questions).sort("time").tail(MAX_ROWS)

    def times(self, texts: pl.Series, zone: str) -> pl.Series:
        """Parse times of a log, and note whether any has no zone."""
        times, zoneless = log_times(texts, zone, self.path)
        self.zoneless = self.zoneless or zoneless
        return times


def decoded_lines(lines: list[bytes]) -> pl.Series:
    """Lines as text; what is not UTF-8 is replaced."""
    return pl.Series("line", [line.decode("utf-8", "replace") for line in lines], dtype=pl.String)


def log_times(texts: pl.Series, zone: str, path: Path) -> tuple[pl.Series, bool]:
    """Times of log lines in UTC, and whether any has no zone.

    Syslog writes no year: the latest year is taken in which the time is not after the file's last change.

    Parameters
    ----------
    texts
        As :data:`TIME_PATTERN` finds them, N.
    zone
        Time zone of times without one.
    path
        The file.
    """
    bare = texts.str.strip_chars("[]").str.replace_all(" +", " ")
    syslog = bare.str.contains(r"^[A-Z]").fill_null(value=False)
    times = parse_times_or_null(bare.set(syslog, None), zone)
    zoned = bare.str.contains(r"(?:[Zz]|[+-]\d\d:?\d\d)$|^\d+(?:\.\d+)?$").fill_null(value=True)
    if syslog.any():
        try:
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError:
            changed = datetime.now(UTC)
        dated = bare.str.contains(r" \d{4}$").fill_null(value=False)
        with_year = [_syslog(bare, dated, changed.year - back, zone) for back in (0, 1)]
        late = with_year[0] > pl.Series([changed]).dt.offset_by("1d")[0]
        by_year = with_year[1].zip_with((late & ~dated).fill_null(value=False), with_year[0])
        times = by_year.zip_with(syslog, times)
    return times, bool((~zoned & times.is_not_null()).any())


def _syslog(texts: pl.Series, dated: pl.Series, year: int, zone: str) -> pl.Series:
    """Times such as ``May 1 12:00:00``, of a year, or ``May 1 12:00:00 2024``."""
    whole = pl.DataFrame({"text": texts, "dated": dated}).select(
        pl.when("dated").then("text").otherwise(pl.format(f"{{}} {year}", "text"))
    ).to_series()  # fmt: skip
    parsed = whole.str.to_datetime("%b %d %H:%M:%S %Y", strict=False, time_unit="us")
    local = parsed.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC").cast(TIME)
