"""Convert the JSON array of nfdump, whose objects span several lines, to one object per line."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from ethogram.io.open_text import MAX_LINE_OCTETS, Lines, TextInput

__all__ = ["json_lines"]

_MAX_OBJECT_LINES = 4096


def json_lines(text: TextInput) -> Iterator[Lines]:
    """Yield the objects of a text, one per line, with the number of the line where each begins.

    Objects can be on one line each, elements of an array, or spread over lines as nfdump prints them; in that case the
    closing brace is alone on its line. Each batch contains one line per object; the other lines are blank.
    """
    pending: list[bytes] = []
    began, size = 0, 0
    for batch in text.batches():
        out: dict[int, bytes] = {}
        for number, raw in enumerate(batch.lines, batch.first):
            line = raw.strip()
            if pending and line in {b"[", b"{", b"[{"}:  # the previous output was truncated; a new one begins
                out[began] = b"\n".join(pending)
                pending = []
            if not pending and line in {b"", b"[", b"]", b",", b"]["}:
                continue
            if not pending and not line.startswith((b"{", b"[", b",")):
                out[number] = line  # not JSON: must not invalidate the next object
                continue
            if not pending:
                began, size = number, 0
                line = line.lstrip(b",").strip() if line.startswith(b",") else line
                line = line.removeprefix(b"[").strip() if not line.startswith(b"[{") else line
            pending.append(line)
            size += len(line)
            closed = line in {b"}", b"},", b"}]"} or (len(pending) == 1 and line.endswith((b"}", b"},", b"}]")))
            if closed or len(pending) > _MAX_OBJECT_LINES or size > MAX_LINE_OCTETS:
                out[began] = b"\n".join(pending)
                pending = []
        if out:
            yield from _spread(out)
    if pending:
        yield Lines(began, [b" ".join(pending)])


def _spread(objects: dict[int, bytes]) -> Iterator[Lines]:
    first, last = min(objects), max(objects)
    lines = [b""] * (last - first + 1)
    for number, text in objects.items():
        bare = text.rstrip(b",").rstrip()
        if bare.startswith(b"[") and bare.endswith(b"]"):
            yield from _array(bare, number)
            continue
        if bare.endswith(b"]") and not bare.startswith(b"["):
            bare = bare[:-1].rstrip()
        lines[number - first] = bare
    yield Lines(first, lines)


def _array(text: bytes, number: int) -> Iterator[Lines]:
    """An array on a single line: each element becomes a line with that number."""
    try:
        elements = orjson.loads(text)
    except orjson.JSONDecodeError:
        yield Lines(number, [text])
        return
    for element in elements:
        yield Lines(number, [orjson.dumps(element)])
