"""The rules of the house, held over the syntax tree: who imports whom, and one door for each foreign library."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "ethogram"
MODULES = sorted(SOURCE.rglob("*.py"))

# room -> rooms it may import from. A room always may import itself.
GROUND = {
    "errors", "_address_text", "_arrays", "_code_digest", "_files", "_hashing", "_lazy", "_matplotlib", "_numba",
    "_numba_cache", "_parents", "_parse_address", "_tables", "_text", "_units", "_version", "schema", "config",
}  # fmt: skip
SIDE = {"io", "meter", "flow", "fingerprint", "representation", "knowledge", "identify", "behaviour"}
UPPER = {"bench", "export", "serve", "simulate"}
ALLOWED: dict[str, set[str]] = {
    "_arrays": set(),
    "_code_digest": {"_version"},
    "_lazy": set(),
    "_matplotlib": set(),
    "_text": set(),
    "_units": set(),
    "_tables": set(),
    "errors": {"_text"},
    "_files": {"errors"},
    "_numba_cache": set(),
    "_numba": {"_numba_cache"},
    "_hashing": {"_numba"},
    "_address_text": {"_hashing", "_numba"},
    "_parents": set(),
    "_parse_address": set(),
    "schema": {"errors", "_lazy", "_numba", "_parse_address", "_text"},
    "config": {"errors", "_lazy", "schema"},
    **{room: set(GROUND) for room in SIDE},
    "pipeline": GROUND | SIDE,
    **{room: GROUND | SIDE | {"pipeline"} for room in UPPER},
    "corpora": GROUND | SIDE | {"pipeline"},
    "third_party_encoders": GROUND | {"representation"},
    # Pages are made from rows alone, so the report knows nothing of what measured them.
    "report": GROUND | {"identify", "representation"},
    "bench": GROUND | SIDE | {"pipeline", "corpora", "third_party_encoders", "report"},
    # Sinks send the documents that exports write.
    "serve": GROUND | SIDE | {"pipeline", "export"},
    "demo": GROUND | SIDE | {"pipeline", "serve", "simulate"},
    "_parse": {"errors"},
    "_frames": GROUND | {"identify"},
    "_results": GROUND | SIDE | {"pipeline"},
    "_api": GROUND | SIDE | {"pipeline", "export", "_frames", "_parse", "_results"},
    "_research": GROUND | SIDE | {"pipeline", "_api", "_frames", "_parse", "_results"},
    "cli": GROUND | SIDE | UPPER | {"pipeline", "corpora", "report", "demo", "_parse"},
    "_version": set(),
    "__init__": {"_version"} | GROUND | SIDE | {"pipeline", "export", "_api", "_research", "_results"},
    "__main__": {"cli"},
}
# foreign library -> where it may be imported (path prefixes below src/ethogram)
DOORS: dict[str, tuple[str, ...]] = {
    "numba": ("_numba.py",),
    "torch": ("representation/", "third_party_encoders/"),
    "onnxruntime": ("representation/onnx_runtime.py",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "publicsuffixlist": ("flow/names.py",),
    "lightgbm": ("identify/",),
    "lz4": ("io/unpack.py",),
    "backports": ("io/unpack.py",),
    "sklearn": ("identify/", "bench/"),
    "matplotlib": ("_matplotlib.py",),
    "fastapi": ("serve/api/", "serve/page/"),
    "starlette": ("serve/api/", "serve/page/"),
    "uvicorn": ("serve/api/server.py",),
    "jinja2": ("serve/page/environment.py",),
    "sqlalchemy": ("serve/store/",),
    "alembic": ("serve/store/",),
    "paho": ("serve/sinks/mqtt.py",),
    "stix2": ("export/stix.py",),
    "apprise": ("serve/sinks/apprise_service.py",),
    "pynetbox": ("export/netbox_client.py",),
    "requests": ("export/netbox_client.py",),
    "urllib3": ("export/netbox_client.py",),
}
FORBIDDEN = {"pickle", "joblib", "marshal", "shelve", "dill", "cloudpickle"}


def room_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Every module a file imports, wherever the statement stands, with its line."""
    collected = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            collected += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            collected.append((node.lineno, module))
            if module == "ethogram":
                collected += [(node.lineno, f"ethogram.{alias.name}") for alias in node.names]
    return collected


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    assert room in ALLOWED, f"{room} has no place in the house: add it to ALLOWED with a reason"
    for line, name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "ethogram" and len(parts) > 1 and parts[1] not in {room, "__version__"}:
            assert parts[1] in ALLOWED[room], f"{path}:{line}: {room} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_foreign_libraries_have_one_door_and_nothing_is_unpickled(path: Path) -> None:
    relative = str(path.relative_to(SOURCE))
    for line, name in imports_of(path):
        top = name.split(".")[0]
        assert top not in FORBIDDEN, f"{relative}:{line}: {top} can run code from data"
        assert top != "studies", f"{relative}:{line}: the package does not use the study"
        if top in DOORS:
            assert relative.startswith(DOORS[top]), f"{relative}:{line}: {top} is imported outside its door"


