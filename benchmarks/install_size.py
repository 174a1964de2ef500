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

Three engines take two thirds: compiled kernels (LLVM for Numba), tables (Polars) and Parquet (PyArrow). NumPy takes
57 MB, everything else together less than a tenth. What was tried:

### Parquet without PyArrow (171 MB)

A flow table of 5 million rows, in batches as `ethogram flows` writes and reads it (Polars 2.1, PyArrow 26, arro3 0.9,
two cores shared with other work, so compare CPU time):

| library | MB | write: CPU, s | peak, MiB | read: CPU, s | peak, MiB | read two columns: CPU, s |
|---|---|---|---|---|---|---|
| PyArrow | 171 | 4.5 | 374 | 3.3 | 583 | 0.4 |
| Polars (`sink_parquet`, `collect_batches`) | 0 | 2.9 | 214 | 1.0 | 787 | 0.2 |
| arro3 (`arro3-core`, `arro3-io`; MIT or Apache-2.0) | 33 | 3.7 | 258 | 1.7 | 275 | reads all |

- Polars alone can write and read flow tables: it streams batches of a generator, and takes metadata from a function
  that it calls after the last batch. PyArrow's time to read includes checking that texts are valid, which Ethogram
  does because files may be damaged.
- arro3 writes columns of categories only as plain text, takes metadata before the rows (identity facts are known after
  them), and reads neither selected columns nor one row group.
- PyArrow stays for four uses that Polars does not cover: the collector adds row groups to a file that stays open for
  minutes; training and the inventory of the live service read row groups by number; custom flows, with a list of
  packets and their octets in each row, are converted from and to NumPy without a copy; texts are made of the octets
  and offsets that compiled decoders give. It can go only when all four have another way that is as fast and as
  bounded.
- 55 MB of PyArrow (Flight, S3 and Substrait) are never used, but the package index has it as one wheel only.

### Learning without SciPy and scikit-learn (146 MB)

`ethogram identify` with the bundled library uses neither, because its models are stored. They are needed to learn
from a library of your own (`enrol`, then `identify`), to group unknown devices (`unknown`) and to test embeddings
(`probe`).

- They are called at some thirty places, for logistic regression, boosted trees, forests, k-means, agglomerative
  clustering, isotonic regression, minimisation, rank tests, Student's and the hypergeometric distribution, connected
  components, eigenvectors and more.
- The most important one, logistic regression by L-BFGS, was written with NumPy alone: 40 lines, as fast (10,000 rows
  of 256 features and 25 labels: 0.18 s of CPU, scikit-learn 0.14 s). At scikit-learn's tolerance both stop after 8
  iterations at different points: probabilities differ by up to 0.03, so verdicts and published results would change.
- As extras they would save 146 MB, and a plain installation could not learn your devices.

### Smaller files of the same libraries

- LLVM and Polars are one shared library each, so no part can be left out. Stripping symbols would save 40 MB of
  Polars, 19 MB of LLVM and 17 MB of PyArrow, but `pip` installs files as they were published.
- 36 MB are the libraries' own tests (SciPy 16, NumPy 7, scikit-learn 6, Numba 5, PyArrow 3); the wheels have them,
  too.
- Without Numba (195 MB with LLVM), decoding and counting would have to be compiled for each platform when the package
  is built, and a checkout would need a compiler.
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
