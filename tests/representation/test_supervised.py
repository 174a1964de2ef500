"""Supervised networks: every kind trains through its embedding, deterministically, and copies given weights."""

from __future__ import annotations

import numpy as np
import pytest

from custom_flows_made import made
from ethogram.config import EncoderSettings, FieldSettings, ProbeSettings

torch = pytest.importorskip("torch")

from ethogram.representation.build import build_network  # noqa: E402
from ethogram.representation.supervised import LabelledNetwork  # noqa: E402

FLOWS = made(120, seed=3)
TRUTH = np.searchsorted([53, 80, 443], FLOWS.remote_port).astype(np.int64)
QUICK = ProbeSettings(tune_passes=2, tune_steps=0, tune_batch=40)
SMALL = FieldSettings(octets=4, grams=8, buckets=64, token=8, hidden=16)


def settings(kind: str) -> EncoderSettings:
    return EncoderSettings(kind=kind, widths=(8,), d=4, fields=SMALL)


@pytest.mark.parametrize("kind", ["ae", "vae", "fields", "untrained"])
def test_every_parameter_is_trained_and_given_weights_are_copied(kind: str) -> None:
    given = build_network(settings(kind), seed=1)
    weights, digest = given.tensors(), given.digest
    net = build_network(settings(kind), seed=9, tensors=weights)
    assert net.digest == digest, "it begins where the encoder is"
    learnt = LabelledNetwork(net, 3, QUICK, seed=0)
    rows, late = np.arange(80), np.arange(80, 120)
    # Without stopping by held-out flows the last weights are kept: both steps of it show.
    learnt.fit(FLOWS, TRUTH, rows, late[:0])
    inward = [
        name for name in weights if name.startswith(("encoder.", "mean.", "token.", "inward.", "octet.", "port."))
    ]
    assert len(inward) >= 4
    assert all(not np.array_equal(net.tensors()[name], weights[name]) for name in inward)
    assert given.digest == digest
    assert np.exp(learnt.predict_log_proba(FLOWS)).sum(1) == pytest.approx(1)


def test_initial_weights_depend_on_the_seed() -> None:
    assert build_network(settings("ae"), 1).digest != build_network(settings("ae"), 2).digest
    assert build_network(settings("ae"), 1).digest == build_network(settings("ae"), 1).digest


def test_early_stopping_keeps_the_best_weights() -> None:
    """With contradicting held-out labels, the weights of the first pass are the best."""
    rows, late = np.arange(80), np.arange(80, 120)
    turned = TRUTH.copy()
    turned[late] = (TRUTH[late] + 1) % 3
    long = QUICK.model_copy(update={"tune_passes": 12, "tune_patience": 2, "tune_rate": 0.01})
    stopped = LabelledNetwork(build_network(settings("ae"), 1), 3, long).fit(FLOWS, turned, rows, late)
    whole = LabelledNetwork(build_network(settings("ae"), 1), 3, long).fit(FLOWS, turned, rows, late[:0])

    def loss(net: LabelledNetwork) -> float:
        result = net.predict_log_proba(FLOWS)[late]
        return float(-result[np.arange(late.size), turned[late]].mean())

    assert loss(stopped) < loss(whole)


def test_no_flows() -> None:
    net = LabelledNetwork(build_network(settings("ae"), 1), 3, QUICK)
    assert net.predict_log_proba(FLOWS.take(slice(0, 0))).shape == (0, 3)
