"""The API keeps to its own description, whatever is sent: cases of schemathesis against a running page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from serve.web_made import RunningPage, running_page

_EXAMPLES = 12


@pytest.fixture(scope="module")
def page() -> Iterator[RunningPage]:
    with running_page(12, upload_queue=1, login_rate=1000.0) as running:
        yield running


@pytest.fixture(scope="module")
def api(page: RunningPage) -> Any:
    headers = {"Authorization": f"Bearer {page.token}"}
    described = schemathesis.openapi.from_url(f"{page.url}api/v1/openapi.json", headers=headers)
    # A stream of events does not end, and a capture starts a process; both have tests of their own.
    return described.exclude(path="/api/v1/events").exclude(method="POST", path="/api/v1/captures")


def test_the_api_answers_as_it_is_described(api: Any, page: RunningPage) -> None:
    headers = {"Authorization": f"Bearer {page.token}"}
    tried = 0
    for operation in (result.ok() for result in api.get_all_operations()):

        @settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(headers=headers, timeout=30)

        check()
        tried += 1
    assert tried >= 25
