"""Fuzz one target in a process of its own: ``python -m fuzz.one NAME CORPUS FINDINGS SECONDS``.

An exception is written down once for each place it came from, with an input as short as could be found, and the run
goes on. A hang or memory beyond its bound ends the process; libFuzzer then keeps the input.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
import traceback
from pathlib import Path

import atheris

TIMEOUT_S = 20
RESIDENT_MIB = 3072
MAX_OCTETS = 1 << 14


def compiled_modules() -> list[str]:
    """Modules that Numba compiles, unless it is switched off: what is instrumented it cannot compile."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return []
    source = Path(__file__).parent.parent.parent / "src"
    return [
        ".".join(file.relative_to(source).with_suffix("").parts)
        for file in source.rglob("*.py")
        if re.search(r"^(@(_?compiled|inner|njit|nb\.njit|numba\.njit)\b)", file.read_text(), re.MULTILINE)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with atheris.instrument_imports(include=["ethogram"], exclude=compiled_modules()):
        from fuzz.harness import shortened, signature
        from fuzz.targets import TARGETS
    target = TARGETS[chosen.name]
    for seed in target.seeds():
        (chosen.corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = chosen.corpus.parent / f"{target.name}.dict"
    words.write_text("".join(f'"{"".join(f"{chr(92)}x{octet:02x}" for octet in word)}"\n' for word in target.words))
    options = [f"-dict={words}"] if target.words else []
    seen: set[str] = set()

    def found(data: bytes) -> str | None:
        try:
            target.check(data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return signature(error)
        return None

    def one(data: bytes) -> None:
        told = found(data)
        if told is None or told in seen:
            return
        seen.add(told)
        short = shortened(data, lambda less: found(less) == told)
        name = f"{target.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
        try:
            target.check(short)
        except BaseException:
            text = traceback.format_exc()
        (chosen.findings / f"{name}.txt").write_text(f"{told}\n{time.time():.0f}\n{short!r}\n{text}")
        (chosen.findings / f"{name}.bin").write_bytes(short)
        sys.stderr.write(f"FINDING {target.name}: {told}\n")

    for seed in target.seeds():  # before the clock runs: what is compiled is compiled by them
        found(seed)
    atheris.Setup(
        [
            sys.argv[0], str(chosen.corpus), f"-max_total_time={chosen.seconds}", f"-timeout={TIMEOUT_S}",
            f"-rss_limit_mb={RESIDENT_MIB}", f"-max_len={MAX_OCTETS}",
            f"-artifact_prefix={chosen.findings}/{target.name}-",
            f"-seed={chosen.seed}", "-print_final_stats=1", "-verbosity=1", "-len_control=0", *options,
        ],
        one,
    )  # fmt: skip
    atheris.Fuzz()


main()
