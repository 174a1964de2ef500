"""Learnt profiles: rules, limits, what is outside, and alarms."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from behaviour.traffic_made import START, flow, scan, table, usual
from ethogram.behaviour.alarms import excesses, find_alarms
from ethogram.behaviour.learn import learn_profiles
from ethogram.behaviour.match import match_services
from ethogram.behaviour.traffic import bound_traffic, spread_flows, traffic_of_counts, traffic_of_flows
from ethogram.config import CountSettings, MonitorSettings
from ethogram.fingerprint.count import count
from ethogram.schema import Accounting, BehaviourProfile, MonitorAlarm

SETTINGS = MonitorSettings()
LATER = START + timedelta(days=7)


@pytest.fixture(scope="module")
def profiles() -> dict[str, BehaviourProfile]:
    return learn_profiles(traffic_of_flows(table(usual(7)), SETTINGS.epoch_s), SETTINGS)


def alarms(profiles: dict[str, BehaviourProfile], rows: list[dict[str, object]]) -> list[MonitorAlarm]:
    traffic = traffic_of_flows(table(rows), SETTINGS.epoch_s)
    return find_alarms(match_services(traffic, profiles), profiles, SETTINGS)


def test_a_profile_is_what_was_used(profiles: dict[str, BehaviourProfile]) -> None:
    profile = profiles["plug"]
    assert [rule.name for rule in profile.rules] == [
        "TCP/443 client wan example.com", "UDP/53 client lan example.com", "UDP/123 client wan ntp.org",
    ]  # fmt: skip
    assert profile.days == 7
    assert all(limit.inside for limit in profile.limits)


def test_limits_are_prediction_limits_of_the_largest_epochs_of_days(profiles: dict[str, BehaviourProfile]) -> None:
    from scipy.stats import t

    tests = len(profiles["plug"].limits)
    (limit,) = [each for each in profiles["plug"].limits if each.rule.startswith("TCP/443")
                and (each.direction, each.metric, each.period) == ("from", "packets", "day")]  # fmt: skip
    usual_total = 144 * 8
    expected = np.expm1(np.log1p(usual_total) + t.isf(1 / 30 / tests, 6) * 0.3 * np.sqrt(1 + 1 / 7))
    assert limit.usual == usual_total
    assert limit.limit == pytest.approx(expected)


def test_usual_days_raise_no_alarm(profiles: dict[str, BehaviourProfile]) -> None:
    assert alarms(profiles, usual(7, first=LATER)) == []


def test_a_scan_is_outside_and_an_alarm(profiles: dict[str, BehaviourProfile]) -> None:
    (alarm,) = alarms(profiles, usual(1, first=LATER) + scan(LATER + timedelta(hours=3), 3000))
    assert (alarm.device, alarm.start, alarm.epochs) == ("plug", LATER + timedelta(hours=3), 1)
    assert not alarm.excesses[0].inside
    (service,) = alarm.services
    assert service.startswith("TCP/23 client wan: 2,99")  # the last flows end in the next epoch
    assert alarm.reason == (
        "outside the profile (TCP client wan): 3,000 flows from the device in 5 min; limit 100, none on most days"
    )


def test_a_flood_on_a_permitted_service_is_above_its_limit(profiles: dict[str, BehaviourProfile]) -> None:
    flood = flow(LATER + timedelta(hours=1), 300, packets_out=30_000, octets_out=30_000 * 60)
    (alarm,) = alarms(profiles, [*usual(1, first=LATER), flood])
    assert alarm.excesses[0].inside
    assert alarm.excesses[0].rule == "TCP/443 client wan example.com"
    assert alarm.services == []


def test_a_slow_scan_is_an_alarm_of_the_day(profiles: dict[str, BehaviourProfile]) -> None:
    slow = [each for hour in range(24) for each in scan(LATER + timedelta(hours=hour), 30)]
    (alarm,) = alarms(profiles, [*usual(1, first=LATER), *slow])
    assert {each.period for each in alarm.excesses} == {"day"}
    assert alarm.start == LATER + timedelta(hours=10)  # the 301st flow


def test_stray_flows_outside_the_profile_are_counted_and_no_alarm(profiles: dict[str, BehaviourProfile]) -> None:
    stray = flow(LATER, service_port=8080, remote_port=8080, remote_domain="example.net")
    rows = match_services(traffic_of_flows(table([stray]), 300), profiles)
    assert rows.select("inside", "rule", "direction", "packets").rows() == [
        (False, "TCP client wan", "from", 8.0), (False, "TCP client wan", "to", 8.0),
    ]  # fmt: skip
    assert find_alarms(rows, profiles, SETTINGS) == []


def test_ports_that_do_not_recur_become_one_rule() -> None:
    rows = usual(6)
    rows += [flow(START + timedelta(hours=hour), protocol=17, service_port=20_000 + hour, remote_port=20_000 + hour,
                  remote_domain=None) for hour in range(0, 144, 7)]  # fmt: skip
    learnt = learn_profiles(traffic_of_flows(table(rows), 300), SETTINGS)
    assert "UDP/any client wan" in [rule.name for rule in learnt["plug"].rules]
    new = flow(LATER, protocol=17, service_port=33_333, remote_port=33_333, remote_domain=None)
    inside = match_services(traffic_of_flows(table([new]), 300), learnt)
    assert inside["rule"].unique().to_list() == ["UDP/any client wan"]


def test_what_only_one_day_has_widens_the_limits_of_the_outside() -> None:
    strange = [flow(START + timedelta(days=day, hours=2), 10, service_port=9000 + day, remote_port=9000 + day,
                    packets_out=400, remote_domain="example.org") for day in range(7)]  # fmt: skip
    learnt = learn_profiles(traffic_of_flows(table(usual(7) + strange), 300), SETTINGS)
    again = flow(LATER, 10, service_port=9100, remote_port=9100, packets_out=400, remote_domain="example.org")
    assert alarms(learnt, [*usual(1, first=LATER), again]) == []
    assert alarms(learnt, [*usual(1, first=LATER), *scan(LATER + timedelta(hours=1), 20_000)])


def test_devices_of_a_label_share_a_profile() -> None:
    rows = usual(2) + usual(2, "lamp")
    traffic = traffic_of_flows(table(rows), 300)
    assert learn_profiles(traffic, SETTINGS) == {}
    learnt = learn_profiles(traffic, SETTINGS, labels={"plug": "acme", "lamp": "acme"})
    assert list(learnt) == ["acme"]
    assert (learnt["acme"].label, learnt["acme"].device, learnt["acme"].days) == ("acme", "", 4)


def test_rules_beyond_the_bound_are_left_out() -> None:
    settings = MonitorSettings(max_rules=2)
    learnt = learn_profiles(traffic_of_flows(table(usual(4)), 300), settings)
    assert len(learnt["plug"].rules) == 2
    assert learnt["plug"].rules[0].name.startswith("TCP/443")


def test_counts_give_the_traffic_of_flows() -> None:
    flows = table(usual(2))
    counted, _ = count(flows, CountSettings())
    key = ["time", "protocol", "name"]
    assert traffic_of_counts(counted).sort(key).equals(traffic_of_flows(flows, 3600).sort(key))


def test_long_flows_are_spread_over_their_epochs_and_nothing_is_lost() -> None:
    flows = table([flow(START + timedelta(seconds=150), 600, packets_out=600)])
    rows = spread_flows(flows, 300).sort("time")
    assert rows["packets_out"].to_list() == pytest.approx([150, 300, 150])
    assert rows["flows"].to_list() == [1, 0, 0]
    month = spread_flows(table([flow(START, 86_400 * 30, packets_out=77)]), 300)
    assert month["packets_out"].sum() == pytest.approx(77)


def test_services_of_an_epoch_are_bounded_and_counted() -> None:
    rows = [flow(START, service_port=port, remote_port=port, packets_out=port) for port in range(1, 101)]
    accounting = Accounting("flows")
    bounded = bound_traffic(traffic_of_flows(table(rows), 300), 10, accounting)
    assert bounded.height == 11
    assert bounded["packets_out"].sum() == sum(range(1, 101))
    assert accounting.corrected == {"services over the bound of an epoch": 90}


def test_without_limits_only_the_outside_is_judged() -> None:
    profile = {"plug": BehaviourProfile(source="test")}
    rows = match_services(traffic_of_flows(table(scan(START, 1000)), 300), profile)
    assert set(excesses(rows, profile)["inside"]) == {False}
    assert excesses(rows.with_columns(inside=pl.lit(value=True)), profile).height == 0
