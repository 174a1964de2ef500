"""Code digests: what they cover, and that every dependency that is declared exists."""

from __future__ import annotations

import pytest

from ethogram._code_digest import code_digest, code_text, imported_modules
from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.flows.benchmark import FlowBenchmark
from ethogram.bench.flows.encoders import encoder_code
from ethogram.bench.flows.task import flow_methods
from ethogram.bench.fused.benchmark import FusedBenchmark
from ethogram.bench.groups.benchmark import GroupBenchmark
from ethogram.corpora import custom_flows, load
from ethogram.third_party_encoders.interface import ADAPTERS

BENCHMARKS = (CountBenchmark, FusedBenchmark, FlowBenchmark, GroupBenchmark)


@pytest.mark.parametrize("part", BENCHMARKS, ids=lambda part: part.__name__)
def test_a_benchmark_is_known_by_its_module_and_by_what_it_declares(part: type) -> None:
    assert code_digest(part) != code_digest(part.__module__)
    for other in BENCHMARKS:
        assert (code_digest(part) == code_digest(other)) == (part is other)


def test_loading_is_known_by_declared_modules() -> None:
    assert len(code_digest(*load.CODE_DEPENDENCIES)) == 12
    assert code_digest(*load.CODE_DEPENDENCIES) != code_digest(*custom_flows.CODE_DEPENDENCIES)


def test_order_and_repetition_do_not_matter() -> None:
    assert code_digest("ethogram.errors", "ethogram.schema") == code_digest(
        "ethogram.schema", "ethogram.errors", "ethogram.errors"
    )


MODULE = '''"""One sentence."""

from __future__ import annotations

import numpy as np
from {package}.card import Card
from ethogram.errors import InputError

CODE_DEPENDENCIES: tuple[str, ...] = ({dependencies!r},)


def devices(card: Card) -> int:
    """{documentation}"""
    return {result}
'''


def module(**changes: str) -> str:
    parts = {"package": "ethogram.bench.corpora", "dependencies": "a", "documentation": "A.", "result": "1"}
    return MODULE.format(**parts | changes)


def test_a_move_or_another_sentence_changes_no_digest() -> None:
    assert code_text(module()) == code_text(
        module(package="ethogram.corpora", dependencies="b", documentation="Number of devices.\n\n    Two lines.\n    ")
    )
    assert code_text(module()) != code_text(module(result="2"))
    assert code_text(module()) != code_text(module().replace("card import", "cards import"))
    assert "return 1" in code_text(module()) and "import numpy as np" in code_text(module())


def test_imports_in_another_order_are_the_same_code() -> None:
    first, second = "from a import b\nfrom c import d, e\n", "from c import e\nfrom c import d\nfrom a import b\n"
    assert code_text(first) == code_text(second) != code_text("from a import b\nfrom c import d\n")


def test_a_module_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        code_digest("ethogram.nowhere")


def test_imported_modules_are_those_of_the_same_room_and_indirect_ones() -> None:
    modules = imported_modules("ethogram.representation.fields")
    assert {"ethogram.representation.fields", "ethogram.representation.network"} < set(modules)
    assert all(name.startswith("ethogram.representation.") for name in modules)
    assert "ethogram.third_party_encoders.masked" in imported_modules(ADAPTERS["yatc-small"].module)


def test_every_method_on_flows_has_a_digest_of_its_encoder() -> None:
    digests = {name: encoder_code(method) for name, method in flow_methods().items()}
    assert digests["vae"] == digests["ae"]
    assert len({digests[name] for name in ("raw-40", "pca", "vae", "fields", "linear-fields", "et-bert", "yatc")}) == 7
    assert all(imported_modules(kind.module) for kind in ADAPTERS.values())
