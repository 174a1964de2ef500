"""A NetBox server through pynetbox: with time limits, repeated reading, and one line for each failure."""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ethogram._text import visible
from ethogram.errors import InputError
from ethogram.export.registry import NetBoxPlace

__all__ = ["LEAST_VERSION", "NetBox", "RefusedRowError"]

LEAST_VERSION = (4, 2)
"""The first version in which MAC addresses are objects of their own."""
PAGE, AT_ONCE, MOST_QUERY = 500, 100, 3000
RETRIES, BACK_OFF_S = 3, 0.5
_AGAIN = (429, 502, 503, 504)
_LONGEST = 300


class RefusedRowError(Exception):
    """NetBox does not accept an object; the message says why."""


class NetBox:
    """The API of a NetBox server.

    Reading is repeated after a failure of the network and after status 429, 502, 503 and 504; writing is not, since it
    may have happened. Redirections are refused, and so are links to other servers: the token goes to one alone.

    Parameters
    ----------
    place
        Where it is.
    """

    def __init__(self, place: NetBoxPlace) -> None:
        import pynetbox
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        start = f"{place.url}/api/"

        class Adapter(HTTPAdapter):
            """Sends requests to one server, within a time limit."""

            def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
                if not str(request.url).startswith(start):
                    raise InputError(f"netbox {place.url}: names another address for the next page: {request.url}")
                answer = super().send(request, *args, **kwargs | {"timeout": place.timeout_s})
                if answer.is_redirect:
                    to = visible(str(answer.headers["location"]))[:_LONGEST]
                    raise InputError(f"netbox {place.url}: redirects to {to}: give that as --url")
                return answer

        api = pynetbox.api(place.url, token=place.token)
        retry = Retry(total=RETRIES, backoff_factor=BACK_OFF_S, status_forcelist=_AGAIN, allowed_methods={"GET"},
                      raise_on_status=False, respect_retry_after_header=False)  # fmt: skip
        for scheme in ("http://", "https://"):
            api.http_session.mount(scheme, Adapter(max_retries=retry))
        api.http_session.auth = lambda request: request  # else a .netrc file would replace the token
        self._api, self._url = api, place.url

    def check_version(self) -> str:
        """The version of the server.

        Raises
        ------
        InputError
            If it is too old, or the server is not NetBox.
        """
        status = self._call(self._api.status)
        text = str(status.get("netbox-version", "")) if isinstance(status, Mapping) else ""
        match = re.match(r"(\d+)\.(\d+)", text)
        if match is None:
            raise InputError(f"netbox {self._url}: does not say its version: is it NetBox?")
        if (int(match[1]), int(match[2])) < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            raise InputError(f"netbox {self._url}: version {visible(text[:40])} is too old: {least} or later is needed")
        return text

    def rows(self, endpoint: str, **filters: Any) -> list[dict[str, Any]]:
        """All objects that match, page by page."""
        objects = self._endpoint(endpoint)

        def read() -> list[dict[str, Any]]:
            records = objects.filter(limit=PAGE, **filters) if filters else objects.all(limit=PAGE)
            return [dict(record) for record in records]

        rows: list[dict[str, Any]] = self._call(read)
        return rows

    def rows_with(self, endpoint: str, field: str, values: Sequence[str], **filters: Any) -> list[dict[str, Any]]:
        """Objects with one of many values of a field."""
        return [row for part in _parts(values) for row in self.rows(endpoint, **{field: part}, **filters)]

    def create(self, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any] | RefusedRowError]:
        """Create objects; gives what became of each."""
        return self._write(self._endpoint(endpoint).create, rows)

    def update(self, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any] | RefusedRowError]:
        """Change fields of objects by their ``id``; gives what became of each."""
        return self._write(self._endpoint(endpoint).update, rows)

    def _write(
        self, send: Callable[[list[dict[str, Any]]], Any], rows: Sequence[Mapping[str, Any]]
    ) -> Iterator[dict[str, Any] | RefusedRowError]:
        for start in range(0, len(rows), AT_ONCE):
            part = [dict(row) for row in rows[start : start + AT_ONCE]]
            try:
                written = [dict(record) for record in self._call(functools.partial(send, part))]
            except RefusedRowError as error:
                if len(part) == 1:
                    yield error
                    continue
                for row in part:  # none of them was accepted: the others are, one by one
                    try:
                        yield dict(next(iter(self._call(functools.partial(send, [row])))))
                    except RefusedRowError as refused:
                        yield refused
                continue
            if len(written) != len(part):
                raise InputError(f"netbox {self._url}: answers {len(written):,} objects for {len(part):,}")
            yield from written

    def _endpoint(self, name: str) -> Any:
        app, _, endpoint = name.partition(".")
        return getattr(getattr(self._api, app), endpoint)

    def _call(self, ask: Callable[[], Any]) -> Any:
        """One call; failures are one line.

        Raises
        ------
        InputError
            If the server cannot be reached, refuses the token, or answers with an error.
        RefusedRowError
            If it refuses what is written.
        """
        import pynetbox
        import requests

        try:
            return ask()
        except pynetbox.RequestError as error:
            status = error.req.status_code
            if status == 400:
                raise RefusedRowError(visible(str(error.error))[:_LONGEST]) from None
            if status in (401, 403):
                raise InputError(f"netbox {self._url}: refuses the token, or what it may do: status {status} "
                                 f"{visible(str(error.error))[:_LONGEST]}") from None  # fmt: skip
            if status == 404:
                raise InputError(f"netbox {self._url}: has no {urllib.parse.urlsplit(error.base).path}: is it NetBox?"
                                 ) from None  # fmt: skip
            raise InputError(f"netbox {self._url}: status {status} {visible(str(error.req.reason))[:80]}") from None
        except (pynetbox.ContentError, pynetbox.AllocationError) as error:
            raise InputError(f"netbox {self._url}: {error.error}") from None
        except requests.exceptions.JSONDecodeError:
            raise InputError(f"netbox {self._url}: an answer that is not NetBox's: not JSON") from None
        except requests.exceptions.RetryError:
            raise InputError(f"netbox {self._url}: answers with errors, also {RETRIES} times later") from None
        except requests.exceptions.Timeout:
            raise InputError(f"netbox {self._url}: no answer in time") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise InputError(f"netbox {self._url}: no connection: {visible(str(error))[:_LONGEST]}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"netbox {self._url}: an answer that is not NetBox's: {type(error).__name__}") from None


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    """Values for one query each, which may not be too long."""
    part: list[str] = []
    length = 0
    for value in values:
        more = len(urllib.parse.quote(value)) + 20
        if part and (length + more > MOST_QUERY or len(part) >= AT_ONCE):
            yield part
            part, length = [], 0
        part.append(value)
        length += more
    if part:
        yield part
