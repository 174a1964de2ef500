"""What is compiled is kept where nobody else can write, is void when its sources change, and is never needed."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import ethogram
from ethogram._numba import compiled_functions
from ethogram._numba_cache import distrust

PACKAGE = Path(ethogram.__file__).parent
NOBODY = 65534
COMPILING = "ethogram: compiling for first use"
NOT_KEPT = "ethogram: compiling, which takes up to a minute at every start"

MODULE = """
from ethogram._numba import Compiler
from pathlib import Path
from other import FACTOR, doubled
COMPILER = Compiler(Path(__file__).parent, ("module", "other"))
@COMPILER.compiled
def run(x):
    return doubled(x) * FACTOR
if __name__ == "__main__":
    print(run(5), sum(run.stats.cache_misses.values()))
"""
OTHER = """
from ethogram._numba import Compiler
from pathlib import Path
FACTOR = 10
@Compiler(Path(__file__).parent, ("module", "other")).inner
def doubled(x):
    return x + x
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that another user can enter, as those of pytest cannot be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def module_in(folder: Path) -> Path:
    (folder / "code").mkdir()
    (folder / "code" / "module.py").write_text(MODULE)
    (folder / "code" / "other.py").write_text(OTHER)
    return folder / "code" / "module.py"


def as_other_user(command: list[str]) -> list[str]:
    """A command run by another user, who may read everything, as a user of an installed package can, and write nothing.

    The tests may run from a checkout that only root can enter.
    """
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=+dac_read_search", *command,
    ]  # fmt: skip


def run(file: Path, *, other_user: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(file)]
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        as_other_user(command) if other_user else command, env=clean | variables, capture_output=True, text=True,
        check=False, timeout=120, cwd="/",
    )  # fmt: skip


def ran(file: Path, *, other_user: bool = False, **variables: str) -> tuple[int, int, str]:
    """Result, functions compiled, and standard error."""
    done = run(file, other_user=other_user, **variables)
    assert done.returncode == 0, done.stderr
    value, misses = done.stdout.split()
    return int(value), int(misses), done.stderr


