"""``ethogram pretrain``: unlabelled custom flows to an encoder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ethogram.cli.options import Force, From, Json, Licence, To
from ethogram.cli.outputs import check_folder
from ethogram.cli.terminal import errors, moving_line, say, write_text
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.pipeline.representations import Pretraining
    from ethogram.representation.training import Progress

__all__ = ["command", "settings_of"]


def settings_of(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings given as ``encoder.d=16`` or ``encoder.fields.octets=8``, by section.

    >>> settings_of(["encoder.fields.octets=8", "training.loss=mse"])
    {'encoder': {'fields': {'octets': 8}}, 'training': {'loss': 'mse'}}
    """
    import orjson

    sections: dict[str, dict[str, Any]] = {"encoder": {}, "training": {}}
    for text in given:
        name, equals, value = text.partition("=")
        section, *path = name.strip().split(".")
        if not equals or section not in sections or not path:
            raise UsageError(f"--set {text}: say encoder.NAME=VALUE or training.NAME=VALUE")
        at = sections[section]
        for part in path[:-1]:
            at = at.setdefault(part, {})
        try:
            at[path[-1]] = orjson.loads(value)
        except orjson.JSONDecodeError:
            at[path[-1]] = value
    return sections


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN", help="Custom flows (Parquet) that 'ethogram vectors' made; no labels are read."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the model; an interrupted run in it is resumed."),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="vae, ae, fields, linear-fields, pca, random-projection, untrained or raw. Default: vae.",
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="small, base or large. Default: base.")] = None,
    view: Annotated[
        str | None,
        typer.Option(
            metavar="VIEW",
            help="Which numbers it sees, as full or meta+packets/no-address. Default: full; of raw, meta+packets.",
        ),
    ] = None,
    d: Annotated[
        int | None, typer.Option("--d", metavar="N", help="Latent units. Default: 16, 32 or 64 by size.")
    ] = None,
    loss: Annotated[str | None, typer.Option(metavar="NAME", help="mse or mse-balanced (default).")] = None,
    kl_weight: Annotated[
        float | None,
        typer.Option(metavar="W", help="Of the KL term, summed over units, mean over the batch. Default: 0.001."),
    ] = None,
    passes: Annotated[int | None, typer.Option(metavar="N", help="Passes at most. Default: 30.")] = None,
    held_out: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of the days held out to stop by. Default: 0.2.")
    ] = None,
    gap_days: Annotated[
        int | None, typer.Option(metavar="N", help="Days before the held-out ones that are not used. Default: 1.")
    ] = None,
    time_from: From = None,
    time_to: To = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="How often it is repeated. Default: 3.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="Default: one for each core.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting: encoder.widths=[256], training.batch=128."),
    ] = None,
    source: Annotated[str, typer.Option(metavar="TEXT", help="For the card: what the flows are.")] = "",
    licence: Licence = "",
    restart: Annotated[bool, typer.Option(help="Throw away what an earlier run left in DIR.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Train an encoder on custom flows without labels: three seeds, stopped early by days that were held out.

    Ctrl-C saves the state; the same command goes on from there, to the same weights.
    """
    from ethogram.config import EncoderSettings, TrainingSettings
    from ethogram.pipeline.representations import pretrain
    from ethogram.schema import TimeSpan

    # The card has no mark: it is ours where the model beside it is.
    card = () if (output / "model.json").exists() else ("card.md",)
    check_folder(output, ("model.json", *card), inputs, force=force)
    sections = settings_of(setting or [])
    options_by_section: dict[str, dict[str, Any]] = {
        "encoder": {"kind": kind, "size": size, "view": view, "d": d},
        "training": {"loss": loss, "kl_weight": kl_weight, "passes": passes, "held_out": held_out,
                     "gap_days": gap_days, "seeds": seeds, "threads": threads},
    }  # fmt: skip
    for section, values in options_by_section.items():
        sections[section] |= {name: value for name, value in values.items() if value is not None}
    training = TrainingSettings.of(**sections["training"])
    report = _Report(training.first_seed + training.seeds - 1)
    with _stopping() as stop:
        run = pretrain(
            inputs, output, encoder=EncoderSettings.of(**sections["encoder"]), training=training, source=source,
            licence=licence, restart=restart, span=TimeSpan(time_from, time_to),
            on_progress=report, should_stop=stop.is_set,
        )  # fmt: skip
    report.close()
    for note in run.notes:
        say(note)
    if not run.finished:
        return 130
    _show(run, output, as_json)
    return 0


class _Report:
    """One line that moves on a terminal; else one line for each pass."""

    def __init__(self, last_seed: int) -> None:
        self._last = last_seed
        self._told = (-1, -1)

    def __call__(self, progress: Progress) -> None:
        place = (progress.seed, progress.pass_number)
        further = self._last - progress.seed
        ends = datetime.now() + timedelta(seconds=progress.seconds_left + further * progress.seconds_a_seed)
        line = (
            f"seed {progress.seed}, pass {progress.pass_number + 1} of {progress.passes}: "
            f"step {progress.step:,} of {progress.steps:,}, loss {progress.loss:.5f}, "
            f"held out {progress.held_out:.5f}, all ends by {ends:%a %H:%M:%S}"
        )
        if errors.is_terminal:
            moving_line(line)
        elif progress.step >= progress.steps and place != self._told:
            self._told = place
            say(line)

    def close(self) -> None:
        """End the line."""
        if errors.is_terminal:
            moving_line("")


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set at the first interrupt; a second one ends at once."""
    event = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: object) -> None:
        del frame
        event.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {int(number): signal.signal(number, stop) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(run: Pretraining, output: Path, as_json: bool) -> None:
    header = run.headers[run.chosen]
    if as_json:
        write_text((output / "model.json").read_text())
        return
    for each in run.headers:
        last = each.curves[-1] if each.curves else {}
        losses = [row["held_out_loss"] for row in each.curves if "held_out_loss" in row]
        progress_text = f", {last['pass']:.0f} passes" if last else ""
        progress_text += f", held out {min(losses):.5f}" if losses else ""
        say(f"seed {each.seed}: weights {each.weights}{progress_text}")
    say(
        f"{header.encoder.kind} of {header.view.width:,} numbers to {header.d}, seed {header.seed}, in {output}",
    )  # fmt: skip
