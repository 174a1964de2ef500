"""State from which a stopped or killed collector resumes: one verified file per segment.

The order of writing determines the effect of a crash: first the segment under a hidden name, then its state, then the
segment gets its final name, which commits both. A state without its segment belongs to a lost interval and is removed.
A segment without flows has no file; its state is the commit. The number of the last commit is stored afterwards, so
that a segment that was moved away later still counts as committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ethogram._files import write_bytes
from ethogram.errors import LibraryError
from ethogram.fingerprint.state import UNREADABLE, table_of
from ethogram.pipeline.stage_state import StageState
from ethogram.schema import Accounting, Exporter
from ethogram.serve.segments import SegmentName, segments_in

__all__ = ["STATE_FORMAT", "CollectorState", "accounting_of", "committed", "load_state", "note", "noted", "save_state"]

STATE_FORMAT = "ethogram.collector-state/1"
SUFFIX = ".state"
NOTE = "committed"


@dataclass
class CollectorState:
    """State that belongs to a committed segment.

    Parameters
    ----------
    number, rows
        Of the segment.
    exporter_number
        The segment after which the fingerprint exporter was saved; flows of later segments are fed again.
    counters
        All counters up to this segment.
    exporters
        UDP exporters by index.
    stages, sequences
        State of the flow stages; sequence numbers.
    metadata
        Metadata stated by exporters.
    waiting_sets
        Number of sets that waited for a template; they are not saved.
    output
        Output counters including this segment.
    """

    number: int = 0
    rows: int = 0
    exporter_number: int = 0
    counters: dict[str, Any] = field(default_factory=dict)
    exporters: dict[int, Exporter] = field(default_factory=dict)
    stages: StageState = field(default_factory=StageState)
    sequences: dict[str, NDArray[Any]] = field(default_factory=dict)
    metadata: Any = None
    waiting_sets: int = 0
    output: dict[str, Any] = field(default_factory=dict)


def save_state(folder: Path, name: SegmentName, state: CollectorState) -> Path:
    """Write and sync the state of a segment."""
    parts: dict[str, bytes] = {
        "state": orjson.dumps(
            {
                "number": state.number,
                "rows": state.rows,
                "exporter_number": state.exporter_number,
                "counters": state.counters,
                "exporters": [[index, e.address, e.port] for index, e in sorted(state.exporters.items())],
                "facts": state.metadata,
                "waiting_sets": state.waiting_sets,
                "output": state.output,
                "plain": state.stages.plain,
            }
        )
    }
    for key, frame in state.stages.tables.items():
        table = io.BytesIO()
        frame.write_ipc(table, compression="zstd")
        parts[f"table:{key}"] = table.getvalue()
    for kind, arrays in (("array", state.stages.arrays), ("sequence", state.sequences)):
        for key, array in arrays.items():
            table = io.BytesIO()
            np.save(table, array, allow_pickle=False)
            parts[f"{kind}:{key}"] = table.getvalue()
    payload = b"".join(parts.values())
    head = {
        "format": STATE_FORMAT,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "parts": [[key, len(content)] for key, content in parts.items()],
    }
    path = folder / f"{name.stem}{SUFFIX}"
    write_bytes(path, orjson.dumps(head) + b"\n" + payload)
    return path


def load_state(path: Path) -> CollectorState:
    """Read a state.

    Raises
    ------
    LibraryError
        If it is damaged or has another version.
    """
    try:
        line, _, payload = path.read_bytes().partition(b"\n")
        head = orjson.loads(line)
        if head["format"] != STATE_FORMAT:
            raise LibraryError(f"{path}: collector state of another version ({head['format']}, not {STATE_FORMAT})")
        if hashlib.sha256(payload).hexdigest() != head["sha256"]:
            raise LibraryError(f"{path}: collector state is damaged (its checksum does not agree)")
        parts, at = {}, 0
        for key, octets in head["parts"]:
            parts[key] = payload[at : at + octets]
            at += octets
        body = orjson.loads(parts["state"])
        return CollectorState(
            number=body["number"],
            rows=body["rows"],
            exporter_number=body["exporter_number"],
            counters=body["counters"],
            exporters={index: Exporter(address, port) for index, address, port in body["exporters"]},
            stages=StageState(
                {key: table_of(content) for key, content in _of("table", parts)},
                {key: _array(content) for key, content in _of("array", parts)},
                body["plain"],
            ),
            sequences={key: _array(content) for key, content in _of("sequence", parts)},
            metadata=body["facts"],
            waiting_sets=body["waiting_sets"],
            output=body["output"],
        )  # fmt: skip
    except LibraryError:
        raise
    except UNREADABLE as error:
        first = str(error).partition("\n")[0]
        raise LibraryError(f"{path}: not a collector state ({type(error).__name__}: {first})") from None


def _of(kind: str, parts: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(key.split(":", 1)[1], content) for key, content in parts.items() if key.startswith(f"{kind}:")]


def _array(content: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def committed(states: Path, flows: Path) -> tuple[int, CollectorState | None, list[str]]:
    """The last committed segment, its state, and what could not be used.

    Leftovers of later segments are removed. If the state of the last segment is unusable, an older one is used, or
    none; the flows of later segments are then fed again.

    Returns
    -------
    number, state, problems
        0 and None if nothing is committed yet.
    """
    flow_files, state_files = segments_in(flows), segments_in(states, SUFFIX)
    problems: list[str] = []
    loaded: dict[int, CollectorState] = {}
    last = max(max(flow_files, default=0), noted(states))
    for number, path in sorted(state_files.items(), reverse=True):
        try:
            state = load_state(path)
        except LibraryError as error:
            problems.append(str(error))
            continue
        if state.rows and number > last:
            with contextlib.suppress(OSError):  # its number is not reused
                path.unlink(missing_ok=True)
            continue
        loaded[number] = state
        last = max(last, number)
        break
    for folder in (states, flows):
        for path in folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return last, loaded[max(loaded)] if loaded else None, problems


def note(states: Path, number: int) -> None:
    """Store the number of a committed segment."""
    write_bytes(states / NOTE, b"%d\n" % number)


def noted(states: Path) -> int:
    """The stored number of the last commit; 0 if there is none."""
    try:
        return int((states / NOTE).read_bytes())
    except (OSError, ValueError):
        return 0


def accounting_of(saved: Any) -> Accounting:
    """An accounting from its plain data."""
    accounting = Accounting(str(saved["unit"]), read=int(saved["read"]), used=int(saved["used"]))
    for name in ("ignored", "dropped", "corrected"):
        getattr(accounting, name).update(saved[name])
    return accounting


def numbers_in(folder: Path, pattern: str) -> dict[int, Path]:
    """Files of a folder by the number in their name."""
    files = {}
    for path in folder.glob("*"):
        match = re.fullmatch(pattern, path.name)
        if match:
            files[int(match[1])] = path
    return dict(sorted(files.items()))
