"""Options: sampling rates by sampler and time, system start, names; later values replace earlier ones."""

from __future__ import annotations

import pytest
from exports import COUNTS, KEY, NOW_MS, TIMES, Column, Export

from ethogram.io.wire import options
from ethogram.io.wire.options import ExporterMetadata, origin_of

ORIGIN = ("192.0.2.1", 0, 10, 1)


def flows(*columns: Column) -> list[Column]:
    return [*KEY, *COUNTS, *TIMES, *columns]


def rates(export: Export) -> list[tuple[int, int | None]]:
    return export.table().select("octets", "raw_octets").rows()


@pytest.mark.parametrize(
    ("stated", "rate"),
    [
        ([(34, 4, [100])], 100),
        ([(50, 4, [100])], 100),
        ([(305, 4, [100])], 100),
        ([(305, 4, [1]), (306, 4, [99])], 100),
        ([(309, 4, [1]), (310, 4, [100])], 100),
        ([(305, 4, [1]), (304, 2, [3]), (309, 4, [1]), (310, 4, [256])], 256),
        ([(305, 4, [256]), (304, 2, [3]), (309, 4, [1]), (310, 4, [256])], 256),
        ([(309, 4, [2]), (310, 4, [5])], 2.5),
        ([(34, 4, [0])], 1),
        ([(34, 4, [1])], 1),
    ],
)
def test_a_rate_stated_without_sampler_holds_for_the_domain(stated: list[Column], rate: float) -> None:
    export = Export()
    export.send([(149, 4, [1]), *stated], number=300, options=True)
    export.send(flows())
    raw = None if rate == 1 else 1000
    assert rates(export)[0] == (round(1000 * rate), raw)


def test_each_sampler_has_its_rate() -> None:
    export = Export()
    export.send([(302, 4, [1, 2]), (305, 4, [1, 1]), (306, 4, [9, 99])], number=300, options=True)
    export.send(flows((302, 4, [1, 2])))
    assert rates(export) == [(10_000, 1000), (200_000, 2000)]
    export.send(flows((302, 4, [2, 0])))
    assert rates(export) == [(100_000, 1000), (2000, None)]  # number 0 is no sampler
    export.send(flows((302, 4, [7, 1])))
    assert rates(export) == [(1000, None), (20_000, 2000)]
    assert export.biflows.accounting.corrected == {"sampler rate unknown, not scaled": 1}


def test_flows_without_a_sampler_use_the_only_rate() -> None:
    export = Export(9)
    export.send([(1, 4, [0]), (48, 1, [3]), (50, 4, [64])], number=300, options=True)
    export.send(flows())
    assert rates(export)[0] == (64_000, 1000)
    export.send([(1, 4, [0]), (48, 1, [4]), (50, 4, [8])], number=300, options=True)
    export.send(flows())
    assert rates(export)[0] == (1000, None)


def test_what_the_record_itself_states_goes_before_options() -> None:
    export = Export()
    export.send([(149, 4, [1]), (34, 4, [100])], number=300, options=True)
    export.send(flows((34, 4, [5, 0])))
    assert rates(export) == [(5000, 1000), (200_000, 2000)]


def test_a_rate_is_in_force_from_the_message_that_states_it() -> None:
    export = Export()
    export.send([(149, 4, [1]), (34, 4, [10])], number=300, options=True)
    export.send(flows())
    export.send([(149, 4, [1]), (34, 4, [20])], number=300, options=True)
    export.send(flows())
    assert [row[0] for row in rates(export)] == [10_000, 20_000, 20_000, 40_000]
    export.send(flows())
    export.send([(149, 4, [1]), (34, 4, [30])], number=300, options=True)
    export.send(flows())
    assert [row[0] for row in rates(export)] == [20_000, 40_000, 30_000, 60_000]


def test_flows_before_the_first_statement_take_it() -> None:
    export = Export()
    export.send(flows())
    export.send([(149, 4, [1]), (34, 4, [10])], number=300, options=True)
    assert rates(export) == [(10_000, 1000), (20_000, 2000)]


