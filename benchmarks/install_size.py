"""Distributions that ``pip install ethogram`` installs, their sizes and uses: docs/explanation/dependencies.md.

    python benchmarks/install_size.py

Makes a virtual environment, installs the checkout without extras, and sums the files of each distribution.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import orjson

from ethogram.report.tables import table_lines

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "dependencies.md"
PURPOSES = {
    "backports.zstd": "reading `.zst` files before Python 3.14",
    "lz4": "reading `.lz4` files",
    "narwhals": "expressions over DataFrames of any library; input as pandas or PyArrow",
    "numba": "compiled decoding of packets and flow records, counting, and matching",
    "numpy": "arrays",
    "orjson": "JSON, several times as fast as that of the standard library",
    "polars": "tables",
    "publicsuffixlist": "the registrable domain of a name",
    "pyarrow": "Parquet in row groups with added metadata; exchange of tables",
    "pydantic": "settings and verdicts with checked fields",
    "rich": "tables and progress on a terminal",
    "scikit-learn": "calibration, logistic regression, probes",
    "scipy": "sparse matrices, optimisation, tests",
    "typer": "the command line",
}
"""What each dependency is for."""
PARTS = {
    "ethogram": "Ethogram: code, knowledge, library and encoder",
    "llvmlite": "the compiler of Numba",
    "polars-runtime-32": "the engine of Polars",
}
"""What other large distributions are for."""
HEAD = """# What is installed, and why

`pip install ethogram` installs what `ethogram identify` needs. Embeddings (`embed`), training (`train`), the live
service (`serve`), plots (`plot`) and the benchmark's own baselines (`bench`) are extras. Sizes are those of the files
of each distribution, with its libraries, in a fresh virtual environment on x86-64 Linux and Python {python};
`python benchmarks/install_size.py` measures them again.
"""
TAIL = """
## Why it is not smaller

- Three engines take two thirds: compiled kernels (LLVM for Numba), tables (Polars) and Parquet (PyArrow). LLVM and
  Polars are one shared library each, so no part can be left out. Without Numba, decoding and counting would have to be
  compiled for each platform when the package is built.
- PyArrow appends row groups to an open file and stores metadata in it; Polars writes whole files only. 55 MB of PyArrow
  (Flight, S3 and Substrait) are never used, but the package index has it as one wheel only.
- `ethogram identify` with the bundled library uses neither SciPy nor scikit-learn, because its models are stored. They
  are needed to learn from a library of your own (`enrol`, then `identify`), to group unknown devices (`unknown`) and to
  test embeddings (`probe`). As extras they would save 146 MB, and a plain installation could not learn your devices.
- NumPy takes 57 MB, everything else together less than a tenth.
"""
LIST = """
import importlib.metadata, json
sizes = {}
for item in importlib.metadata.distributions():
    files = [file.locate() for file in item.files or []]
    sizes[item.metadata["Name"]] = sum(path.stat().st_size for path in files if path.is_file())
print(json.dumps(sizes))
"""


def installed(folder: Path) -> dict[str, int]:
    """Octets of each distribution of a fresh environment with this checkout."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", str(ROOT)], check=True)
    listed = subprocess.run([python, "-c", LIST], check=True, capture_output=True).stdout
    sizes: dict[str, int] = orjson.loads(listed)
    return {name: size for name, size in sizes.items() if name.lower() not in ("pip", "setuptools")}


def page(sizes: dict[str, int]) -> str:
    """The page, the largest distributions first."""
    purposes = {_normal(name): purpose for name, purpose in (PURPOSES | PARTS).items()}
    shown = sorted((name for name in sizes if _normal(name) in purposes), key=lambda name: -sizes[name])
    rows = [[name, f"{sizes[name] / 1e6:.1f}", purposes[_normal(name)]] for name in shown]
    rest = sum(size for name, size in sizes.items() if name not in shown)
    rows += [["what these need", f"{rest / 1e6:.1f}", ""], ["**all**", f"**{sum(sizes.values()) / 1e6:.0f}**", ""]]
    table = table_lines(("distribution", "MB", "what it is for"), rows)
    return "\n".join([HEAD.format(python=f"{sys.version_info.major}.{sys.version_info.minor}"), *table, TAIL])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def direct_dependencies() -> set[str]:
    """Names of the dependencies that the package states."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}


def main() -> None:
    """Measure, and write the page."""
    missing = direct_dependencies() ^ set(PURPOSES)
    if missing:
        raise SystemExit(f"PURPOSES does not match the dependencies: {', '.join(sorted(missing))}")
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(installed(Path(folder) / "venv")), "utf-8")


if __name__ == "__main__":
    main()
