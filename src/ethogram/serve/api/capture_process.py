"""The process that reads an uploaded capture: limited in memory, time and files, apart from the service.

Run as ``python -m ethogram.serve.api.capture_process CAPTURE RESULT MEMORY_OCTETS CPU_S KNOWLEDGE [LIBRARY ...]``, with
an empty KNOWLEDGE for none and without LIBRARY for the bundled one. It prints one JSON object a line:
``{"records": N}`` while it reads, then ``{"done": [...]}`` with lines for the user, or ``{"problem": "..."}``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from ethogram.errors import EthogramError

__all__ = ["main"]

_FILES, _RESULT_OCTETS = 64, 1 << 28
_REPORT_S = 0.25


def main(arguments: list[str]) -> int:
    """Read a capture, and write its inventory."""
    capture, result, memory, cpu_s, knowledge, *libraries = arguments
    _limit(int(memory), int(cpu_s))
    try:
        lines = _identify(Path(capture), Path(result), libraries, Path(knowledge) if knowledge else None)
    except EthogramError as error:
        _say({"problem": str(error).replace(f"{Path(capture).parent}/", "")})
        return error.exit_code
    except MemoryError:
        _say({"problem": "reading the capture needs more memory than the setting upload_memory_octets permits"})
        return 3
    _say({"done": lines})
    return 0


def _limit(memory: int, cpu_s: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, _RESULT_OCTETS),
        (resource.RLIMIT_NOFILE, _FILES), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value, value) if hard == resource.RLIM_INFINITY else (min(value, hard),) * 2)


def _identify(capture: Path, result: Path, libraries: Sequence[str], knowledge: Path | None) -> list[str]:
    from ethogram.identify.render import to_json
    from ethogram.pipeline.identify import IdentifyOptions, identify
    from ethogram.pipeline.libraries import open_libraries

    records, then = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal records, then
        records += count
        if time.monotonic() - then > _REPORT_S:
            _say({"records": records})
            then = time.monotonic()

    options = IdentifyOptions(flows=False, knowledge=knowledge)  # by fingerprints, as the service judges
    run = identify([capture], open_libraries(libraries), options, on_progress=advance)
    result.write_text(to_json(run.inventory), "utf-8")
    lines = [run.log.summary, *run.log.notices, *run.log.errors]
    return [line.replace(f"{capture.parent}/", "") for line in lines if line]


def _say(value: dict[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
