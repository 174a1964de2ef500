"""``ethogram label``: say what a device is, in a label file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.terminal import report

__all__ = ["command"]


def command(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="MAC address, IP address or name of the device.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    labels: Annotated[
        Path, typer.Option("--labels", metavar="FILE", help="Label file to create or change.")
    ] = Path("labels.csv"),
    kind: Annotated[str, typer.Option(metavar="KIND", help="What kind of thing it is: camera, plug, light ...")] = "",
    vendor: Annotated[str, typer.Option(metavar="VENDOR", help="Who makes it.")] = "",
    model: Annotated[str, typer.Option(metavar="MODEL", help="Make and model; twin units share it.")] = "",
) -> None:
    """Write the label of a device to a label file; all other rows stay as they are.

    'ethogram identify --labels FILE' then calls the device that, and reports if its traffic no longer fits.
    'ethogram enrol --labels FILE' enrols it.
    """
    from ethogram.identify.labels import label_device
    from ethogram.identify.library import Identity

    report(label_device(labels, device, Identity(name, model=model, vendor=vendor, type=kind)))