STUDY = sorted((SOURCE.parents[1] / "studies").glob("*.py"))
PUBLIC = {"ethogram", "ethogram.bench", "ethogram.knowledge"}
"""Packages with a documented ``__all__``."""


@pytest.mark.parametrize("path", STUDY, ids=lambda p: p.name)
def test_the_study_imports_public_names_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert [alias.name for alias in node.names if alias.name.startswith("ethogram.")] == []
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ethogram"):
            assert node.module in PUBLIC, f"{path}:{node.lineno}: {node.module} is not public"
            public = importlib.import_module(node.module).__all__
            assert [alias.name for alias in node.names if alias.name not in public] == [], f"{path}:{node.lineno}"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_can_be_imported(name: str) -> None:
    package = importlib.import_module(name)
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    assert [public for public in package.__all__ if not hasattr(package, public)] == []


def test_every_room_and_every_door_exists() -> None:
    rooms = {room_of(path) for path in MODULES}
    assert set(ALLOWED) == rooms
    named = {place for places in DOORS.values() for place in places}
    assert [place for place in sorted(named) if not (SOURCE / place).exists()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_names_say_what_they_are(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "manager", "handler"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.name != "process", f"{path}:{node.lineno}: process() says nothing"


def module_graph() -> dict[str, set[str]]:
    names = {
        ".".join(["ethogram", *p.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__"): p
        for p in MODULES
    }
    graph: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ethogram"):
                module = node.module or ""
                for alias in node.names:
                    target = f"{module}.{alias.name}"
                    graph[name].add(target if target in names else module)
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names if alias.name in names}
        graph[name].discard(name)
    return graph


def test_there_are_no_import_cycles() -> None:
    graph = module_graph()
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, "cycle: " + " -> ".join([*trail, name])
        state[name] = 1
        for target in sorted(graph.get(name, ())):
            visit(target, [*trail, name])
        state[name] = 2

    for name in sorted(graph):
        visit(name, [])


def test_the_package_and_its_help_load_nothing_heavy() -> None:
    code = (
        "import sys, ethogram, ethogram.bench, ethogram.cli, ethogram.knowledge\n"
        "heavy = {'torch', 'numba', 'polars', 'sklearn', 'matplotlib', 'scipy', 'pyspark', 'fastapi', 'sqlalchemy'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_classes_have_names_of_their_own() -> None:
    """A name stands for one class in the whole project, so that a search finds it."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


SOURCES = {"CaptureFlows", "ExportReader", "RecordReader", "SimulatedHome"}
"""Classes that derive from the base class of flow sources, apart from the readers of one format."""


def test_sources_of_flows_name_all_their_members() -> None:
    """Code that reads a source uses members of the base class, and asks none by name."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}
    derived = {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "FlowSource" for base in node.bases)
    }
    assert derived >= SOURCES
    asked = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr")
        and isinstance(node.args[0], ast.Name) and node.args[0].id in ("source", "reader", "capture", "stream")
        and path.parent.name != "cli"
    ]  # fmt: skip
    assert asked == []


def test_one_function_decides_which_records_are_one_way() -> None:
    """Readers state what a record says; :func:`ethogram.flow.pair.mark_one_way` alone decides."""
    settings = [
        path.relative_to(SOURCE).as_posix()
        for path in MODULES
        if re.search(r"\.pair\b", path.read_text("utf-8")) and "one_way" in path.read_text("utf-8")
    ]
    assert settings == ["pipeline/stages.py"]
    definitions = [path for path in MODULES if "def mark_one_way(\n    records" in path.read_text("utf-8")]
    assert [path.relative_to(SOURCE).as_posix() for path in definitions] == ["flow/pair.py"]


def test_files_and_the_live_service_count_with_the_compiled_implementation() -> None:
    """The expressions of ``tally`` serve other backends; no room above ``fingerprint`` counts with them."""
    for path in MODULES:
        room = path.relative_to(SOURCE).parts[0]
        if room in ("pipeline", "serve", "cli"):
            names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
            assert not names & {"tally", "split_fate"}, path
    counting = [path.relative_to(SOURCE).as_posix() for path in MODULES if "Gathering(" in path.read_text("utf-8")]
    # One loop from inputs to counts; the service counts the segments that its collectors wrote.
    assert counting == ["fingerprint/gather.py", "pipeline/counts.py", "serve/sources.py"]
