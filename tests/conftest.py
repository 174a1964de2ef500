"""What all tests share: the seed and size of the laws, and real traffic, without which tests skip and say so."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

# Tests compare what commands say; whether something had to be compiled first is not a part of it.
os.environ.setdefault("ETHOGRAM_QUIET", "1")

_LAWS = int(os.environ.get("ETHOGRAM_LAWS") or 0)
"""Examples of each law; 0: as many as the law itself says."""

# No test asserts a time, and a busy machine is no error. Under CI Hypothesis would try the same examples in each run.
settings.register_profile("untimed", deadline=None, derandomize=False)
settings.register_profile(
    "thorough", settings.get_profile("untimed"), max_examples=_LAWS or 100, suppress_health_check=list(HealthCheck)
)
settings.load_profile("thorough" if _LAWS else "untimed")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the laws: ``--hypothesis-seed``, else ETHOGRAM_SEED, else another one in each run.

    Workers of pytest-xdist get it with the options of the session.
    """
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = os.environ.get("ETHOGRAM_SEED") or str(secrets.randbelow(1 << 32))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Print the seed first, so that it is known even of a run that is killed."""
    if not hasattr(session.config, "workerinput"):
        writer = session.config.get_terminal_writer()
        writer.line(f"laws: seed {session.config.option.hypothesis_seed}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Say beside a failure how to repeat the run."""
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(f"repeat the laws with ETHOGRAM_SEED={config.option.hypothesis_seed}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under ETHOGRAM_LAWS, laws that set a number of examples themselves try at least as many as asked for."""
    for item in items if _LAWS else ():
        law = getattr(item, "obj", None)
        if is_hypothesis_test(law):
            own = getattr(law, "_hypothesis_internal_use_settings", None) or settings()
            more = settings(own, max_examples=max(own.max_examples, _LAWS), suppress_health_check=list(HealthCheck))
            getattr(law, "__func__", law)._hypothesis_internal_use_settings = more


def folder_from(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: real traffic is not at hand")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"{variable} names {value}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The labelled traffic (ETHOGRAM_CORPUS)."""
    return folder_from("ETHOGRAM_CORPUS")


@pytest.fixture(scope="session")
def wire() -> Path:
    """Captures and datagrams with reference outputs (ETHOGRAM_WIRE)."""
    return folder_from("ETHOGRAM_WIRE")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs modelled on users' reports, with what may be expected (ETHOGRAM_CASES)."""
    return folder_from("ETHOGRAM_CASES")
