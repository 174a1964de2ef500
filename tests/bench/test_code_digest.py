"""Code digests: what they cover, and that every dependency that is declared exists."""

from __future__ import annotations

import pytest

from ethogram.bench.code_digest import code_digest, imported_modules
from ethogram.bench.corpora import load
from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.encoders.interface import ADAPTERS
from ethogram.bench.flows import corpus
from ethogram.bench.flows.benchmark import FlowBenchmark
from ethogram.bench.flows.encoders import encoder_code
from ethogram.bench.flows.task import flow_methods
from ethogram.bench.fused.benchmark import FusedBenchmark
from ethogram.bench.groups.benchmark import GroupBenchmark

BENCHMARKS = (CountBenchmark, FusedBenchmark, FlowBenchmark, GroupBenchmark)


@pytest.mark.parametrize("part", BENCHMARKS, ids=lambda part: part.__name__)
def test_a_benchmark_is_known_by_its_module_and_by_what_it_declares(part: type) -> None:
    assert code_digest(part) != code_digest(part.__module__)
    for other in BENCHMARKS:
        assert (code_digest(part) == code_digest(other)) == (part is other)


def test_loading_is_known_by_declared_modules() -> None:
    assert len(code_digest(*load.CODE_DEPENDENCIES)) == 12
    assert code_digest(*load.CODE_DEPENDENCIES) != code_digest(*corpus.CODE_DEPENDENCIES)


def test_order_and_repetition_do_not_matter() -> None:
    assert code_digest("ethogram.errors", "ethogram.schema") == code_digest(
        "ethogram.schema", "ethogram.errors", "ethogram.errors"
    )


def test_a_module_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        code_digest("ethogram.nowhere")


def test_imported_modules_are_those_of_the_same_room_and_indirect_ones() -> None:
    modules = imported_modules("ethogram.representation.fields")
    assert {"ethogram.representation.fields", "ethogram.representation.network"} < set(modules)
    assert all(name.startswith("ethogram.representation.") for name in modules)
    assert "ethogram.bench.encoders.masked" in imported_modules(ADAPTERS["yatc-small"].module)


def test_every_method_on_flows_has_a_digest_of_its_encoder() -> None:
    digests = {name: encoder_code(method) for name, method in flow_methods().items()}
    assert digests["vae"] == digests["ae"]
    assert len({digests[name] for name in ("raw-40", "pca", "vae", "fields", "linear-fields", "et-bert", "yatc")}) == 7
    assert all(imported_modules(kind.module) for kind in ADAPTERS.values())