def test_rates_of_other_domains_do_not_matter() -> None:
    export = Export(domain=1)
    export.send([(149, 4, [2]), (34, 4, [10])], number=300, options=True)
    other = Export(domain=2)
    export.messages, other.messages = [], export.messages
    assert other.table().height == 0
    export.send(flows())
    other.messages += export.messages
    export.messages = []
    assert other.biflows.batch(other.records())["raw_octets"].null_count() == 0
    third = Export(domain=3)
    third.send(flows())
    other.messages += third.messages
    assert other.biflows.batch(other.records())["raw_octets"].null_count() == 2


def test_version_5_states_the_interval_in_its_header() -> None:
    from ethogram.io.wire.template import v5_template

    export = Export(5, domain=0, sampling=(1 << 14) | 100)
    values = {8: 1, 12: 2, 2: 3, 1: 180, 4: 6}
    export.send([(field.id, field.length, [values.get(field.id, 0)]) for field in v5_template(0).fields])
    assert rates(export) == [(18_000, 180)]


def test_packets_and_both_directions_are_scaled() -> None:
    export = Export()
    export.send(flows((34, 4, [10, 10])), reverse=[(1, 4, [5, 6]), (2, 4, [1, 2])])
    names = ("packets", "reverse_octets", "reverse_packets", "raw_packets", "reverse_raw_octets", "reverse_raw_packets")
    assert export.table().select(names).row(0) == (100, 50, 10, 10, 5, 1)


def test_system_start_names_and_elements_are_learnt_and_overwritten() -> None:
    export = Export()
    export.send([(149, 4, [1]), (160, 8, [NOW_MS])], number=300, options=True)
    export.send([(10, 4, [7, 8]), (82, 12, [b"eth7", b"eth8"])], number=301, options=True)
    export.send([(234, 4, [3]), (236, 8, [b"blue"])], number=302, options=True)
    export.send([(10, 4, [7]), (82, 12, [b"lan0"])], number=303, options=True)
    export.send([(346, 4, [4242]), (303, 2, [0x8007]), (341, 65535, [b"ourElement"])], number=304, options=True)
    metadata = ExporterMetadata()
    for records in export.records():
        assert origin_of(records) == ORIGIN
        metadata.learn(records)
    assert metadata.system_init_us(ORIGIN) == NOW_MS * 1000
    assert metadata.names(ORIGIN) == {"interface": {7: "lan0", 8: "eth8"}, "VRF": {3: "blue"}}
    assert metadata.element(4242, 7).name == "ourElement"
    assert metadata.element(0, 7).name == "sourceTransportPort"
    assert metadata.sampling(ORIGIN) is None


def test_statistics_without_addresses_state_rates_too() -> None:
    export = Export(9)
    export.send([(34, 4, [10]), (36, 2, [1800]), (41, 8, [5])], number=300)
    export.send(flows())
    assert rates(export) == [(10_000, 1000), (20_000, 2000)]
    assert export.biflows.accounting.ignored == {"no source and destination address": 1}


def test_what_is_known_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "MAX_NAMES", 3)
    monkeypatch.setattr(options, "MAX_SAMPLERS", 2)
    export = Export()
    export.send([(10, 4, [1, 2, 3, 4, 5]), (82, 4, [b"a", b"b", b"c", b"d", b"e"])], number=300, options=True)
    export.send([(302, 4, [1, 2, 3]), (34, 4, [10, 20, 30])], number=301, options=True)
    metadata = ExporterMetadata()
    for records in export.records():
        metadata.learn(records)
    assert metadata.names(ORIGIN)["interface"] == {3: "c", 4: "d", 5: "e"}
    assert metadata.forgotten == {"interface names": 2, "samplers": 1}


def test_a_rate_stated_late_in_one_batch_holds_for_all_of_the_next() -> None:
    export = Export()
    for _ in range(5):
        export.send(flows())
    export.send([(149, 4, [1]), (34, 4, [10])], number=300, options=True)
    export.send([(149, 4, [1]), (34, 4, [20])], number=300, options=True)
    assert {row[0] for row in rates(export)} == {10_000, 20_000}
    export.send(flows())
    assert [row[0] for row in rates(export)] == [20_000, 40_000]


