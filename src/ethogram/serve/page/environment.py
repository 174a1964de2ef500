"""Jinja set up for foreign text: escaped for HTML, and made visible, wherever it stands in a template."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ethogram import __version__
from ethogram._text import visible
from ethogram.serve.page import text
from ethogram.serve.page.kinds import group_of, icon_of

__all__ = ["FOLDER", "environment"]

FOLDER = Path(__file__).parent


def _shown(value: Any) -> Any:
    """Text on one line, with characters that do not show as escapes; markup of our own stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@lru_cache(maxsize=256)
def _icon(name: str) -> Markup:
    return Markup('<svg class="icon" aria-hidden="true"><use href="/static/icons.svg?{}#{}"></use></svg>').format(
        __version__, name
    )


@lru_cache(maxsize=256)
def _tile(kind: str, big: bool = False) -> Markup:
    return Markup('<span class="tile{} g-{}">{}</span>').format(
        " big" if big else "", group_of(kind), _icon(icon_of(kind))
    )


def _bar(value: float, most: float, other: float | None = None) -> Markup:
    """A bar of a value, and an outline of another value below it, both as shares of ``most``."""
    width = 100 * min(max(value / most, 0.0), 1.0) if most else 0.0
    drawn = Markup('<rect class="track" width="100%" height="100%" rx="2"/>')
    if other is None:
        drawn += Markup('<rect class="value" width="{:.1f}%" height="100%" rx="2"/>').format(width)
    else:
        outline = 100 * min(max(other / most, 0.0), 1.0) if most else 0.0
        drawn = Markup(
            '<rect class="value" y="1" width="{:.1f}%" height="9" rx="1"/>'
            '<rect class="other" x="0.5" y="13.5" width="{:.1f}%" height="9" rx="1"/>'
        ).format(width, min(outline, 99.0))
    return Markup('<svg class="bar" aria-hidden="true" focusable="false">{}</svg>').format(drawn)


@cache
def environment() -> Environment:
    """The environment of all templates."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, finalize=_shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals.update(
        version=__version__, icon=_icon, tile=_tile, bar=_bar, icon_of=icon_of, group_of=group_of,
        levels=text.LEVEL_NAMES, states=text.STATE_NAMES,
    )  # fmt: skip
    made.filters.update(
        moment=text.moment, octets=text.octets, number=text.number, sure=text.sure, probability=text.probability,
        share=text.share, kind_label=text.kind_label, stamp=text.stamp, lasting=text.lasting,
    )  # fmt: skip
    return made
