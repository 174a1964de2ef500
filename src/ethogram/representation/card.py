"""The model card in Markdown: training data, settings, losses and limits of an encoder."""

from __future__ import annotations

from collections.abc import Sequence

from ethogram.representation.encoder import KL_REDUCTION, Header

__all__ = ["card"]

_LIMITS = (
    "IPv4, TCP and UDP only; flows of one minute, their first ten packets, at most 1,000 octets of payload each.",
    "It saw no labels. An embedding says what flows are alike, not what a device is.",
    "Quality inside a network predicts nothing about another: measure on flows of the network it is meant for.",
    "Weights can hold traces of what they were trained on: payload that must not leave a network must not train "
    "an encoder that does.",
)


def card(headers: Sequence[Header], selected: int, title: str) -> str:
    """The card of an encoder trained with several seeds.

    Parameters
    ----------
    headers
        One for each seed.
    selected
        Which of them is the encoder.
    title
        Its name.
    """
    header = headers[selected]
    lines = [f"# {title}", "", *_about(header, len(headers)), "", "## Data", "", *_data(header), ""]
    lines += ["## Settings", "", "| setting | value |", "|---|---|"]
    unread = {name for name, kind in (("fields", "fields"), ("linear", "linear-fields")) if header.encoder.kind != kind}
    settings = {f"encoder.{k}": v for k, v in header.encoder.model_dump(exclude=unread).items()}
    if header.training is not None:
        settings |= {f"training.{k}": v for k, v in header.training.model_dump().items()}
    lines += [f"| `{name}` | {_value(value)} |" for name, value in settings.items()]
    lines += [f"| {name} | {value} |" for name, value in header.made.items()]
    if any(each.curves for each in headers):
        lines += ["", "## Curves", "", *_curves(headers)]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in _LIMITS)]
    return "\n".join(lines) + "\n"


def _about(header: Header, seeds: int) -> list[str]:
    about = (
        f"An encoder of custom flows of kind `{header.encoder.kind}`: {header.view.width:,} numbers (view "
        f"`{header.encoder.view}`, scaling version {header.scaling}) to {header.d}. "
    )
    if header.encoder.kind == "linear-fields":
        about += "Linear in the semantic fields of a flow: directions of the flows it learnt from. It has no decoder."
    elif header.training is None:
        about += "Nothing in it was learnt by gradients."
    elif header.encoder.kind == "fields":
        fields = header.encoder.fields
        about += "It learnt to guess fields that were hidden from it"
        if fields.contrast > 0:
            about += (
                f", and to tell flows of one device within {fields.within_s:g} s from flows of other devices: the "
                "device's key was read, no label"
            )
        about += "."
    elif header.encoder.kind == "vae":
        about += f"Its KL term has the weight {header.training.kl_weight:g} ({KL_REDUCTION})."
    return [about, "", f"Weights `{header.weights}`, seed {header.seed}, of {seeds} seed{'s' if seeds > 1 else ''}."]


def _data(header: Header) -> list[str]:
    data = header.data
    names = {"digest": "digest of the files", "flows": "flows learnt from", "days": "days", "held_out_flows":
             "flows of held-out days", "held_out_days": "held-out days", "devices": "devices", "direction": "direction",
             "source": "source", "licence": "licence of the data"}  # fmt: skip
    rows = [f"| {text} | {_value(data[key])} |" for key, text in names.items() if data.get(key) not in (None, "", [])]
    if not data.get("licence"):
        rows.append("| licence of the data | not stated |")
    return ["| what | value |", "|---|---|", *rows]


def _curves(headers: Sequence[Header]) -> list[str]:
    columns = list(dict.fromkeys(name for header in headers for row in header.curves for name in row))
    columns = [name for name in columns if name != "pass"]
    lines = [f"| seed | pass | {' | '.join(name.replace('_', ' ') for name in columns)} |",
             "|---" * (len(columns) + 2) + "|"]  # fmt: skip
    for header in headers:
        for row in header.curves:
            values = " | ".join(f"{row[name]:.4g}" if name in row else "" for name in columns)
            lines.append(f"| {header.seed} | {row.get('pass', 0):.0f} | {values} |")
    return lines


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(content)}" for name, content in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(map(str, value)) if len(value) == 2 else ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "/")
