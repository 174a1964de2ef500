"""Fuzz one target in a separate process: ``python -m fuzz.run_target NAME CORPUS FINDINGS SECONDS``.

An exception is recorded once per location, with a shortened input, and the run continues. A hang or excessive memory
ends the process; libFuzzer then keeps the input.
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
    """Modules compiled by Numba, unless it is disabled; instrumented code cannot be compiled."""
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
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=["ethogram"], exclude=compiled_modules()):
        from fuzz.harness import shortened, signature
        from fuzz.targets import TARGETS
    target = TARGETS[arguments.name]
    for seed in target.seeds():
        (arguments.corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = arguments.corpus.parent / f"{target.name}.dict"
    words.write_text("".join(f'"{"".join(f"{chr(92)}x{octet:02x}" for octet in word)}"\n' for word in target.words))
    options = [f"-dict={words}"] if target.words else []
    reported: set[str] = set()

    def finding_of(data: bytes) -> str | None:
        try:
            target.check(data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return signature(error)
        return None

    def check_input(data: bytes) -> None:
        finding = finding_of(data)
        if finding is None or finding in reported:
            return
        reported.add(finding)
        short = shortened(data, lambda shorter: finding_of(shorter) == finding)
        name = f"{target.name}-{hashlib.sha256(finding.encode()).hexdigest()[:8]}"
        try:
            target.check(short)
        except BaseException:
            text = traceback.format_exc()
        (arguments.findings / f"{name}.txt").write_text(f"{finding}\n{time.time():.0f}\n{short!r}\n{text}")
        (arguments.findings / f"{name}.bin").write_bytes(short)
        sys.stderr.write(f"FINDING {target.name}: {finding}\n")

    for seed in target.seeds():  # compile kernels before the time limit starts
        finding_of(seed)
    atheris.Setup(
        [
            sys.argv[0], str(arguments.corpus), f"-max_total_time={arguments.seconds}", f"-timeout={TIMEOUT_S}",
            f"-rss_limit_mb={RESIDENT_MIB}", f"-max_len={MAX_OCTETS}",
            f"-artifact_prefix={arguments.findings}/{target.name}-",
            f"-seed={arguments.seed}", "-print_final_stats=1", "-verbosity=1", "-len_control=0", *options,
        ],
        check_input,
    )  # fmt: skip
    atheris.Fuzz()


main()
