"""The verbs of the public API for research; :mod:`ethogram` exports them. Conventions as in :mod:`ethogram._api`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ethogram._api import Duration, OnProgress, Time, parse_span
from ethogram._frames import Inputs, LabelsLike, as_labels, as_paths, labels_file
from ethogram._parse import parse_duration
from ethogram._results import CustomFlowTable, EncoderFiles, Fingerprints
from ethogram.config import CaptureSettings, CustomFlowSettings, ProbeSettings
from ethogram.pipeline.read_options import ReadOptions, flow_settings
from ethogram.pipeline.run_log import run_log

if TYPE_CHECKING:
    from ethogram.pipeline.probe import ProbeRun
    from ethogram.pipeline.stability import Stability

__all__ = ["probe", "stability", "vectors"]


def stability(
    source: str | Path | Fingerprints,
    *,
    labels: LabelsLike | None = None,
    level: str = "type",
    alike: float = 0.9,
    seed: int = 0,
) -> Stability:
    """Measure how soon fingerprints converge, how often they recur, and whether they distinguish types.

    Parameters
    ----------
    source
        Result of :func:`fingerprint`, or a file of it.
    labels
        Label file, DataFrame or mapping from device to label; None: each device is its own type.
    level
        What is a type: ``label``, ``model``, ``family`` or ``type``.
    alike
        Similarity (0 to 1) from which a fingerprint has recurred.
    seed
        For the level of chance.

    Examples
    --------
    >>> fingerprints = ethogram.fingerprint("month.parquet")  # doctest: +SKIP
    >>> ethogram.stability(fingerprints).convergence  # doctest: +SKIP
    """
    from ethogram.pipeline.fingerprints import read_fingerprints
    from ethogram.pipeline.stability import stability as measure
    from ethogram.pipeline.stability import types_at

    run = source.run if isinstance(source, Fingerprints) else read_fingerprints(source)
    assert run is not None
    types = None if labels is None else types_at(as_labels(labels), level)
    return measure(run, types, alike=alike, seed=seed)


def vectors(
    inputs: Inputs,
    *,
    direction: str = "outgoing",
    devices: str | Path | None = None,
    devices_only: bool = False,
    local: Sequence[str] | None = None,
    private: Sequence[str] | None = None,
    interval: Duration = 60.0,
    packets: int = 10,
    packet_octets: int = 1000,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    tunnels: bool = False,
    strict: bool = False,
    on_progress: OnProgress = None,
) -> CustomFlowTable:
    """Convert captures to one-minute custom flows, as ``ethogram vectors`` does (arXiv 2601.19315).

    Parameters
    ----------
    inputs
        Captures, or files of custom flows.
    direction
        ``outgoing``: packets that the device sent; ``bidirectional``: both directions.
    private
        Remote prefixes that become 0.0.0.0; None: the private IPv4 prefixes.
    interval
        A record ends this long after its first packet.
    packets, packet_octets
        Packets described one by one (at most 10), and payload octets kept of each (at most 1,000).
    tunnels
        Describe the packet inside IP in IP, GRE, GTP-U and CAPWAP.
    pseudonymise
        As for :func:`read_flows`; the flows then have no payload.
    devices, devices_only, local, time_from, time_to, strict, on_progress
        As for :func:`read_flows`.

    Returns
    -------
    CustomFlowTable
        The flows in memory; ``save(path)`` writes the file that :func:`pretrain` and :func:`probe` take.
    """
    from ethogram.pipeline.pseudonymise import Pseudonymiser
    from ethogram.pipeline.vectors import collect_vectors, read_vectors

    values: dict[str, object] = {
        "direction": direction, "interval_s": parse_duration(interval, "interval"), "packets": packets,
        "packet_octets": packet_octets,
    }  # fmt: skip
    if private:
        values["private"] = tuple(private)
    settings = CustomFlowSettings.of(**values)
    pseudonymiser = None if pseudonymise is None else Pseudonymiser.load(pseudonymise)
    with as_paths(inputs) as paths:
        run = read_vectors(
            paths, ReadOptions(None if devices is None else Path(devices), flow_settings(local),
                               parse_span(time_from, time_to), devices_only=devices_only,
                               pseudonymiser=pseudonymiser),
            settings=settings, capture=CaptureSettings(strict=strict, tunnels=tunnels), on_progress=on_progress,
        )  # fmt: skip
        flows = collect_vectors(run)
    if pseudonymiser is not None:
        flows = pseudonymiser.without_payload(flows)
    log = run_log(run.reports, run.stages, run.skipped, f"{len(flows):,} custom flows", run.errors)
    return CustomFlowTable(flows.frame(), log, flows, settings)


def probe(
    inputs: Inputs,
    labels: LabelsLike,
    model: str | Path | EncoderFiles | Sequence[str | Path | EncoderFiles],
    *,
    test: Inputs | None = None,
    test_labels: LabelsLike | None = None,
    pretrained_on: Sequence[str | Path] = (),
    tune: bool = False,
    settings: ProbeSettings | dict[str, Any] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> ProbeRun:
    """Fit classifiers on frozen embeddings of labelled flows and test them, as ``ethogram probe`` does.

    Days that an encoder was trained on are excluded, and classifiers are fitted on training flows only.

    Parameters
    ----------
    inputs
        Custom flows of one network.
    labels
        Label file, DataFrame, or mapping from device to label.
    model
        Encoders: a folder or result of :func:`pretrain`, an ``.onnx`` file, ``packaged`` (the bundled encoder), or a
        baseline (``raw``, ``raw:full``, ``pca``, ``random-projection``, ``untrained``, ``linear-fields``).
    test, test_labels
        Custom flows of another network that tests, and its labels; None: later days of ``inputs`` test.
    pretrained_on
        Training files of the encoders, if they are neither ``inputs`` nor ``test``.
    tune
        Also fine-tune the encoder, and train the same network from scratch (needs torch).
    settings
        Settings, or their values by name; None: the defaults.
    on_progress
        Called with the current step and the share of the work that is done.

    Returns
    -------
    ProbeRun
        ``figures`` has a row for each encoder, seed, classifier and budget.
    """
    from ethogram.pipeline.probe import probe as run_probe

    models = [model] if isinstance(model, str | Path | EncoderFiles) else list(model)
    names = [str(each.path) if isinstance(each, EncoderFiles) else str(each) for each in models]
    with as_paths(inputs) as paths, _optional_paths(test) as tests, tempfile.TemporaryDirectory() as folder:
        return run_probe(
            paths, labels_file(labels, Path(folder) / "labels.csv"), names, test=tests,
            test_labels=None if test_labels is None else labels_file(test_labels, Path(folder) / "test-labels.csv"),
            pretrained_on=pretrained_on, tune=tune,
            settings=ProbeSettings.of(**settings) if isinstance(settings, dict) else settings, on_progress=on_progress,
        )  # fmt: skip


@contextmanager
def _optional_paths(inputs: Inputs | None) -> Iterator[list[str | Path]]:
    if inputs is None:
        yield []
        return
    with as_paths(inputs) as paths:
        yield paths
