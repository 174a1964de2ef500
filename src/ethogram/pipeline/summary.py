"""One line that sums up the accounting of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ethogram.pipeline.text import plural
from ethogram.schema import Accounting

__all__ = ["summary_line"]


def summary_line(inputs: Sequence[Accounting], stages: Iterable[Accounting], result: str) -> str:
    """Sum up what was read, what was left out by reason, and the result.

    Parameters
    ----------
    inputs
        Accounting of each input.
    stages
        Accounting of each later stage.
    result
        What the run gave, such as ``55 flows``.

    Examples
    --------
    >>> capture, stage = Accounting("packets", read=600, used=585), Accounting("flows", read=38, used=38)
    >>> capture.ignore("arp", 15)
    >>> summary_line([capture], [stage], "38 flows")
    '1 input, 600 packets read: 38 flows; 15 ignored (arp 15), 0 dropped'
    """
    read: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    corrected: Counter[str] = Counter()
    for accounting in inputs:
        read[accounting.unit] += accounting.read
    for accounting in (*inputs, *stages):
        ignored.update(accounting.ignored)
        dropped.update(accounting.dropped)
        corrected.update(accounting.corrected)
    amounts = " and ".join(plural(n, unit.removesuffix("s")) for unit, n in sorted(read.items())) or "nothing"
    line = (
        f"{plural(len(inputs), 'input')}, {amounts} read: {result}; "
        f"{ignored.total():,} ignored{_reasons(ignored)}, {dropped.total():,} dropped{_reasons(dropped)}"
    )
    return line + (f", {corrected.total():,} corrected{_reasons(corrected)}" if corrected.total() else "")


def _reasons(counter: Counter[str]) -> str:
    named = {reason: count for reason, count in counter.items() if count}
    return f" ({', '.join(f'{reason} {count:,}' for reason, count in sorted(named.items()))})" if named else ""
