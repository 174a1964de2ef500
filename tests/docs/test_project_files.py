"""CITATION.cff and SECURITY.md agree with the package and contain no invented contacts."""

from __future__ import annotations

import re
import tomllib

import ethogram
from docs.running import page


def test_citation_agrees_with_the_package() -> None:
    text = page("CITATION.cff")
    project = tomllib.loads(page("pyproject.toml"))["project"]
    assert f"\nversion: {ethogram.__version__}\n" in text
    assert project["version"] == ethogram.__version__
    assert f"\nlicense: {project['license']}\n" in text
    for identifier in ("2512.16348", "2601.19315"):
        assert f'"arXiv:{identifier}"' in text


def test_no_contacts_are_invented() -> None:
    for name in ("CITATION.cff", "SECURITY.md", "README.md", "CONTRIBUTING.md"):
        assert not re.search(r"[\w.+-]+@[\w-]+\.\w+", page(name)), name


def test_security_policy_states_how_to_report_and_what_is_covered() -> None:
    text = page("SECURITY.md")
    for heading in ("## Reporting a vulnerability", "## Threat model", "Not covered:"):
        assert heading in text
    assert "docs/explanation/robustness.md" in text
