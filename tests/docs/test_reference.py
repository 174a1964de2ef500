"""The generated reference is up to date and complete: commands, settings, counters and the public API."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import ethogram
from ethogram import config
from ethogram.cli.app import COMMANDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = Path(ethogram.__file__).parent


@pytest.fixture(scope="module", autouse=True)
def docs_on_path() -> None:
    sys.path.insert(0, str(DOCS))


def reference(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


def test_generated_pages_are_up_to_date() -> None:
    generate = importlib.import_module("generate")
    stale = [path.name for path, text in generate.pages().items() if path.read_text("utf-8") != text]
    assert not stale, "run: python docs/generate.py"


def test_every_command_and_option_is_documented() -> None:
    page, cli_page = reference("cli.md"), importlib.import_module("cli_page")
    for verb in COMMANDS:
        assert f"## ethogram {verb}" in page
        section = page.split(f"## ethogram {verb}\n")[1].split("\n## ethogram ")[0]
        for _, command in cli_page.leaves(cli_page.click_command(verb), verb):
            for parameter in command.params:
                if cli_page.is_option(parameter) and not parameter.hidden and parameter.name != "help":
                    assert f"`{parameter.opts[0]}`" in section, f"{verb} {parameter.opts[0]}"
                    assert parameter.help, f"{verb} {parameter.opts[0]} has no help text"


def test_every_setting_is_documented() -> None:
    page, settings_page = reference("settings.md"), importlib.import_module("settings_page")
    classes = settings_page.settings_classes()
    assert len(classes) > 15
    assert {cls.__name__ for cls in classes} >= {
        name for name, value in vars(config).items()
        if isinstance(value, type) and issubclass(value, config.Settings) and value is not config.Settings
    }  # fmt: skip
    for cls in classes:
        section = page.split(f"## {cls.__name__}\n")[1].split("\n## ")[0]
        for name, field in cls.model_fields.items():
            assert f"| `{name}` |" in section
            nested = getattr(field.annotation, "__name__", "") in {each.__name__ for each in classes}
            assert nested or field.description, f"{cls.__name__}.{name} has no description"


def test_the_example_of_settings_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", reference("settings.md"), flags=re.DOTALL)
    exec(compile(program, "settings.md", "exec"), {})
    assert re.fullmatch(r"[0-9a-f]{12}\n", capsys.readouterr().out)


def test_every_environment_variable_is_documented() -> None:
    page = reference("settings.md")
    for path in SOURCE.rglob("*.py"):
        for name in re.findall(r'"(ETHOGRAM_[A-Z_]+)"', path.read_text("utf-8")):
            assert f"| `{name}` |" in page, f"{name} in {path.name}"


def test_every_reason_is_documented_and_exists() -> None:
    counters, reasons = importlib.import_module("counters_page"), importlib.import_module("reasons")
    by_name = {counters.pattern(reason) for reason in reasons.reasons(SOURCE)}
    assert by_name - counters.documented() == set(), "add them to docs/counters_page.py"
    text = "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    for stage in counters.STAGES:
        for reason in stage.reasons:
            parts = re.split(r"[*()]|(?<=: )| (?=without )", counters.pattern(reason.text))
            known = counters.pattern(reason.text) in by_name or all(part in text for part in parts if part.strip())
            assert known, f"{stage.name}: {reason.text!r} is not in the source"


def test_every_public_name_is_documented() -> None:
    page = reference("api.md")
    for name in ethogram.__all__:
        assert name == "__version__" or f"## {name}\n" in page
    for package in map(importlib.import_module, importlib.import_module("api_page").PACKAGES):
        assert package.__doc__
        for name in package.__all__:
            assert f"## {package.__name__}.{name}\n" in page
            assert name.isupper() or inspect.getdoc(getattr(package, name)), name


def test_the_api_page_renders_functions_classes_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    from ethogram.errors import InputError
    from ethogram.pipeline.flows import read_flows
    from ethogram.schema import Verdict

    api_page = importlib.import_module("api_page")
    for value in (read_flows, Verdict, InputError):
        monkeypatch.setattr(ethogram, value.__name__, value, raising=False)
    monkeypatch.setattr(ethogram, "__all__", ["__version__", "read_flows", "Verdict", "InputError"])
    page = api_page.page()
    assert "```python\nread_flows(\n    inputs: " in page
    assert "- `options`: " in page
    assert "- `InputError`: " in page
    assert "class InputError(EthogramError)" in page
    assert "- `score`: how sure the verdict is" in page
    assert " at 0x" not in page
    assert "doctest:" not in page
