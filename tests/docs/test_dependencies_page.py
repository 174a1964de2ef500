"""The page about what is installed names every dependency of the package, and no other."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from docs.running import page

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "install_size.py"


def test_every_dependency_has_a_purpose_and_a_size() -> None:
    program = runpy.run_path(str(PROGRAM), run_name="loaded")
    direct = program["direct_dependencies"]()
    assert set(program["PURPOSES"]) == direct
    rows = re.findall(r"^\| ([\w.-]+) \| ([\d.]+) \| \S", page("docs/explanation/dependencies.md"), re.MULTILINE)
    assert direct <= {name for name, _ in rows}
    assert all(float(size) > 0 for _, size in rows)
