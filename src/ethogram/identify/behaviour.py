"""Predict the kind of a device from its behaviour: a linear classifier over scale-free statistics.

Plugs, cameras and speakers of any vendor differ in the ratio of octets sent and received, in packet sizes and in the
well-known services that they use. No statistic depends on the length of the observation or on names, so they transfer
to other networks. With z the standardised statistics of an item (clipped to 3; 0 if unknown):

    log p(kind) = offset + sum of coefficient * z - log of the sum over kinds of the same exponentiated

The coefficients are strongly regularised, since most kinds have fewer devices than there are statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.identifier import Term
from ethogram.schema import DYNAMIC_FROM, ICMP, ICMPV6, IGMP, TCP, UDP, Windows

__all__ = ["STATISTICS", "Behaviour", "behaviour"]

REGULARISATION = 0.03  # inverse strength; calibrated on devices from different networks
LIMIT = 3.0  # standard deviations
ENOUGH = 3  # minimum number of packets for a mean size
PADDED = 46.0  # octets: smaller packets are padded by Ethernet

_protocol, _port = pl.col("protocol"), pl.col("port")
_role, _scope = pl.col("role").cast(pl.String), pl.col("scope").cast(pl.String)
_tcp, _udp = _protocol == TCP, _protocol == UDP
_client, _server = _role == "client", _role == "server"
_wan, _lan, _multicast = _scope == "wan", _scope == "lan", _scope == "multicast"
_packets = pl.col("packets_out") + pl.col("packets_in")


def _at(protocol: pl.Expr, *ports: int) -> pl.Expr:
    return protocol & _port.is_in(list(ports))


# Nearly every device uses DNS and NTP, and the network decides with which servers: not counted here.
_outside = _wan & (_tcp | (_udp & ~_port.is_in([53, 123])))
_inside = _lan & (_tcp | (_udp & ~_port.is_in([53, 67, 68, 123])))

_PRESENT: dict[str, pl.Expr] = {
    "serves the web": _at(_tcp, 80, 443, 8080, 8443) & _server,
    "serves video": (_at(_tcp, 554, 8554, 1935) | _at(_udp, 554)) & _server,
    "serves TCP from port 1024 on": _tcp & _server & (_port >= 1024),
    "serves UDP inside": _udp & _server & _lan & (_port >= 1024),
    "camera discovery": _at(_udp, 3702),
    "multicast DNS": _at(_udp, 5353) & _multicast,
    "SSDP": _at(_udp, 1900) & _multicast,
    "answers SSDP": _at(_udp, 1900) & _server,
    "IGMP": _protocol == IGMP,
    "ICMP": (_protocol == ICMP) & (pl.col("most_packets_out") > 2),
    "IPv6": _protocol.is_in([0, ICMPV6]),
    "time": _at(_udp, 123),
    "HTTP outside": _at(_tcp, 80) & _client & _wan,
    "HTTPS outside": _at(_tcp, 443) & _client & _wan,
    "QUIC outside": _at(_udp, 443) & _client & _wan,
    "MQTT": _at(_tcp, 1883, 8883, 8886) & _client,
    "other UDP outside": _udp & _wan & ~_port.is_in([53, 123, 443]),
    "other TCP outside": _tcp & _wan & _client & ~_port.is_in([80, 443, 1883, 8883]),
    "finds its way through NAT": _at(_udp, 3478, 10001, 19302, 32100) | _at(_tcp, 3478),
    "TCP client inside": _tcp & _lan & _client & (_port > 0),
    "casting": _at(_tcp, 1400, 4070, 8008, 8009, 55443),
}
"""Whether some row of counts matches; unknown if the source has no ports."""


def _total(column: str | pl.Expr, which: pl.Expr) -> pl.Expr:
    expression = pl.col(column) if isinstance(column, str) else column
    return expression.filter(which).sum().cast(pl.Float64)


def _way(which: pl.Expr) -> pl.Expr:
    """Log ratio of octets out and octets in, each plus 100 to stabilise small values."""
    known = (pl.col("octets_out") + pl.col("octets_in")).filter(which).sum() > 0
    ratio = ((_total("octets_out", which) + 100.0) / (_total("octets_in", which) + 100.0)).log()
    return pl.when(known).then(ratio)


def _size(way: str, which: pl.Expr) -> pl.Expr:
    packets, octets = _total(f"packets_{way}", which), _total(f"octets_{way}", which)
    return pl.when((packets >= ENOUGH) & (octets > 0)).then(pl.max_horizontal(octets / packets, pl.lit(PADDED)).log())


def _share(which: pl.Expr) -> pl.Expr:
    whole = _packets.sum().cast(pl.Float64)
    return pl.when(whole > 0).then(_total(_packets, which) / whole)


def _amounts() -> dict[str, pl.Expr]:
    moved, flows = _total(_packets, _outside), _total("flows", _outside)
    asked = _total(_packets, _udp & (_port == 53))
    timed = (pl.col("duration_ms").sum() > 0) & (moved > 0)
    return {
        "octets out over in, outside": _way(_outside),
        "octets out over in, TCP outside": _way(_outside & _tcp),
        "packet size out, TCP outside": _size("out", _outside & _tcp),
        "packet size in, TCP outside": _size("in", _outside & _tcp),
        "packet size out, UDP outside": _size("out", _outside & _udp),
        "packet size in, UDP outside": _size("in", _outside & _udp),
        "packet size out, inside": _size("out", _inside),
        "share of TCP outside": _share(_outside & _tcp),
        "share of UDP outside": _share(_outside & _udp),
        "share inside": _share(_inside),
        "share of multicast": _share(_multicast),
        "packets for each DNS packet": pl.when(_packets.sum() > 0).then(((moved + 1.0) / (asked + 1.0)).log()),
        # Counters without durations do not delimit flows.
        "packets of a flow outside": pl.when(timed).then(((moved + 1.0) / (flows + 1.0)).log()),
    }


STATISTICS = (*_amounts(), "services", *_PRESENT)
"""Names of the statistics, in column order."""


def behaviour(windows: Windows) -> NDArray[np.float64]:
    """The statistics of n items, shape (n, S); NaN where unknown.

    Logarithms are natural, shares are of packets, and presence is 0 or 1. Services are unknown for sources without
    ports.
    """
    high = pl.when(_port >= DYNAMIC_FROM).then(DYNAMIC_FROM).otherwise(_port)
    services = pl.struct(_protocol, high.alias("port")).n_unique().cast(pl.Float64).log1p()
    portless = _total(_packets, (_tcp | _udp) & (_port == 0)) > 0.5 * _total(_packets, _tcp | _udp)
    known = ~portless
    expressions = _amounts() | {"services": pl.when(known).then(services)}
    expressions |= {name: pl.when(known).then(which.any().cast(pl.Float64)) for name, which in _PRESENT.items()}
    values = windows.totals.group_by("item").agg(**expressions)
    rows = windows.items.select("item").join(values, on="item", how="left", maintain_order="left")
    return rows.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in STATISTICS).to_numpy()


class Behaviour:
    """Logistic regression of the kind on :func:`behaviour`, with equal weight for each kind."""

    def fit(self, windows: Windows, kinds: Sequence[str]) -> Self:
        """Fit on n items of known kind."""
        self.kinds_ = sorted(set(kinds))
        values = behaviour(windows)
        known = np.isfinite(values)
        count = np.maximum(known.sum(axis=0), 1)
        self.mean_ = np.where(known, values, 0.0).sum(axis=0) / count
        deviations = np.where(known, values - self.mean_, 0.0)
        self.spread_ = np.sqrt((deviations**2).sum(axis=0) / count)
        z = self._standardised(values)
        member = np.array(kinds)[None, :] == np.array(self.kinds_)[:, None]
        self.usual_ = member @ z / member.sum(axis=1, keepdims=True)
        self.coefficients_ = np.zeros((len(self.kinds_), len(STATISTICS)))
        self.offsets_ = np.zeros(len(self.kinds_))
        # If most kinds occur only once, the labels are not kinds: keep a uniform prediction.
        if 1 < len(self.kinds_) <= len(kinds) / 2:
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000)
            model.fit(z, list(kinds))
            if len(self.kinds_) == 2:
                self.coefficients_[1], self.offsets_[1] = model.coef_[0], model.intercept_[0]
            else:
                self.coefficients_, self.offsets_ = model.coef_, model.intercept_
        return self

    def _standardised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.where(self.spread_ > 1e-9, (values - self.mean_) / self.spread_, 0.0)
        result: NDArray[np.float64] = np.clip(np.nan_to_num(z, nan=0.0), -LIMIT, LIMIT)
        return result

    def predict_log_proba(self, windows: Windows) -> NDArray[np.float64]:
        """Natural logarithm of the probability of each kind, shape (n, kinds)."""
        return self._logs(self._standardised(behaviour(windows)))

    def _logs(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = z @ self.coefficients_.T + self.offsets_
        top = raw.max(axis=1, keepdims=True)
        result: NDArray[np.float64] = raw - top - np.log(np.exp(raw - top).sum(axis=1, keepdims=True))
        return result

    def explain(self, windows: Windows, kinds: Sequence[str]) -> list[list[Term]]:
        """Terms that sum to log(number of kinds * probability of the given kind) of each item.

        One term per statistic, its contribution to the given kind minus that to the mean of all kinds, with the usual
        value of the kind as the expected value; and one term for the remainder.
        """
        z = self._standardised(behaviour(windows))
        logs = self._logs(z) + np.log(len(self.kinds_))
        above = self.coefficients_ - self.coefficients_.mean(axis=0)
        explained = []
        for row, log, kind in zip(z, logs, kinds, strict=True):
            at = self.kinds_.index(kind)
            parts = above[at] * row
            named = zip(STATISTICS, row, self.usual_[at], parts, strict=True)
            terms = [
                Term(f"all traffic, {name}", "standard deviations", float(x), float(usual), float(part))
                for name, x, usual, part in named
                if part
            ]
            terms.append(Term("all traffic, behaviour", "offset", 0.0, 0.0, float(log[at] - parts.sum())))
            explained.append(terms)
        return explained
