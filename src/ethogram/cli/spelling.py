"""Old spellings of options, accepted with a warning for one release, and ``--json`` for ``--format json``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["FORMAT_VERBS", "RENAMED", "current_spelling"]

# (verb, old option) -> new option
RENAMED: dict[tuple[str, str], str] = {
    ("vectors", "--beside"): "--packets-output",
    ("bench", "--out"): "--output",
    ("bench", "--again"): "--rerun",
}
_INPUT_FORMATS = frozenset({"capture", "csv", "exports", "ipfix", "joy", "nfdump", "parquet", "yaf", "zeek"})
_ENDS = "the old spelling ends with the next release"
FORMAT_VERBS = frozenset({
    "alerts", "changes", "deviations", "identify", "knowledge", "monitor", "probe", "reconstruct", "stability",
    "unknown",
})  # fmt: skip
"""Commands with ``--format json``, for which ``--json`` is short."""
_TEXT_VERBS = frozenset({"stability", "reconstruct", "probe"})


def current_spelling(verb: str, arguments: Sequence[str], warn: Callable[[str], None]) -> list[str]:
    """Replace old spellings by current ones, and ``--json`` by ``--format json`` where that is the option.

    Parameters
    ----------
    verb
        The command.
    arguments
        Its arguments, as given.
    warn
        Called with one line for each old spelling.

    Examples
    --------
    >>> current_spelling("flows", ["a.pcap", "--format", "zeek"], print)
    'flows --format zeek' selects an input format: write --input-format; the old spelling ends with the next release
    ['a.pcap', '--input-format', 'zeek']
    """
    current: list[str] = []
    for i, argument in enumerate(arguments):
        if argument == "--json" and verb in FORMAT_VERBS:
            current += ["--format", "json"]
            continue
        if argument == "--":
            return current + list(arguments[i:])
        name, equals, value = argument.partition("=")
        following = value if equals else arguments[i + 1] if i + 1 < len(arguments) else ""
        replaced = argument
        if (verb, name) in RENAMED:
            replaced = RENAMED[verb, name] + equals + value
            warn(f"{name} is now {RENAMED[verb, name]}; {_ENDS}")
        elif verb == "flows" and name == "--format" and following in _INPUT_FORMATS:
            replaced = "--input-format" + equals + value
            warn(f"'flows --format {following}' selects an input format: write --input-format; {_ENDS}")
        elif verb in _TEXT_VERBS and (
            argument == "--format=text" or (current[-1:] == ["--format"] and argument == "text")
        ):
            replaced = argument.replace("text", "table")
            warn(f"--format text is now --format table; {_ENDS}")
        current.append(replaced)
    return current
