"""What ``pip install ethogram`` installs, its size, and what each piece is for: docs/explanation/dependencies.md.

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
    "publicsuffixlist": "which part of a name is somebody's domain",
    "pyarrow": "Parquet in row groups with metadata of our own; exchange of tables",
    "pydantic": "settings and verdicts with checked fields",
    "rich": "tables and progress on a terminal",
    "scikit-learn": "calibration, logistic regression, probes",
    "scipy": "sparse matrices, optimisation, tests",
    "typer": "the command line",
}
"""What each dependency is for."""
HEAD = """# What is installed, and why

`pip install ethogram` installs what `ethogram identify` needs. Embeddings (`embed`), training (`train`), the live
service (`serve`), plots (`plot`) and the benchmark's own baselines (`bench`) are extras. Sizes are those of the files
of each distribution, with its libraries, in a fresh virtual environment on x86-64 Linux and Python {python};
`python benchmarks/install_size.py` measures them again.

| distribution | MB | what it is for |
|---|---|---|
"""
TAIL = """
Before plots and the libraries of the benchmark became extras it was about 1,000 MB. What is left is three engines:
compiled kernels (Numba and LLVM), tables (Polars) and Parquet (PyArrow). Without PyArrow, Polars would have to write
row groups as they come, and keep metadata of ours in the file; without Numba, decoding and counting would have to be
built for each platform when the package is made. SciPy and scikit-learn serve calibration and the probes, and load
only when a verdict is made.
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
    rows = []
    direct = {_normal(name): name for name in PURPOSES}
    for name, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        key = _normal(name)
        if key == "ethogram":
            purpose = "Ethogram: code, knowledge, library and encoder"
        elif key == "llvmlite":
            purpose = "the compiler of Numba"
        elif key == "polars-runtime-32":
            purpose = "the engine of Polars"
        elif key in direct:
            purpose = PURPOSES[direct[key]]
        else:
            continue
        rows.append(f"| {name} | {size / 1e6:.1f} | {purpose} |")
    shown = {re.split(r" \| ", row[2:])[0] for row in rows}
    rest = sum(size for name, size in sizes.items() if name not in shown)
    rows += [f"| what these need | {rest / 1e6:.1f} | |", f"| **all** | **{sum(sizes.values()) / 1e6:.0f}** | |"]
    head = HEAD.format(python=f"{sys.version_info.major}.{sys.version_info.minor}")
    return head + "\n".join(rows) + "\n" + TAIL


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
        raise SystemExit(f"say what these are for: {', '.join(sorted(missing))}")
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(installed(Path(folder) / "venv")), "utf-8")


if __name__ == "__main__":
    main()
