"""The reference of JSON inventories, made from the classes that are written, with the rules of decision in words."""

from __future__ import annotations

from typing import Any

from ethogram.schema import Inventory

INTRODUCTION = """`ethogram identify --format json` prints one object. The format is stable: fields may be added under
`ethogram.inventory/2`, but none is removed or changes its meaning. Version 2 adds `ladder`, the answer at every level;
`verdict`, `score` and the other fields of version 1 stay for one release and are about the one level of `--level`.
Times are UTC in ISO 8601. `--format csv` prints the same without the evidence, which is summarised in `reason`."""

ABOUT = {
    "Evidence": """The contributions add up to `raw_score`. Their unit depends on the method: a similarity from 0 to 1
(`nearest`), or nats of log likelihood ratio (`evidence`, `likelihood`, `cross-network`). The last term may be `"N
more"`, the sum of small terms.""",
    "MethodShare": """If [both methods](../howto/both-methods.md) were used: one entry for each method that saw the
device.""",
}

LADDER = """## How the levels are decided

`ladder` holds one answer over the levels *kind*, *vendor*, *platform*, *family* (vendor and kind), *model* and *device*
(a unit that you enrolled). See [Levels of a verdict](../explanation/levels.md).
"""

DECISION = """## How `verdict` is decided

1. **Raw score.** Each label gets a raw score. The best label is `nearest`. On a tie, `margin` is 0.
2. **Calibration.** Raw scores are converted to calibrated scores by one temperature, fitted on held-out enrolment
   windows (with 200 or more also by isotonic regression). With n held-out windows, no score exceeds (n + 1) / (n +
   2). The default method begins with a temperature learnt on other networks, which counts as 50 windows.
3. **One of the library's devices, or a stranger.** The default method divides the raw score by the score that the
   label's own windows reach. A logistic curve gives the probability that the device is enrolled; it was learnt on
   three corpora (`data/recognition.json`, made by `benchmarks/own_library.py`), assumes as many strangers as enrolled
   devices, and is moved by the library's held-out windows, which weigh as much as the corpora if there are 50.
   `known_types`
   are the calibrated scores times this probability; `strangeness` is 0 for a typical window and 1 where it is 1/2.
   Other methods use the *coverage*: the raw score divided by the label's usual one (at most 1.5), times the calibrated
   score; `strangeness` is (typical - coverage) / (typical - threshold), with the median and the 5 % quantile of the
   label's held-out windows (of all labels, if a label has fewer than 20).
4. **Unknown.** The verdict is `unknown` if `strangeness` is above 1, if the label's score is below `least_score`
   (0.5), or if the device has no traffic. Then `score` is the probability that it is none of the labels. With
   `--closed`, the verdict is always a label.
   **Ties.** Labels at least half as probable as the best one cannot be told from it: `tied_with` lists them, their
   scores count together, and `reason` names them all. `score` is that of the best one alone.
   **Unusual.** `unusual` says that the device does not behave like `nearest`: it is too strange, or most of its flows,
   over half a day or more, use services that the label never used when it was enrolled (`new_share`).
5. **Convergence.** `converged` is true if the fingerprint exporter found the fingerprint stable. Otherwise the
   verdict is provisional, and `expected_s` is the additional time that known fingerprints of that label took, if
   any converged.
6. **Both methods.** `score` and `known_types` are fused probabilities, limited by the number of held-out windows as
   in 2. `strangeness` combines the methods that see the device with the weights of the fusion. `raw_score` and
   `evidence` are those of the fingerprints.
7. **Fallback.** For an unknown device, `fallback` is the finest coarser level that is certain enough. A type counts
   only if two products of it are enrolled; with m enrolled products, no score exceeds (m + 1) / (m + 2)."""

DECISION += """
8. **Your own library beside the bundled one.** Your library decides first: P(own label) is its own score, P(bundled
   label) = P(none of yours) x its score by the bundled library, and P(none) the product of both. The verdict is that of
   your library unless that is `unknown`; then that of the bundled one, if the device is probably one of its products,
   all in all; else `unknown`. `known_types` holds the labels of both, and `library` says which library decided."""

UNKNOWN_GROUPS = """## Groups of unknown devices

`ethogram unknown --format json` prints:

| field | type | meaning |
|---|---|---|
| `format` | `"ethogram.unknown/1"` |  |
| `library` | string | name and digest of the library |
| `encoder` | string | digest of the encoder whose embeddings were used; empty if fingerprints were used alone |
| `known` | integer | number of known devices |
| `groups` | list | one object per group |

Fields of a group: `group` (its number; 1 is the largest), `devices`, `likeness` (mean probability that two of them
are one product), `shared` (names and services that most of them have), `nearest` and `nearest_score` (the enrolled
label that is nearest to most of them), `fallback`, `flows`."""


def type_of(field: dict[str, Any]) -> str:
    """The JSON type of a field."""
    if "anyOf" in field:
        return " or ".join(type_of(option) for option in field["anyOf"])
    if "$ref" in field:
        name = str(field["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    values = [field["const"]] if "const" in field else field.get("enum", [])
    if values:
        return ", ".join(f'`"{value}"`' for value in values)
    if field.get("type") == "array":
        return f"list of {type_of(field['items'])}"
    if field.get("type") == "object":
        return f"object: {type_of(field.get('additionalProperties', {}))} by label"
    return str(field.get("format", field.get("type", "")))


def table(name: str, schema: dict[str, Any]) -> list[str]:
    """The section of one class."""
    lines = ["", f"## {name}", ""]
    if name in ABOUT:
        lines += [ABOUT[name], ""]
    lines += ["| field | type | meaning |", "|---|---|---|"]
    for field, properties in schema["properties"].items():
        meaning = str(properties.get("description", "")).replace("|", "\\|")
        lines.append(f"| `{field}` | {type_of(properties)} | {meaning} |")
    return lines


def page() -> str:
    """The whole page."""
    schema = Inventory.model_json_schema()
    parts = dict(schema["$defs"])
    order = ["Verdict", *(name for name in parts if name != "Verdict")]
    lines = ["# Inventory as JSON", "", "<!-- made by docs/generate.py; do not edit -->", "", INTRODUCTION]
    lines += table("Inventory", schema)
    for name in order:
        lines += table(name, parts[name])
    return "\n".join([*lines, "", LADDER, DECISION, "", UNKNOWN_GROUPS, ""])
