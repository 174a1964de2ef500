"""Captures that users upload: queued, read one at a time in a limited process, and kept apart from the inventory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from ethogram.config.web import WebSettings

__all__ = ["Capture", "CaptureError", "Captures"]

_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,10}){1,2}$")
_LINE_OCTETS = 1 << 16
_CAP_S = 2.0  # between the limit of CPU time and the end of the process


class CaptureError(Exception):
    """A capture that is not accepted; ``status`` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Capture:
    """One upload.

    Parameters
    ----------
    id
        Random.
    name
        Name of the file as the browser gave it: foreign text, never used as a path.
    state
        ``waiting``, ``reading``, ``done`` or ``failed``.
    octets
        Size of the file.
    records
        Records read so far.
    messages
        Lines about the input: what was used, ignored and dropped.
    problem
        Why it failed.
    inventory
        ``ethogram.inventory/2`` of the capture, when it is done.
    """

    id: str
    name: str
    created: datetime
    octets: int = 0
    state: Literal["waiting", "reading", "done", "failed"] = "waiting"
    records: int = 0
    messages: list[str] = field(default_factory=list)
    problem: str = ""
    inventory: dict[str, Any] | None = None


class Captures:
    """Uploaded captures; construction starts nothing.

    Parameters
    ----------
    settings
        Bounds of size, time, memory and number.
    folder
        Where files lie while they are read; None: the system's folder for temporary files. They are removed afterwards.
    judged_with
        Returns the library files by which devices are judged, none for the bundled library, and the file of knowledge,
        or an empty text.
    """

    def __init__(
        self, settings: WebSettings, folder: Path | None, judged_with: Callable[[], tuple[Sequence[str], str]]
    ) -> None:  # fmt: skip
        self._settings, self._parent = settings, folder
        self._judged_with = judged_with
        self._captures: OrderedDict[str, Capture] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self.counts: Counter[str] = Counter()

    def get(self, capture_id: str) -> Capture | None:
        """A capture by its id; None if it does not exist any more."""
        return self._captures.get(capture_id)

    async def add(self, name: str, chunks: AsyncIterator[bytes]) -> Capture:
        """Store an upload, and queue it.

        Parameters
        ----------
        name
            Name of the file; its suffix is a hint for the format.
        chunks
            Content.

        Raises
        ------
        CaptureError
            If it is empty, too large, or too many captures wait.
        """
        if self._unfinished() >= self._settings.upload_queue:
            self.counts["refused: queue full"] += 1
            raise CaptureError(503, "Other captures are being read; try again later.")
        capture = Capture(secrets.token_hex(8), name[-255:], datetime.now(UTC))
        self._captures[capture.id] = capture
        folder = Path(tempfile.mkdtemp(prefix="ethogram-capture-", dir=self._parent))
        suffix = _SUFFIX.search(capture.name)
        file = folder / f"capture{suffix.group() if suffix else ''}"
        try:
            await self._store(capture, file, chunks)
        except BaseException:
            self._captures.pop(capture.id, None)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.counts["accepted"] += 1
        self._forget()
        task = asyncio.create_task(self._read(capture, file))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return capture

    async def close(self) -> None:
        """End all work and remove all files."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _unfinished(self) -> int:
        return sum(capture.state in ("waiting", "reading") for capture in self._captures.values())

    def _forget(self) -> None:
        """Forget the oldest results beyond the bound."""
        finished = [key for key, capture in self._captures.items() if capture.state in ("done", "failed")]
        for key in finished[: max(len(finished) - self._settings.upload_results + 1, 0)]:
            del self._captures[key]

    async def _store(self, capture: Capture, file: Path, chunks: AsyncIterator[bytes]) -> None:
        with file.open("xb") as stream:
            async for chunk in chunks:
                capture.octets += len(chunk)
                if capture.octets > self._settings.upload_octets:
                    self.counts["refused: too large"] += 1
                    raise CaptureError(413, f"The capture has more than {self._settings.upload_octets} octets.")
                await asyncio.to_thread(stream.write, chunk)
        if not capture.octets:
            self.counts["refused: empty"] += 1
            raise CaptureError(422, "The capture is empty.")

    async def _read(self, capture: Capture, file: Path) -> None:
        result = file.with_name("inventory.json")
        try:
            async with self._turn:
                capture.state = "reading"
                await self._run(capture, file, result)
                if not capture.problem:
                    capture.inventory = orjson.loads(await asyncio.to_thread(result.read_bytes))
        except (OSError, ValueError) as error:
            capture.problem = f"the capture could not be read: {type(error).__name__}"
        finally:
            if capture.state != "done":
                capture.state = "failed" if capture.problem or capture.inventory is None else "done"
            self.counts[capture.state] += 1
            shutil.rmtree(file.parent, ignore_errors=True)

    async def _run(self, capture: Capture, file: Path, result: Path) -> None:
        """Run the process, and follow its lines; it is killed at the end of its time."""
        settings = self._settings
        libraries, knowledge = self._judged_with()
        command = [
            sys.executable, "-P", "-m", "ethogram.serve.api.capture_process", str(file), str(result),
            str(settings.upload_memory_octets), str(int(settings.upload_s) + 1), knowledge,
            *libraries,
        ]  # fmt: skip
        # Threads reserve address space, which is limited.
        threads = {"POLARS_MAX_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env={**os.environ, **threads}, limit=_LINE_OCTETS,
            start_new_session=True,
        )  # fmt: skip
        ended = False
        try:
            async with asyncio.timeout(settings.upload_s + _CAP_S):
                assert process.stdout is not None
                async for line in process.stdout:
                    ended = _note(capture, orjson.loads(line)) or ended
                await process.wait()
        except TimeoutError:
            capture.problem = f"reading the capture took longer than {settings.upload_s:.0f} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if not ended and not capture.problem:
            capture.problem = "reading the capture ended early: it needs more memory or time than the limits permit"


def _note(capture: Capture, line: dict[str, Any]) -> bool:
    """Note one line of the process; returns whether it is the last."""
    if "records" in line:
        capture.records = int(line["records"])
    if "done" in line:
        capture.messages = [str(text) for text in line["done"]]
    if "problem" in line:
        capture.problem = str(line["problem"])
    return "done" in line or "problem" in line