def test_flows_that_waited_for_their_template_are_scaled() -> None:
    export = Export()
    export.send([(149, 4, [1]), (34, 4, [10])], number=300, options=True)
    export.send(flows())
    whole = list(export.messages)
    template, records = export.split(whole[1])
    export.messages = [whole[0], records]
    assert export.table().height == 0
    export.messages = [template]
    assert [row[0] for row in rates(export)] == [10_000, 20_000]


def test_all_metadata_together_stay_bounded_and_the_oldest_exporter_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "MAX_HELD", 6)
    metadata = ExporterMetadata()
    for domain in (1, 2, 3):
        export = Export(domain=domain)
        export.send([(10, 4, [1, 2]), (82, 4, [b"a", b"b"])], number=300, options=True)
        export.send([(302, 4, [1]), (34, 4, [10])], number=301, options=True)
        for records in export.records():
            metadata.learn(records)
    assert [origin[3] for origin in metadata.origins] == [2, 3]
    assert metadata.forgotten == {"exporters": 1}
    assert metadata.sampling(("192.0.2.1", 0, 10, 1)) is None
    assert metadata.names(("192.0.2.1", 0, 10, 3)) == {"interface": {1: "a", 2: "b"}}


def test_a_long_name_is_cut() -> None:
    export, metadata = Export(), ExporterMetadata()
    export.send([(10, 4, [1]), (82, 65535, [b"a" * 1000])], number=300, options=True)
    metadata.learn(export.records()[0])
    assert metadata.names(ORIGIN) == {"interface": {1: "a" * 128}}


@pytest.mark.parametrize("version", [9, 10])
def test_rates_of_interfaces_hold_for_flows_seen_on_them(version: int) -> None:
    export = Export(version)
    scope = 2 if version == 9 else 10
    export.send([(scope, 4, [7]), (34, 4, [10])], number=300, options=True)
    export.send(flows((10, 4, [7, 8])))
    assert rates(export) == [(10_000, 1000), (2000, None)]
    export.send([(scope, 4, [7, 8]), (34, 4, [10, 100])], number=300, options=True)
    export.send(flows((10, 4, [7, 8]), (14, 4, [8, 9]), (61, 1, [0, 0])))
    assert rates(export) == [(10_000, 1000), (200_000, 2000)]
    export.send(flows((10, 4, [7, 9]), (14, 4, [8, 9]), (61, 1, [1, 0])))
    assert rates(export) == [(100_000, 1000), (2000, None)]


def test_a_sampler_may_be_stated_in_another_domain_of_the_exporter() -> None:
    """Options in a separate domain: a rate on which all other domains agree is used and counted."""
    export, other, third = (Export(9, domain) for domain in (1, 6, 7))
    for item in (other, third):
        item.biflows = export.biflows
    other.send([(1, 4, [0, 0]), (48, 1, [1, 2]), (50, 4, [100, 400])], number=300, options=True)
    other.table()
    export.send(flows((48, 1, [1, 2])))
    export.send(flows((48, 1, [3, 0])))
    assert [row[0] for row in rates(export)] == [100_000, 800_000, 1000, 2000]
    assert export.biflows.accounting.corrected == {
        "sampler rate from another observation domain": 2, "sampler rate unknown, not scaled": 1,
    }  # fmt: skip
    # Two domains that disagree give no rate.
    third.send([(1, 4, [0]), (48, 1, [1]), (50, 4, [7])], number=300, options=True)
    third.table()
    export.send(flows((48, 1, [1, 2])))
    assert [row[0] for row in rates(export)] == [1000, 800_000]
    # Its own domain takes precedence.
    export.send([(1, 4, [0]), (48, 1, [1]), (50, 4, [9])], number=300, options=True)
    export.send(flows((48, 1, [1, 1])))
    assert [row[0] for row in rates(export)] == [9000, 18_000]
