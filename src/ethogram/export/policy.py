"""What a firewall lets devices do: rules of MUD profiles with addresses in place of names, and a trial of them.

A packet filter compares addresses. Here each rule of a profile gets them: those behind its host name as far as flows
show them, and the local networks for the classes of RFC 8520. The same rules are written for a firewall and tried on
flows, so that a trial counts what the firewall would drop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ethogram._text import csv_text
from ethogram.behaviour.match import service_text
from ethogram.behaviour.mud_match import MUD_COLUMNS, match_mud
from ethogram.behaviour.mud_rules import mud_behaviour
from ethogram.export.names import unique_slugs
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.fingerprint.mud_profile import learn_profile
from ethogram.pipeline.text import plural
from ethogram.schema import METRICS, BehaviourProfile, ExportedDevice, MudProfile, MudRule

__all__ = ["HOST_NAME", "Policy", "PolicyRule", "addresses_of", "policies", "try_policies", "write_policies"]

HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\.?")
"""Names that a firewall is told; others could be more than a name."""
_DAY_S = 86_400
_MOST_SHOWN = 10_000


@dataclass(frozen=True)
class PolicyRule:
    """A rule, and the addresses of its other end.

    Parameters
    ----------
    rule
        As the profile has it.
    networks
        Prefixes of the other end, of the version of the rule; None: any.
    """

    rule: MudRule
    networks: tuple[str, ...] | None


@dataclass(frozen=True)
class Policy:
    """What one device may do.

    Parameters
    ----------
    device
        The device.
    name
        Of the device as an identifier: lower-case letters, digits and hyphens.
    rules
        In order; the first one that matches decides, and what none matches is dropped.
    notes
        What the user should know, one line each.
    """

    device: ExportedDevice
    name: str
    rules: tuple[PolicyRule, ...]
    notes: tuple[str, ...] = ()


def policies(data: ExportData) -> Iterator[Policy]:
    """The policy of each device with a profile: of a file, or else learnt from the services that it uses.

    Parameters
    ----------
    data
        Devices, uses of services, addresses of names, and profiles of files.
    """
    ends = addresses_of(data.ends)
    for device, name in zip(data.devices, unique_slugs(data.devices), strict=True):
        profile, notes = _profile(data, device)
        if profile is None:
            continue
        rules: list[PolicyRule] = []
        unknown: set[str] = set()
        unsafe = 0
        for rule in profile.rules:
            host = rule.name.lower().removesuffix(".")
            if host and not HOST_NAME.fullmatch(host):
                unsafe += 1
                continue
            networks = _networks(replace(rule, name=host), ends, data.local)
            if host and not networks:
                unknown.add(host)
            rules.append(PolicyRule(replace(rule, name=host), networks))
        if unsafe:
            notes.append(f"{device.name}: {plural(unsafe, 'rule')} left out: the host name is not valid")
        if unknown:
            hosts = plural(len(unknown), "host name")
            notes.append(f"{device.name}: {hosts} without a known address: a resolver must give it")
        if not device.addresses:
            notes.append(f"{device.name}: no known address: only what it sends is filtered, by its MAC" if device.macs
                         else f"{device.name}: neither address nor MAC: it is left out")  # fmt: skip
        if device.addresses or device.macs:
            yield Policy(device, name, tuple(rules), tuple(notes))
        else:
            yield Policy(device, name, (), tuple(notes))


def _profile(data: ExportData, device: ExportedDevice) -> tuple[MudProfile | None, list[str]]:
    """Profile of a device; None if it has no rule."""
    for key in (device.id, device.name, *device.addresses, *device.macs, *device.host_names, ""):
        if key in data.profiles:
            return data.profiles[key], []
    profile, left_out = learn_profile(data.uses_of(device), "https://mud.invalid/", data.time)
    notes = [f"{device.name}: {left_out:,} rules of services that are used least are left out"] if left_out else []
    return (profile if profile.rules else None), notes


def write_policies(
    data: ExportData, options: ExportOptions, text_of: Callable[[Sequence[Policy]], str]
) -> Iterator[Written]:
    """Notes about policies, then the file that the firewall reads; with a dry run, what it would drop."""
    all_policies = list(policies(data))
    for policy in all_policies:
        for note in policy.notes:
            yield Written("", "", note)
    yield Written("", try_policies(all_policies, data.flows()) if options.dry_run else text_of(all_policies))


def addresses_of(ends: pl.DataFrame | None) -> dict[str, tuple[str, ...]]:
    """Addresses behind host names (:data:`ethogram.pipeline.service_use.END`)."""
    if ends is None:
        return {}
    grouped = ends.group_by("name").agg(pl.col("address").sort())
    return {str(name).removesuffix("."): tuple(map(str, addresses)) for name, addresses in grouped.iter_rows()}


def _networks(
    rule: MudRule, ends: Mapping[str, tuple[str, ...]], local: Iterable[str]
) -> tuple[str, ...] | None:
    """Prefixes of the other end, of the version of the rule; None: any."""
    if rule.name:
        networks = ends.get(rule.name, ())
    elif rule.network:
        return (rule.network,)
    elif rule.place:
        networks = tuple(local)
    else:
        return None
    return tuple(each for each in networks if (":" in each) == (rule.version == 6))


def _behaviour(policy: Policy) -> BehaviourProfile:
    """The policy as a profile whose rules have addresses alone."""
    plain = tuple(replace(each.rule, name="", place="", place_value="", network="") for each in policy.rules)
    profile = mud_behaviour(MudProfile("", policy.device.last_seen, plain), "firewall rules")  # type: ignore[arg-type]
    # A rule whose name has no address matches nothing, as an empty set of the firewall does.
    rules = [rule.model_copy(update={"networks": each.networks or (), "name": f"rule {number}"})
             for number, (rule, each) in enumerate(zip(profile.rules, policy.rules, strict=True))
             if each.networks is None or each.networks]  # fmt: skip
    return profile.model_copy(update={"rules": tuple(rules)})


def try_policies(all_policies: Iterable[Policy], batches: Iterable[pl.DataFrame]) -> str:
    """What firewalls with these policies would have dropped of flows, as CSV.

    Parameters
    ----------
    all_policies
        The policies.
    batches
        Flow tables (:data:`ethogram.schema.FLOW`). A flow belongs to the device with its address, or its name.

    Returns
    -------
    One line for each device, direction and service with its other end: flows that this side began, packets and octets;
    then one line for each device with its sums and the flows in all. Flows are dropped by the direction that is not
    permitted; answers to a flow that never began are not subtracted.
    """
    known = [(policy, _behaviour(policy)) for policy in all_policies]
    keys = {
        "device": _keys([[policy.device.id, policy.device.name, *policy.device.macs] for policy, _ in known], "device"),
        "device_address": _keys([policy.device.addresses for policy, _ in known], "device_address"),
    }
    parts: list[pl.DataFrame] = []
    flows: dict[str, int] = {policy.device.id: 0 for policy, _ in known}
    for batch in batches:
        columns = batch.select(*MUD_COLUMNS, "device_address").with_columns(
            pl.col("device", "device_address", "remote").cast(pl.String)
        ).with_row_index("row")  # fmt: skip
        owned = pl.concat([columns.join(table, on=name).select("policy", "row") for name, table in keys.items()])
        for owned_rows in owned.unique().sort("policy", "row").partition_by("policy", maintain_order=True):
            policy, behaviour = known[owned_rows["policy"][0]]
            flows[policy.device.id] += owned_rows.height
            mine = columns[owned_rows["row"]]
            matched = match_mud(mine.select(MUD_COLUMNS), behaviour, _DAY_S).filter(~pl.col("inside"))
            parts.append(_sum(matched.select(
                pl.lit(policy.device.id).alias("id"), "direction", service_text().alias("rule"), *METRICS
            )))  # fmt: skip
        if sum(part.height for part in parts) > _MOST_SHOWN:
            parts = [_sum(pl.concat(parts))]
    sums = _sum(pl.concat(parts)).sort("octets", "id", "rule", "direction", descending=[True, False, False, False]) if (
        parts) else pl.DataFrame()  # fmt: skip
    by_device = sums.partition_by("id", as_dict=True, maintain_order=True) if sums.height else {}
    rows: list[tuple[object, ...]] = []
    for policy, _ in known:
        name, here = policy.device.name, by_device.get((policy.device.id,), pl.DataFrame())
        rows += [(name, row["direction"], row["rule"], *(round(row[metric]) for metric in METRICS), "")
                 for row in here.head(_MOST_SHOWN).iter_rows(named=True)]  # fmt: skip
        totals = [round(here[metric].sum()) if here.height else 0 for metric in METRICS]
        rows.append((name, "all", "dropped", *totals, flows[policy.device.id]))
    return csv_text(("device", "direction", "rule", *METRICS, "flows_in_all"), rows)


def _keys(values: Sequence[Sequence[str]], name: str) -> pl.DataFrame:
    """Number of the policy of each value."""
    pairs = [(number, value) for number, mine in enumerate(values) for value in mine]
    return pl.DataFrame(pairs, schema={"policy": pl.UInt32, name: pl.String}, orient="row")


def _sum(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("id", "direction", "rule").agg(pl.col(METRICS).sum())
