"""``ethogram export``: devices in the formats of other tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram._files import atomic_write, require_ours
from ethogram.cli.options import Force, KnowledgeOption, LibraryOption
from ethogram.cli.outputs import Form, check_folder, check_output, is_standard_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import read_progress
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, refuse_options, service_settings
from ethogram.cli.standard_input import input_path
from ethogram.cli.terminal import report, say, write_text
from ethogram.errors import InputError, UsageError

if TYPE_CHECKING:
    from ethogram.config.serve import ServeSettings
    from ethogram.export.registry import ExportData, Written
    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.schema import ExportedDevice

__all__ = ["command"]


class Format(StrEnum):
    """The formats, as :data:`ethogram.export.registry.EXPORTS` has them."""

    CSV = "csv"
    ECS = "ecs"
    HOMEASSISTANT = "homeassistant"
    MUD = "mud"
    OCSF = "ocsf"
    PROMETHEUS_SD = "prometheus-sd"
    STIX = "stix"


@with_reading_options()
def command(
    form: Annotated[Format, typer.Argument(metavar="FORMAT", help="csv, ecs, homeassistant, mud, ocsf, "
                                          "prometheus-sd or stix.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IN]...", help="Inputs as for 'ethogram identify'; without any, the live service's "
                       "store; - for standard input.", show_default=False, parser=input_path),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File to write; for mud, the folder of the files.")
    ] = Path("-"),
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="NAME", help="Only this device: name, address, MAC or id. "
                                       "Repeatable.")
    ] = None,
    library: LibraryOption = None,
    knowledge: KnowledgeOption = None,
    mud_url: Annotated[
        str, typer.Option(metavar="URL", help="mud: where the files will be served; their names follow.")
    ] = "https://mud.invalid/",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="prometheus-sd: port of the targets; 0: none.")
    ] = 0,
    force: Force = False,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Write the devices of a network in the format of another tool.

    With inputs, their devices are identified as by 'ethogram identify --no-flows'. Without inputs, the devices and
    alerts of the live service are exported; it may run meanwhile.
    """
    from ethogram.export.registry import EXPORTS, ExportOptions, load_export

    export = EXPORTS[form.value]
    write = load_export(form.value)
    options = ExportOptions(mud_url=_url(mud_url), port=port)
    if form is Format.MUD and not is_standard_output(output):
        check_folder(output, inputs=inputs or (), force=force)
    else:
        check_output(output, Form(export.summary, export.suffixes, text=True), inputs or (), force=force)
    errors: Sequence[str] = ()
    if inputs:
        refuse_options("belongs to the live service", {"--config": config, "--data": data, "--store": store})
        gathered, errors = _of_inputs(inputs, reading, library, knowledge, device or (), services=export.reads)
    else:
        refuse_options("belongs to inputs", {"--library": library, "--knowledge": knowledge,
                                      **dict.fromkeys(reading.given, True)})  # fmt: skip
        settings = service_settings(config, data, store)
        gathered = _of_service(settings, device or (), services=export.reads)
    parts = write(gathered, options)
    _write(parts, output, len(gathered.devices), form)
    return end_with(errors)


def _url(text: str) -> str:
    if not text.startswith("https://"):
        raise UsageError(f"--mud-url: a MUD URL begins with https:// (RFC 8520), not {text!r}")
    return text if text.endswith("/") else f"{text}/"


def _of_inputs(
    inputs: list[str], reading: ReadOptions, library: list[str] | None, knowledge: Path | None,
    wanted: Sequence[str], *, services: str,
) -> tuple[ExportData, Sequence[str]]:  # fmt: skip
    from ethogram.export.registry import ExportData
    from ethogram.pipeline.identify import IdentifyOptions, identify
    from ethogram.pipeline.libraries import open_libraries
    from ethogram.pipeline.service_use import uses_of_inputs
    from ethogram.schema import ExportedDevice

    with read_progress("biflows") as advance:
        run = identify(inputs, open_libraries(library or []), IdentifyOptions(flows=False, knowledge=knowledge),
                       reading, on_progress=advance)  # fmt: skip
    show_log(run.log, summary=False)
    devices = [ExportedDevice.of_verdict(verdict) for verdict in run.inventory.devices]
    uses = None
    if services == "services":
        with read_progress("biflows") as advance:
            uses = uses_of_inputs(inputs, reading, on_progress=advance).uses
    return ExportData(_selected(devices, wanted), datetime.now(tz=UTC), uses=uses), run.log.errors


def _of_service(settings: ServeSettings, wanted: Sequence[str], *, services: str) -> ExportData:
    from ethogram.export.registry import ExportData
    from ethogram.serve.exported import stored_alerts, stored_devices, stored_uses
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    service = Service(settings)
    with Store.open(existing_store(settings), settings.judge) as opened:
        devices = _selected(stored_devices(opened, facts=True), wanted)
        alerts = stored_alerts(opened, devices)
        if wanted:
            alerts = [alert for alert in alerts if alert.device is not None]
        uses = None
        if services == "services":
            uses, notes = stored_uses(opened, service.collector_folder / "flows", service.stored_counts(),
                                      [device.id for device in devices])  # fmt: skip
            report(*notes)
    return ExportData(devices, datetime.now(tz=UTC), tuple(alerts), uses)


def _selected(devices: Iterable[ExportedDevice], wanted: Sequence[str]) -> tuple[ExportedDevice, ...]:
    """Devices in order of name; with names, only those, and each must be one.

    Raises
    ------
    InputError
        If a name is that of no device.
    """
    ordered = sorted(devices, key=lambda each: (each.name.lower(), each.id))
    if not wanted:
        return tuple(ordered)
    chosen = []
    for device in ordered:
        names = {device.id, device.name, *device.addresses, *(mac.lower() for mac in device.macs), *device.host_names}
        if names & {*wanted, *(text.lower() for text in wanted)}:
            chosen.append((device, names))
    for text in wanted:
        if not any({text, text.lower()} & names for _, names in chosen):
            raise InputError(f"--device: there is no device {text!r}")
    return tuple(device for device, _ in chosen)


def _write(parts: Iterable[Written], output: Path, devices: int, form: Format) -> None:
    """Write the parts to standard output, to one file, or as the files of a folder."""
    from ethogram.pipeline.text import plural

    def noted(part: Written) -> str:
        if part.note:
            say(f"ethogram: {part.note}")
        return part.text

    if is_standard_output(output):
        number = 0
        for part in parts:
            number += bool(part.name)
            if number > 1:
                raise UsageError("-o: there is a file for each device: name a folder, or one device with --device")
            write_text(noted(part))
        return
    if form is not Format.MUD:
        try:
            with atomic_write(output) as target, target.open("w", encoding="utf-8") as file:
                for part in parts:
                    file.write(noted(part))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", file=output) from None
        report(f"{output}: {plural(devices, 'device')}")
        return
    written = 0
    try:
        output.mkdir(parents=True, exist_ok=True)
        for part in parts:
            require_ours(output / part.name)
            with atomic_write(output / part.name) as target:
                target.write_text(noted(part), encoding="utf-8")
            written += 1
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=output) from None
    report(f"{output}: {plural(written, 'file')} of {plural(devices, 'device')}")
