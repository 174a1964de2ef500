"""Shared parents: what is kept of a host name, on real forms of names, and on any text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram._parents import Parents, packaged_parents, shared_parent

TABLE = Path(__file__).parent.parent / "src/ethogram/data/knowledge/parents.tsv"
ROWS = [line.split("\t") for line in TABLE.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a1b2c3d4e5f6-ats.iot.us-east-1.amazonaws.com", ("a1b2c3d4e5f6.iot.amazonaws.com", "iot-broker")),
        ("a1b2c3d4e5f6.iot.eu-west-1.amazonaws.com", ("a1b2c3d4e5f6.iot.amazonaws.com", "iot-broker")),
        ("data.iot.us-east-1.amazonaws.com", ("iot.amazonaws.com", "iot-broker")),
        ("maker-firmware.s3.us-west-2.amazonaws.com", ("maker-firmware.s3.amazonaws.com", "cloud")),
        ("maker.s3.amazonaws.com", ("maker.s3.amazonaws.com", "cloud")),
        ("maker.s3-us-west-2.amazonaws.com", ("maker.s3.amazonaws.com", "cloud")),
        ("s3.us-west-2.amazonaws.com", ("s3.amazonaws.com", "cloud")),
        ("maker-lb-1234567890.us-east-1.elb.amazonaws.com", ("maker-lb.elb.amazonaws.com", "cloud")),
        ("ec2-192-0-2-1.us-west-2.compute.amazonaws.com", ("compute.amazonaws.com", "cloud")),
        ("kinesis.us-east-1.amazonaws.com", ("kinesis.amazonaws.com", "cloud")),
        ("0.maker.pool.ntp.org", ("maker.pool.ntp.org", "clock")),
        ("2.north-america.pool.ntp.org", ("pool.ntp.org", "clock")),
        ("1.de.pool.ntp.org", ("pool.ntp.org", "clock")),
        ("pool.ntp.org", ("pool.ntp.org", "clock")),
        ("makerhub.azure-devices.net", ("makerhub.azure-devices.net", "iot-broker")),
        ("vendor-master.iotcplatform.com", ("vendor-master.iotcplatform.com", "iot-broker")),
        ("m1.iotcplatform.com", ("iotcplatform.com", "iot-broker")),
        ("d111111abcdef8.cloudfront.net", ("d111111abcdef8.cloudfront.net", "cdn")),
        ("www.maker.co.uk.edgekey.net", ("maker.co.uk", "cdn")),
        ("img.a.alicdn.com", ("alicdn.com", "cdn")),
        ("e1234.a.akamaiedge.net", ("akamaiedge.net", "cdn")),
        ("maker-api-abcdef-uc.a.run.app", ("maker-api.a.run.app", "cloud")),
        ("stats.g.doubleclick.net", ("doubleclick.net", "advertising")),
        ("time4.google.com", ("time4.google.com", "clock")),
        ("api-global.netflix.com", ("netflix.com", "streaming")),
        ("avs-alexa-4-na.amazon.com", ("avs-alexa.amazon.com", "own")),
        ("gsp64-ssl.ls.apple.com", ("ls.apple.com", "own")),
        ("www.google.com", None),
        ("notamazonaws.com", None),
    ],
)
def test_the_label_of_the_customer_is_kept(host: str, expected: tuple[str, str] | None) -> None:
    domain = ".".join(host.split(".")[-2:])
    assert shared_parent(host, domain) == expected


@pytest.mark.parametrize("pattern", [row[0] for row in ROWS])
def test_a_kept_name_is_kept_again(pattern: str) -> None:
    host = pattern.replace("{keep}", "makerx").replace("{domain}", "maker.com").replace("*", "us").replace("#", "1")
    result = packaged_parents().find(host)
    assert result is not None
    again = packaged_parents().find(result[0])
    assert again is None if "{domain}" in pattern else again is not None and again[0] == result[0]


def test_a_host_without_a_domain_has_no_parent() -> None:
    assert shared_parent("printer.local", None) is None


@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    result = packaged_parents().find(text)
    assert result is None or result[1]


@given(st.lists(st.from_regex(r"\A[a-z0-9-]{1,12}\Z"), max_size=4), st.sampled_from(ROWS))
def test_what_is_kept_is_kept_again(labels: list[str], row: list[str]) -> None:
    """A kept name never has more labels than the host, and ends where a host of its class may end."""
    parent = row[0].replace("{keep}", "maker").replace("{domain}", "maker.example").replace("*", "x").replace("#", "1")
    host = ".".join([*labels, parent])
    result = packaged_parents().find(host)
    if result is not None:
        assert result[0].count(".") <= host.count(".")


@pytest.mark.parametrize("pattern", ["{keep}", "", "a..b", "{keep}.{keep}.example", "{other}.example", "{domain}.*"])
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        Parents([(pattern, "cloud")])
