"""Make the files of a release: wheel, source archive, software bill of materials and checksums.

Nothing is made from a tree with changes that are not committed. The same commit gives the same wheel and bill, octet
for octet; the source archive differs in times. Run it with an interpreter that has the extra ``release``:
``python packaging/release.py -o dist``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class ReleaseError(Exception):
    """A reason why no release is made."""


def run(command: list[str], **variables: str) -> str:
    """The output of a command in the root of the project; its own error output is the reason if it fails."""
    environment = {**os.environ, **variables}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise ReleaseError(f"{' '.join(command[:4])} failed: {lines[-1] if lines else 'no reason given'}")
    return result.stdout


def checked_version(*, candidate: bool) -> str:
    """The version of a clean tree; every file that states it agrees."""
    changes = run(["git", "status", "--porcelain"]).splitlines()
    if changes:
        raise ReleaseError(f"{len(changes)} files are not committed; the first is {changes[0][3:]}")
    version = str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])
    stated = {
        "src/ethogram/_version.py": rf'"{re.escape(version)}"',
        "CITATION.cff": rf"^version: {re.escape(version)}$",
    }
    if not candidate:
        stated["CHANGELOG.md"] = rf"^## {re.escape(version)}\b"
    for name, pattern in stated.items():
        if not re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE):
            raise ReleaseError(f"{name} does not state version {version} of pyproject.toml")
    run([sys.executable, "docs/generate.py", "--check"])
    return version


def build(folder: Path) -> list[Path]:
    """The wheel and the source archive; the wheel is built from the archive."""
    when = run(["git", "log", "-1", "--format=%ct"]).strip()
    run([sys.executable, "-m", "build", "--outdir", str(folder)], SOURCE_DATE_EPOCH=when)
    return sorted(path for path in folder.iterdir() if path.suffix in {".whl", ".gz"})


def bill_of_materials(wheel: Path, target: Path) -> None:
    """What an installation of the wheel consists of, as CycloneDX 1.6 in JSON."""
    with tempfile.TemporaryDirectory() as name:
        environment = Path(name) / "venv"
        venv.create(environment, with_pip=True)
        python = str(environment / "bin" / "python")
        run([python, "-m", "pip", "install", "-q", "-c", "constraints.txt", f"{wheel}[serve,embed]"])
        run([python, "-m", "pip", "uninstall", "-q", "-y", "pip", "setuptools"])
        run([
            sys.executable, "-m", "cyclonedx_py", "environment", "--sv", "1.6", "--of", "JSON", "--output-reproducible",
            "--pyproject", "pyproject.toml", "-o", str(target), python,
        ])  # fmt: skip
    names = {component["name"] for component in json.loads(target.read_text("utf-8"))["components"]}
    if not {"numpy", "polars", "fastapi"} <= names:
        raise ReleaseError(f"{target.name} does not list what is installed")


def main() -> int:
    """Make a release, or say in one line why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="an empty or new folder")
    parser.add_argument("--candidate", action="store_true", help="the change log need not name the version yet")
    chosen = parser.parse_args()
    folder = chosen.output.resolve()
    try:
        version = checked_version(candidate=chosen.candidate)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ReleaseError(f"{folder} is not empty")
        files = build(folder)
        bill = folder / f"ethogram-{version}.cdx.json"
        bill_of_materials(next(path for path in files if path.suffix == ".whl"), bill)
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (*files, bill)]
        (folder / "SHA256SUMS").write_text("".join(lines), "utf-8")
    except (ReleaseError, OSError) as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    sys.stdout.write("".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
