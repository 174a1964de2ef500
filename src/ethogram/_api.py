"""The verbs of the public API; :mod:`ethogram` exports them.

Each function does what the command of the same name does, with the same defaults. Inputs are paths, DataFrames
(Polars, pandas or PyArrow), or a sequence of them. An input that ends early gives a warning
(:class:`ethogram.errors.EthogramWarning`), and what was read before it is used.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl

from ethogram._frames import Inputs, LabelsLike, as_labels, as_paths
from ethogram._parse import (
    DAY_S,
    parse_duration,
    parse_epoch,
    parse_granularity,
    parse_key,
    parse_time,
    parse_weight,
)
from ethogram._results import Embeddings, EncoderFiles, Fingerprints, FlowTable
from ethogram.config import (
    CountSettings,
    EncoderSettings,
    ExporterSettings,
    MeterSettings,
    TrainingSettings,
)
from ethogram.errors import EthogramWarning, UsageError
from ethogram.export.result import ExportedFiles
from ethogram.identify.library import Library
from ethogram.pipeline.enrol import EnrolOptions
from ethogram.pipeline.identify import IdentifyOptions
from ethogram.pipeline.libraries import open_libraries
from ethogram.pipeline.library import OpenLibrary, open_library
from ethogram.pipeline.pseudonymise import Pseudonymiser
from ethogram.pipeline.read_options import ReadOptions, flow_settings, read_options
from ethogram.pipeline.run_log import RunLog, run_log
from ethogram.pipeline.unknown_groups import UnknownGroups
from ethogram.schema import BehaviourReport, Inventory, MonitorReport, NetworkChanges, TimeSpan

__all__ = [
    "changes", "deviations", "embed", "enrol", "export", "fingerprint", "identify", "label", "monitor", "open_library",
    "pretrain", "read_flows", "unknown",
]  # fmt: skip

Duration = str | float | timedelta
Time = str | datetime | None
Files = str | Path | Sequence[str | Path]
LibraryLike = str | Path | Library
OnProgress = Callable[[int], None] | None


def read_flows(
    inputs: Inputs,
    *,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    identity: bool = True,
    local: Sequence[str] | None = None,
    input_format: str | None = None,
    mapping: str | Path | None = None,
    idle_timeout: Duration = 120.0,
    active_timeout: Duration = 1800.0,
    join: bool = True,
    pair: str = "auto",
    remote_names: bool = True,
    time_zone: str = "UTC",
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    strict: bool = False,
    on_progress: OnProgress = None,
) -> FlowTable:
    """Convert captures and flow records of any kind to one flow table, as ``ethogram flows`` does.

    Parameters
    ----------
    inputs
        Paths, folders or globs of any format that ``ethogram flows`` reads, or DataFrames with the columns of
        :data:`ethogram.schema.BIFLOW`.
    devices
        Device file that names devices; other local addresses stay devices.
    devices_only
        Only the devices that the device file names are devices.
    names, names_mapping
        Files that name devices, in order of precedence: leases of dnsmasq, ISC dhcpd or Kea, ``hosts``, ``ip neigh``,
        ``arp -a``, a list of devices as CSV or JSON; and a mapping file for the columns of such lists.
    dns_log
        Logs of resolvers that name remote ends: Pi-hole's database, AdGuard Home's query log, logs of dnsmasq and
        Unbound, Zeek's ``dns.log``.
    identity
        Collect identity facts of devices.
    local
        Local prefixes; None: the private and link-local prefixes.
    input_format, mapping
        Format of all inputs instead of the detected one; mapping file for CSV.
    idle_timeout, active_timeout
        Of the meter for captures; records cut at the active timeout are joined.
    join, pair, remote_names, time_zone
        Settings of the flow stages.
    time_from, time_to
        Only flows that start in this span, ``time_to`` excluded.
    pseudonymise
        File with a key (``ethogram new-key``): addresses, MACs and names are replaced by keyed pseudonyms.
    strict
        Raise at the first record or field that cannot be read.
    on_progress
        Called with the number of records of each batch.

    Returns
    -------
    FlowTable
        The flows in memory, in order of start, the accounting as ``log``, and identity facts as ``identity``.

    Raises
    ------
    ethogram.errors.InputError
        If an input is missing, empty or of unknown format.

    Examples
    --------
    >>> flows = read_flows("home.pcap")  # doctest: +SKIP
    >>> flows.to_frame().columns[:3]  # doctest: +SKIP
    ['device', 'device_address', 'remote']
    """
    from ethogram.pipeline.flows import collect
    from ethogram.pipeline.flows import read_flows as open_flows

    options = ReadOptions(
        _path(devices), flow_settings(local, join_cut=join, pair=pair, time_zone=time_zone,
                                      names={"enabled": remote_names}),
        parse_span(time_from, time_to), identity=identity, devices_only=devices_only, names=_paths(names, "names"),
        names_mapping=_path(names_mapping), dns_logs=_paths(dns_log, "dns_log"), strict=strict,
        meter=MeterSettings.of(
            idle_timeout_s=parse_duration(idle_timeout, "idle_timeout"),
            active_timeout_s=parse_duration(active_timeout, "active_timeout"),
        ),
        pseudonymiser=None if pseudonymise is None else Pseudonymiser.load(pseudonymise),
    )  # fmt: skip
    with as_paths(inputs) as paths:
        run = open_flows(paths, options, format=input_format, mapping=_path(mapping), on_progress=on_progress)
        frame = collect(run)
    log = run_log(run.reports, run.stages, run.skipped, f"{frame.height:,} flows", run.errors)
    log.notices += run.notices
    return FlowTable(frame, _warned(log), run.identity())


def fingerprint(
    inputs: Inputs,
    *,
    epoch: Duration = DAY_S,
    granularity: str | int = 16,
    threshold: float = 0.9,
    compare: str = "halves",
    mode: str = "tumbling",
    prevalence: str = "flow",
    runs: int = 1,
    min_flows: int = 50,
    min_epochs: int = 2,
    max_epochs: int = 30,
    gap: Duration = 7 * DAY_S,
    key: str | Iterable[str] = "",
    learn_ports: int = 0,
    other_protocols: bool = False,
    keep_probes: bool = False,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> Fingerprints:
    """Export service-level fingerprints of flows, as ``ethogram fingerprint`` does (arXiv 2512.16348).

    Parameters
    ----------
    inputs
        Flow tables, or anything that :func:`read_flows` reads.
    epoch
        Length of an epoch.
    granularity
        G of Generalized(G): levels of a share; ``inf`` for none.
    threshold, compare, runs
        When a window is stable: the similarity, what is compared (``halves`` or ``previous``), and how often in a row.
    mode
        ``tumbling`` exports every fingerprint, ``change`` only those that differ from the last one.
    prevalence
        Weight of a service: ``flow``, ``presence``, ``octets`` or ``packets``.
    min_flows, min_epochs, max_epochs, gap
        Bounds of a window.
    key
        Parts of a service besides its port: ``role``, ``scope``, ``answered``, ``name``.
    learn_ports
        Learn service ports from this input: those that a device uses on this many days; 0: no.
    other_protocols, keep_probes
        Also count protocols other than TCP and UDP, and inbound flows without an answer.
    devices, devices_only, names, names_mapping, dns_log, time_zone, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.
    """
    from ethogram.pipeline.fingerprints import fingerprint as export

    epoch_s = parse_epoch(epoch)
    settings = ExporterSettings.of(
        epoch_s=epoch_s, threshold=threshold, runs=runs, compare=compare, mode=mode, min_flows=min_flows,
        min_epochs=min_epochs, max_epochs=max_epochs, gap_s=parse_epoch(gap, "gap"),
        key=dict.fromkeys(parse_key(key), True),
        representation={"granularity": parse_granularity(granularity), "weight": parse_weight(prevalence)},
    )  # fmt: skip
    counting = CountSettings.of(
        sub_epoch_s=min(3_600, epoch_s), other_protocols=other_protocols, drop_probes=not keep_probes
    )
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, pseudonymise=pseudonymise,
    )  # fmt: skip
    with as_paths(inputs) as paths:
        run = export(paths, settings, counting, reading, learn_days=learn_ports, on_progress=on_progress)
    return Fingerprints(run.table, _warned(run.log), run)


def enrol(
    inputs: Inputs,
    labels: LabelsLike,
    *,
    extend: str | Path | OpenLibrary | None = None,
    epoch: Duration = DAY_S,
    source: str = "",
    encoder: str | Path | None = None,
    flows: bool = True,
    licence: str = "",
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> OpenLibrary:
    """Enrol labelled devices into a library, as ``ethogram enrol`` does.

    Parameters
    ----------
    inputs
        Fingerprints, or anything that :func:`read_flows` reads.
    labels
        Label file, DataFrame with the columns ``device, label[, model, vendor, type, coarse, from, to]``, or a mapping
        from device to label.
    extend
        Library to add to.
    epoch
        Length of the windows that are enrolled.
    source, licence
        Provenance.
    encoder, flows
        Encoder for single flows (None: the bundled one), and whether to embed single flows of captures at all.
    devices, devices_only, names, names_mapping, dns_log, time_zone, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.

    Returns
    -------
    OpenLibrary
        A :class:`Library` with its embedded flows; ``save(path)`` writes both.
    """
    from ethogram.pipeline.enrol import enrol as enrol_inputs

    options = EnrolOptions(
        source=source, licence=licence, encoder=_path(encoder), flows=flows, epoch_s=parse_epoch(epoch)
    )
    base = None if extend is None else _known(extend)
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, pseudonymise=pseudonymise,
    )  # fmt: skip
    with as_paths(inputs) as paths:
        run = enrol_inputs(
            paths, as_labels(labels), options, reading, extend=base, on_progress=on_progress
        )  # fmt: skip
    _warned(run.log)
    return OpenLibrary.opened(run.library, run.store)


def identify(
    inputs: Inputs,
    *,
    library: LibraryLike | Sequence[LibraryLike] | None = None,
    labels: LabelsLike | None = None,
    per: Literal["device", "fingerprint", "epoch"] = "device",
    level: str = "label",
    closed: bool = False,
    method: str = "",
    encoder: str | Path | None = None,
    flows: bool = True,
    epoch: Duration = DAY_S,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    identity: bool = True,
    knowledge: str | Path | None = None,
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> Inventory:
    """Identify the device behind each address, as ``ethogram identify`` does.

    Parameters
    ----------
    inputs
        Fingerprints, or anything that :func:`read_flows` reads.
    library
        Known devices: a path, what :func:`enrol` and :func:`open_library` give, or several of these; ``"packaged"``
        is the bundled library, which is also the default. Your own libraries count as one; beside them, the bundled
        one names what they do not know.
    labels
        What your devices are: a label file, a DataFrame, or a mapping from device to label. They are called that, and
        a verdict is ``unusual`` if the traffic no longer fits.
    per
        One verdict per device, per exported fingerprint, or per epoch.
    level
        ``label``, ``model``, ``family``, ``type`` or ``coarse``.
    closed
        Always give a label, never ``unknown``.
    method, encoder, flows
        Identification method; encoder that the library was enrolled with; whether to use embeddings of single flows.
    epoch
        Length of an epoch.
    identity
        Also use what devices say of themselves: MAC, DHCP, multicast DNS, host names.
    knowledge
        File of rows that add to the knowledge pack, or replace rows of it.
    devices, devices_only, names, names_mapping, dns_log, time_zone, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.

    Examples
    --------
    >>> for verdict in identify("home.pcap").devices:  # doctest: +SKIP
    ...     print(verdict.name, verdict.ladder.statement, verdict.ladder.score)
    """
    from ethogram.pipeline.identify import identify as identify_inputs

    options = IdentifyOptions(
        per=per, level=level, closed=closed, method=method, encoder=_path(encoder), flows=flows,
        epoch_s=parse_epoch(epoch), knowledge=_path(knowledge),
    )  # fmt: skip
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, identity=identity, pseudonymise=pseudonymise,
    )  # fmt: skip
    with as_paths(inputs) as paths:
        given = [] if labels is None else as_labels(labels)
        run = identify_inputs(paths, _all_known(library), options, reading, labels=given, on_progress=on_progress)
    _warned(run.log)
    return run.inventory


def export(
    form: str,
    inputs: Inputs,
    *,
    device: str | Sequence[str] | None = None,
    library: LibraryLike | Sequence[LibraryLike] | None = None,
    knowledge: str | Path | None = None,
    mud_url: str = "https://mud.invalid/",
    port: int = 0,
    url: str = "",
    site: str = "",
    token_file: str | Path | None = None,
    profile: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None = None,
    traffic: Files | None = None,
    dry_run: bool = False,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    identity: bool = True,
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> ExportedFiles:
    """Give the devices of inputs in the format of another tool, as ``ethogram export`` does.

    Parameters
    ----------
    form
        A key of :data:`ethogram.export.registry.EXPORTS`, such as ``csv`` or ``mud``.
    inputs
        Anything that :func:`identify` reads.
    device
        Names, addresses, MACs or ids of the devices to export; None: all.
    library, knowledge
        As for :func:`identify`.
    mud_url
        ``mud``: where the files will be served; their names follow.
    port
        ``prometheus-sd``: port of the targets; 0: none.
    url, site, token_file
        ``netbox``: address, site of new devices (empty: the only one), and file with a token of its API (None: the
        environment variable ``ETHOGRAM_NETBOX_TOKEN``).
    profile
        ``nftables``, ``opnsense``: MUD files (RFC 8520), or MUD files by device; None: learnt from the services used.
    traffic
        ``nftables``, ``opnsense``: flows on which ``dry_run`` tries the rules.
    dry_run
        ``netbox``: list what would change. Firewalls: count what would be dropped of ``traffic``, as CSV.
    devices, devices_only, names, names_mapping, dns_log, time_zone, identity, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.

    Returns
    -------
    ExportedFiles
        Its ``text``, or its ``files`` where each device has one; ``save(path)`` writes them.

    Raises
    ------
    ethogram.errors.UsageError
        If there is no such format, or an option is invalid.
    ethogram.errors.ConfigurationError
        If a library that the format needs is not installed.
    ethogram.errors.InputError
        If an input cannot be read, or there is no such device.

    Examples
    --------
    >>> print(export("csv", "home.pcap").text)  # doctest: +SKIP
    >>> export("mud", "week.parquet", mud_url="https://mud.example.com/").save("mud")  # doctest: +SKIP
    """
    from ethogram.export.gather import data_of_inputs, with_profiles
    from ethogram.export.options import GivenOptions, export_options, read_profiles
    from ethogram.export.registry import EXPORTS, load_export

    if form not in EXPORTS:
        raise UsageError(f"there is no format {form!r}; there are {', '.join(EXPORTS)}")
    write = load_export(form)
    options = export_options(form, GivenOptions(
        mud_url, port, url, site, _path(token_file), profile is not None, traffic is not None, dry_run
    ))  # fmt: skip
    files = profile.items() if isinstance(profile, Mapping) else (("", each) for each in _paths(profile, "profile"))
    profiles, notes = read_profiles((key, Path(path)) for key, path in files)
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, identity=identity, pseudonymise=pseudonymise,
    )  # fmt: skip
    wanted = [device] if isinstance(device, str) else device or ()
    with as_paths(inputs) as paths:
        data, log = data_of_inputs(
            paths, _all_known(library), EXPORTS[form], reading, wanted=wanted, knowledge=_path(knowledge),
            on_progress=on_progress,
        )  # fmt: skip
        data = with_profiles(data, profiles, _paths(traffic, "traffic"), reading)
        made = ExportedFiles.of(write(data, options), len(data.devices))
    _warned(log)
    return replace(made, notes=(*notes, *made.notes))


def label(
    device: str, name: str, *, labels: str | Path = "labels.csv", kind: str = "", vendor: str = "", model: str = ""
) -> None:
    """Write what a device is to a label file, as ``ethogram label`` does; all other rows stay.

    Parameters
    ----------
    device
        MAC address, IP address or name of the device.
    name
        What you call it.
    labels
        Label file, created if it is missing.
    kind, vendor, model
        What kind of thing it is, who makes it, and its make and model.

    Raises
    ------
    ethogram.errors.InputError
        If the file is no label file, or cannot be written.
    """
    from ethogram.identify.labels import label_device
    from ethogram.identify.library import Identity

    label_device(labels, device, Identity(name, model=model, vendor=vendor, type=kind))


def unknown(
    inputs: Inputs,
    *,
    library: LibraryLike | Sequence[LibraryLike] | None = None,
    level: str = "label",
    method: str = "",
    encoder: str | Path | None = None,
    flows: bool = True,
    epoch: Duration = DAY_S,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    identity: bool = True,
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> UnknownGroups:
    """Group the devices that are unknown, each group one product, as ``ethogram unknown`` does.

    Parameters
    ----------
    inputs, level, method, encoder, flows, epoch, identity
        As for :func:`identify`.
    library
        Known devices, or several libraries, as for :func:`identify`; None: no device is known, and all are grouped.
    devices, devices_only, names, names_mapping, dns_log, time_zone, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.
    """
    from ethogram.pipeline.unknown import unknown as group_unknown

    options = IdentifyOptions(
        level=level, method=method, encoder=_path(encoder), flows=flows, epoch_s=parse_epoch(epoch)
    )
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, identity=identity, pseudonymise=pseudonymise,
    )  # fmt: skip
    with as_paths(inputs) as paths:
        known = None if library is None else _all_known(library)
        run = group_unknown(paths, known, options, reading, on_progress=on_progress)
    _warned(run.log)
    return run.groups


def changes(
    inputs: Inputs,
    *,
    since: Duration | None = None,
    library: str | Path | Sequence[str | Path] | None = None,
    verdicts: bool = True,
    every: bool = False,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    identity: bool = True,
    knowledge: str | Path | None = None,
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> NetworkChanges:
    """Say what changed on a network, as ``ethogram changes`` does.

    Parameters
    ----------
    inputs
        The earlier and the later input; with ``since``, any number of inputs, which are cut in two.
    since
        Length of the later span, which ends with the last hour of the inputs.
    library
        Known devices by which those of both spans are judged: a library file or several, among them ``packaged``; None:
        the bundled library.
    verdicts
        Also judge the devices of both spans, and compare what is stated.
    every
        Also list differences that are probably chance (``--all`` on the command line).
    knowledge
        File of rows that add to the knowledge pack.
    devices, devices_only, names, names_mapping, dns_log, time_zone, identity, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.

    Raises
    ------
    ethogram.errors.UsageError
        If the inputs are not two and ``since`` is not given.
    ethogram.errors.InputError
        If an input is missing, empty or of unknown format, or a span has no flows.

    Examples
    --------
    >>> for change in changes(["monday.parquet", "tuesday.parquet"]).changes:  # doctest: +SKIP
    ...     print(change.device, change.change, change.subject, change.reason)
    """
    from ethogram.pipeline.changes import changes as find_changes
    from ethogram.pipeline.device_identifier import DeviceIdentifier

    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, identity=identity, pseudonymise=pseudonymise,
    )  # fmt: skip
    span = None if since is None else timedelta(seconds=parse_epoch(since, "since"))

    def judge() -> DeviceIdentifier:
        return DeviceIdentifier(library, _path(knowledge))

    with as_paths(inputs) as paths:
        run = find_changes(
            paths, since=span, reading=reading, identifier=judge if verdicts else None, every=every,
            on_progress=on_progress,
        )  # fmt: skip
    _warned(run.log)
    return run.changes


def monitor(
    inputs: Inputs,
    *,
    baseline: Files | None = None,
    learn: Duration | None = None,
    profile: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None = None,
    labels: str | Path | None = None,
    peer: Mapping[str, Sequence[str]] | None = None,
    epoch: Duration = 300,
    alarms_a_month: float = 1.0,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> MonitorReport:
    """Compare traffic with profiles of what devices may do, as ``ethogram monitor`` does.

    Parameters
    ----------
    inputs
        The traffic to monitor.
    baseline
        Inputs with usual traffic, to learn profiles from.
    learn
        Learn from the first part of the inputs, of this length, and monitor the rest.
    profile
        MUD files (RFC 8520) and files of profiles: paths, or paths by the device or label that they are for.
    labels
        Label file: devices of one label share a profile.
    peer
        Prefixes of controllers, manufacturers and models that MUD files name; what is not here is any local address.
    epoch
        Length of an epoch, which is judged as a whole.
    alarms_a_month
        Alarms per device and month that limits allow if nothing changes.
    devices, devices_only, names, names_mapping, dns_log, time_zone, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.

    Raises
    ------
    ethogram.errors.UsageError
        If there is nothing to take profiles from, or a profile is for no device of the inputs.
    ethogram.errors.InputError
        If an input, a MUD file or a file of profiles cannot be used.

    Examples
    --------
    >>> report = monitor("week.parquet", learn="5d")  # doctest: +SKIP
    >>> for alarm in report.alarms:  # doctest: +SKIP
    ...     print(alarm.device, alarm.start, alarm.reason)
    """
    from ethogram.config import MonitorSettings
    from ethogram.pipeline.monitor import ProfileSources
    from ethogram.pipeline.monitor import monitor as monitor_traffic

    files = profile.items() if isinstance(profile, Mapping) else (("", each) for each in _paths(profile, "profile"))
    sources = ProfileSources(
        _paths(baseline, "baseline"), None if learn is None else timedelta(seconds=parse_epoch(learn, "learn")),
        tuple((key, Path(path)) for key, path in files), _path(labels), peer or {},
    )  # fmt: skip
    settings = MonitorSettings.of(epoch_s=parse_epoch(epoch), alarms_a_month=alarms_a_month)
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, pseudonymise=pseudonymise,
    )  # fmt: skip
    with as_paths(inputs) as paths:
        run = monitor_traffic(paths, sources, settings, reading, on_progress=on_progress)
    _warned(run.log)
    return run.report


def deviations(
    inputs: Inputs,
    *,
    labels: str | Path | None = None,
    epoch: Duration = 86_400,
    alarms_a_month: float = 1.0,
    devices: str | Path | None = None,
    devices_only: bool = False,
    names: Files | None = None,
    names_mapping: str | Path | None = None,
    dns_log: Files | None = None,
    time_zone: str = "UTC",
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    on_progress: OnProgress = None,
) -> BehaviourReport:
    """Score each epoch of each device by the behaviour that it showed before, as ``ethogram deviations`` does.

    Parameters
    ----------
    inputs
        Some weeks of traffic.
    labels
        Label file: devices are also compared with the others of their label.
    epoch
        Length of an epoch: an hour or more.
    alarms_a_month
        Deviations per device and month that limits of the score allow if nothing changes.
    devices, devices_only, names, names_mapping, dns_log, time_zone, local, time_from, time_to,
    pseudonymise, on_progress
        As for :func:`read_flows`.

    Raises
    ------
    ethogram.errors.InputError
        If an input or the label file cannot be used, or there are no flows.

    Examples
    --------
    >>> report = deviations("month.parquet")  # doctest: +SKIP
    >>> for epoch in report.devices[0].epochs:  # doctest: +SKIP
    ...     print(epoch.start, epoch.score, epoch.reason)
    """
    from ethogram.config import DeviationSettings
    from ethogram.pipeline.deviations import deviations as score_inputs

    settings = DeviationSettings.of(epoch_s=parse_epoch(epoch), alarms_a_month=alarms_a_month)
    reading = _reading(
        devices, local, time_from, time_to, devices_only=devices_only, names=names, names_mapping=names_mapping,
        dns_log=dns_log, time_zone=time_zone, pseudonymise=pseudonymise,
    )  # fmt: skip
    with as_paths(inputs) as paths:
        run = score_inputs(paths, settings, labels=_path(labels), reading=reading, on_progress=on_progress)
    _warned(run.log)
    return run.report


def embed(
    inputs: Inputs,
    *,
    model: str | Path | None = None,
    devices: str | Path | None = None,
    devices_only: bool = False,
    local: Sequence[str] | None = None,
    time_from: Time = None,
    time_to: Time = None,
    pseudonymise: str | Path | None = None,
    threads: int = 0,
    on_progress: OnProgress = None,
) -> Embeddings:
    """Embed flows with a frozen encoder, as ``ethogram embed`` does (arXiv 2601.19315).

    Parameters
    ----------
    inputs
        Custom flows, or captures.
    model
        Folder of :func:`pretrain`, or an ``.onnx`` file; None: the bundled encoder.
    threads
        Number of threads; 0: one per core.
    devices, devices_only, local, time_from, time_to, pseudonymise, on_progress
        As for :func:`read_flows`.

    Raises
    ------
    ethogram.errors.UsageError
        If ONNX Runtime is not installed (extra ``embed``).
    """
    from ethogram.pipeline.representations import embed as embed_inputs

    with as_paths(inputs) as paths, tempfile.TemporaryDirectory(prefix="ethogram-") as folder:
        output = Path(folder) / "embeddings.parquet"
        run = embed_inputs(
            paths, output, model=_path(model), threads=threads, on_progress=on_progress,
            options=ReadOptions(_path(devices), flow_settings(local), parse_span(time_from, time_to),
                                devices_only=devices_only,
                                pseudonymiser=None if pseudonymise is None else Pseudonymiser.load(pseudonymise)),
        )  # fmt: skip
        frame = pl.read_parquet(output, memory_map=False)
    vectors = run.vectors
    log = run_log(vectors.reports, vectors.stages, vectors.skipped, f"{run.rows:,} embeddings", vectors.errors)
    return Embeddings(frame, _warned(log), run.header.weights, run.header.d)


def pretrain(
    inputs: Inputs,
    output: str | Path,
    *,
    encoder: EncoderSettings | dict[str, Any] | None = None,
    training: TrainingSettings | dict[str, Any] | None = None,
    source: str = "",
    licence: str = "",
    restart: bool = False,
    time_from: Time = None,
    time_to: Time = None,
) -> EncoderFiles:
    """Train an encoder on unlabelled custom flows, as ``ethogram pretrain`` does (arXiv 2601.19315).

    Parameters
    ----------
    inputs
        Custom flows, written by ``ethogram vectors``; no labels are read.
    output
        Folder of the model; an interrupted run in it is resumed.
    encoder, training
        Settings, or their values by name; None: the defaults.
    source, licence
        Provenance, for the model card.
    restart
        Discard what an earlier run left in ``output``.
    time_from, time_to
        Only flows of these days (UTC).

    Raises
    ------
    ethogram.errors.UsageError
        If torch is not installed (extra ``train``).
    """
    from ethogram.pipeline.representations import pretrain as train

    with as_paths(inputs) as paths:
        run = train(
            paths, Path(output),
            encoder=EncoderSettings.of(**encoder) if isinstance(encoder, dict) else encoder,
            training=TrainingSettings.of(**training) if isinstance(training, dict) else training,
            source=source, licence=licence, restart=restart, span=parse_span(time_from, time_to),
        )  # fmt: skip
    return EncoderFiles(Path(output), run.headers, run.chosen, run.notes)


def parse_span(begin: Time, end: Time) -> TimeSpan:
    """Convert the options ``time_from`` and ``time_to`` to a span."""
    return TimeSpan(parse_time(begin, "time_from"), parse_time(end, "time_to"))


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _paths(values: Files | None, name: str) -> tuple[Path, ...]:
    if values is None:
        return ()
    if isinstance(values, bool):
        raise UsageError(f"{name}={values}: names are files here; the switch for names of remote ends is remote_names")
    return (Path(values),) if isinstance(values, str | Path) else tuple(Path(value) for value in values)


def _reading(
    devices: str | Path | None, local: Sequence[str] | None, time_from: Time, time_to: Time, *,
    devices_only: bool, names: Files | None, names_mapping: str | Path | None, dns_log: Files | None, time_zone: str,
    identity: bool = True, pseudonymise: str | Path | None = None,
) -> ReadOptions:  # fmt: skip
    span = parse_time(time_from, "time_from"), parse_time(time_to, "time_to")
    return read_options(
        _path(devices), local, *span, devices_only=devices_only, names=_paths(names, "names"),
        names_mapping=_path(names_mapping), dns_logs=_paths(dns_log, "dns_log"), time_zone=time_zone,
        identity=identity, pseudonymise=_path(pseudonymise),
    )  # fmt: skip


def _known(library: str | Path | Library | None) -> OpenLibrary:
    if isinstance(library, OpenLibrary):
        return library
    return OpenLibrary.opened(library) if isinstance(library, Library) else open_library(library)


def _all_known(libraries: LibraryLike | Sequence[LibraryLike] | None) -> list[OpenLibrary]:
    """Libraries as opened; names and paths by :func:`ethogram.pipeline.libraries.open_libraries`."""
    if libraries is None or isinstance(libraries, str | Path | Library):
        libraries = [] if libraries is None else [libraries]
    if not libraries:
        return open_libraries()
    return [
        known
        for library in libraries
        for known in ([_known(library)] if isinstance(library, Library) else open_libraries([library]))
    ]


def _warned(log: RunLog) -> RunLog:
    for line in log.errors:
        warnings.warn(line, EthogramWarning, stacklevel=3)
    return replace(log)