@pytest.fixture(scope="module")
def other() -> int:
    """The number of a user who is not this one and can run Python; skips where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a program as another user")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    probe = as_other_user([sys.executable, "-c", "import os, numba; assert os.geteuid() != 0"])
    done = subprocess.run(probe, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode != 0:
        pytest.skip(f"another user cannot run Python here: {done.stderr.strip().splitlines()[-1:]}")
    return NOBODY


def test_it_is_compiled_once_and_then_loaded(place: Path) -> None:
    file = module_in(place)
    value, misses, result = ran(file)
    assert (value, misses) == (100, 1)
    assert result.startswith(COMPILING)
    assert len(result.splitlines()) == 1
    assert ran(file) == (100, 0, "")


def test_a_change_in_a_file_it_calls_voids_it(place: Path) -> None:
    file = module_in(place)
    ran(file)
    other = file.with_name("other.py")
    before = other.stat()
    # Same size, same time of change: only the text differs.
    other.write_text(OTHER.replace("FACTOR = 10", "FACTOR = 30"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ran(file)[:2] == (300, 1)
    other.write_text(OTHER.replace("x + x", "x - x"))
    assert ran(file)[:2] == (0, 1)


@pytest.mark.parametrize(("suffix", "content"), [("nbi", b""), ("nbc", b"\x80\x04rubbish")])
def test_a_damaged_file_is_compiled_again(suffix: str, content: bytes, place: Path) -> None:
    file = module_in(place)
    ran(file)
    for kept in file.parent.rglob(f"*.{suffix}"):
        kept.write_bytes(content)
    assert ran(file)[:2] == (100, 1)
    assert ran(file)[:2] == (100, 0)


def test_a_folder_named_by_a_variable_comes_first(place: Path) -> None:
    file = module_in(place)
    for variable in ("NUMBA_CACHE_DIR", "ETHOGRAM_CACHE_DIR"):
        folder = place / variable
        assert ran(file, **{variable: str(folder)})[:2] == (100, 1)
        assert list(folder.rglob("*.nbc"))
    assert not list((file.parent).rglob("*.nbc"))


@pytest.mark.parametrize("mode", [0o775, 0o1777])
def test_a_folder_that_others_can_write_is_refused(mode: int, place: Path) -> None:
    file, folder = module_in(place), place / "open"
    folder.mkdir()
    assert ran(file, ETHOGRAM_CACHE_DIR=str(folder))[:2] == (100, 1)
    [inside] = folder.glob("code-*")
    (folder if mode != 0o1777 else inside).chmod(mode)
    value, misses, result = ran(file, ETHOGRAM_CACHE_DIR=str(folder))
    assert (value, misses) == (100, 1)
    assert f"ETHOGRAM_CACHE_DIR={folder} is not used for compiled code: other users can write to" in result
    assert ran(file, ETHOGRAM_CACHE_DIR=str(folder))[1] == 0  # taken from beside the modules


def test_a_folder_of_another_user_is_refused(other: int, place: Path) -> None:
    file, folder = module_in(place), place / "theirs"
    folder.mkdir()
    os.chown(folder, other, other)
    value, _, result = ran(file, ETHOGRAM_CACHE_DIR=str(folder))
    assert value == 100
    assert f"{folder} belongs to another user (uid {other})" in result
    assert not list(folder.iterdir())


def test_only_folders_out_of_reach_of_others_are_trusted(place: Path) -> None:
    deep = place / "a" / "b"
    deep.mkdir(parents=True, mode=0o755)
    assert distrust(deep) is None
    deep.parent.chmod(0o777)
    assert "other users can write to" in (distrust(deep) or "")
    deep.parent.chmod(0o1777)  # as /tmp: nobody can replace what is not theirs
    assert distrust(deep) is None
    deep.chmod(0o1777)  # but everybody can add to it
    assert "other users can write to" in (distrust(deep) or "")
    place.chmod(0o700)  # nobody else comes this far
    assert distrust(deep) is None
    link = place / "link"
    link.symlink_to("/tmp")
    assert "other users can write to /tmp" in (distrust(link) or "")


@pytest.mark.parametrize("home", [None, "/nonexistent", "relative"])
def test_a_user_who_can_write_nowhere_is_told_once_and_served(home: str | None, other: int, place: Path) -> None:
    file = module_in(place)
    variables = {} if home is None else {"HOME": home, "XDG_CACHE_HOME": home}
    value, misses, result = ran(file, other_user=True, **variables)
    assert (value, misses) == (100, 1)
    assert result.startswith(NOT_KEPT)
    assert "ETHOGRAM_CACHE_DIR" in result
    assert len(result.splitlines()) == 1
    assert ran(file, other_user=True, ETHOGRAM_QUIET="1", **variables) == (100, 1, "")


@pytest.mark.parametrize("variable", ["CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME", "NUMBA_CACHE_DIR"])
def test_a_user_with_a_cache_folder_keeps_it_there(variable: str, other: int, place: Path) -> None:
    file, folder = module_in(place), place / "cache"
    folder.mkdir()
    os.chown(folder, other, other)
    variables = {"HOME": "/nonexistent"} | {variable: str(folder)}
    assert ran(file, other_user=True, **variables)[1] == 1
    assert ran(file, other_user=True, **variables) == (100, 0, "")
    assert list(folder.rglob("*.nbc"))


def test_what_root_compiled_serves_a_user_who_can_write_nowhere(other: int, place: Path) -> None:
    file = module_in(place)
    ran(file)
    assert ran(file, other_user=True) == (100, 0, "")


def test_every_function_is_void_when_a_file_it_calls_changes() -> None:
    """Over the compiled functions of the package: what one calls stands in files that its own stamp covers."""
    for module in pkgutil.walk_packages([str(PACKAGE)], "ethogram."):
        if ".migrations." in module.name:
            continue  # scripts that run inside Alembic alone
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    known = {id(dispatcher): (dispatcher, files) for dispatcher, files in compiled_functions()}
    assert len(known) > 100
    for dispatcher, files in known.values():
        function: types.FunctionType = dispatcher.py_func
        assert Path(function.__code__.co_filename).resolve() in files, dispatcher
        for name in function.__code__.co_names:
            called = known.get(id(function.__globals__.get(name)))
            if called is not None:
                place_of_it = Path(called[0].py_func.__code__.co_filename).resolve()
                assert place_of_it in files, f"{dispatcher.py_func.__qualname__} calls {name} of {place_of_it}"


def test_a_command_runs_from_a_package_of_root_without_a_home(other: int, place: Path) -> None:
    installed = place / "site" / "ethogram"
    shutil.copytree(PACKAGE, installed, ignore=shutil.ignore_patterns("__pycache__"))
    script = place / "run.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(place / 'site')!r})\n"
        "import ethogram, ethogram.identify.density, ethogram.io.capture, ethogram.meter.cache\n"
        f"assert ethogram.__file__.startswith({str(place)!r})\n"
        "from ethogram.cli import main\n"
        "sys.exit(main(['library', 'list']))\n"
    )
    done = run(script, other_user=True, HOME="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    assert "amazon" in done.stdout
