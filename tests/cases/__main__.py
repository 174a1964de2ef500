"""Run every case and print what a user may expect beside what came.

``PYTHONPATH=tests python -m cases [NAME...]`` reads the folder that ``ETHOGRAM_CASES`` names; a name may be the
beginning of one. With ``--record`` the golden file is written anew: read its difference before it is committed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from cases.golden import FILE, Golden, golden_of, read_golden, write_golden
from cases.replay import Case, Outcome, read_cases, replay


def play(folder: Path, case: Case) -> Outcome:
    """Run one case in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        return replay(folder, case, Path(scratch))


def main(arguments: list[str]) -> int:
    """Print a block for each case; exit code 1 when an outcome is not the golden one."""
    folder = Path(os.environ["ETHOGRAM_CASES"])
    record = "--record" in arguments
    names = [name for name in arguments if name != "--record"]
    golden = read_golden(FILE) if FILE.exists() else {}
    different = 0
    for case in read_cases(folder):
        if names and not any(case.name.startswith(name) for name in names):
            continue
        outcome = play(folder, case)
        result = golden_of(outcome)
        before = golden.get(case.name)
        same = before is not None and result.agrees_with(before)
        different += not same
        if record:
            golden[case.name] = Golden(result.code, result.flows, result.says, before.why if before else "")
        sys.stdout.write(
            f"{case.name} ({case.kind}; was: {case.verdict}){'' if same else '  *** differs from the golden outcome'}\n"
            f"  command:  {case.command or '(live)'}\n  expected: {case.expected}\n  got:      {outcome.summary}\n"
        )
        for row in result.flows:
            sys.stdout.write(f"            {row}\n")
    if record:
        write_golden(FILE, golden)
    sys.stdout.write(f"{different} outcomes differ from {FILE.name}\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
