"""Run fuzz targets in sequence: ``python -m fuzz [NAME...] --seconds 60``; ``make fuzz`` runs all of them.

Code compiled by Numba cannot be instrumented: a target over such code first runs interpreted, with arrays that reject
reads outside their bounds; then, from the corpus found so far, compiled. Findings are kept in ``build/fuzz``; the exit
code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .targets import TARGETS

TESTS = Path(__file__).parent.parent
FINDINGS = TESTS.parent / "build" / "fuzz"


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(name: str, corpus: Path, seconds: int, compiled: bool, seed: int) -> str:
    """Run one target in one process and describe the result; a run that ends early is restarted."""
    environment = dict(os.environ, PYTHONPATH=str(TESTS), NUMBA_DISABLE_JIT="0" if compiled else "1")
    until, executions, edges, stops = time.monotonic() + seconds, 0, 0, 0
    while (left := round(until - time.monotonic())) > 0 and stops < 10:
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.run_target", name, str(corpus), str(FINDINGS), str(left),
             "--seed", str(seed + stops)],
            env=environment, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        for line in done.stderr.splitlines():
            if line.startswith(("FINDING", "==")) or "SUMMARY" in line:
                say(f"  {line}")
        reported = re.findall(r"^#(\d+)\t", done.stderr, re.MULTILINE)
        executions += max(map(int, reported), default=0)
        edges = max(edges, *map(int, re.findall(r" cov: (\d+)", done.stderr)), 0)
        if done.returncode:
            stops += 1
            if not reported:
                say(done.stderr[-2000:])
    how = "compiled" if compiled else "interpreted"
    return f"{name:12} {how:11} {executions:9,} inputs, {edges:5,} edges, {len(list(corpus.iterdir())):5,} kept"


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--seconds", type=int, default=60, help="of each target, half of it compiled where code is")
    parser.add_argument("--corpus", type=Path, help="folder where inputs are kept from run to run")
    parser.add_argument("--seed", type=int, default=1)
    selected = parser.parse_args()
    unknown = set(selected.names) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    FINDINGS.mkdir(parents=True, exist_ok=True)
    before = {file: file.stat().st_mtime for file in FINDINGS.iterdir()}
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as temporary:
        for name in selected.names or TARGETS:
            corpus = (selected.corpus or Path(temporary)) / name
            corpus.mkdir(parents=True, exist_ok=True)
            ways = (False, True) if TARGETS[name].compiled else (True,)
            for compiled in ways:
                say(run(name, corpus, max(selected.seconds // len(ways), 1), compiled, selected.seed))
    new = sorted(file for file in FINDINGS.iterdir() if before.get(file) != file.stat().st_mtime)
    for file in new:
        say(f"finding: {file}")
    say("no finding" if not new else f"{len(new)} files of findings")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
