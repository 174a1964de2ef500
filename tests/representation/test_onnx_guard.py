"""ONNX files of strangers: what an exported encoder does not hold is refused before a runtime opens the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import LibraryError
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.onnx_guard import check_onnx

PACKAGED = Path(__file__).parents[2] / "src/ethogram/data/encoder.onnx"
FLOAT = onnx.TensorProto.FLOAT
helper, from_array = onnx.helper, onnx.numpy_helper.from_array


def graph(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.GraphProto:
    value = helper.make_tensor_value_info
    return helper.make_graph(nodes, "g", [value("x", FLOAT, ["N", 4])], [value("z", FLOAT, ["N", 4])], weights)


def model(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto) -> onnx.ModelProto:
    return helper.make_model(graph(nodes, list(weights)), ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def external(place: str) -> onnx.TensorProto:
    """A tensor whose weights are in another file."""
    tensor = from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in {"location": place, "offset": "0", "length": "16"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return tensor


ADD = helper.make_node("Add", ["x", "w"], ["z"])


@pytest.mark.parametrize("place", ["weights.bin", "/etc/passwd", "../weights.bin", "", "//host/share"])
def test_weights_in_another_file_are_refused_whatever_the_path(place: str, tmp_path: Path) -> None:
    in_graph = model([ADD], external(place))
    in_node = model([helper.make_node("Constant", [], ["w"], value=external(place)), ADD])
    for content in (in_graph, in_node):
        file = tmp_path / "encoder.onnx"
        file.write_bytes(content.SerializeToString())
        with pytest.raises(LibraryError, match="refers to another file for its weights"):
            OnnxEncoder(file)


REFUSED = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Loop", "If", "Scan")


@pytest.mark.parametrize("operator", REFUSED)
def test_operators_outside_the_list_are_refused(operator: str) -> None:
    with pytest.raises(LibraryError, match=f"operator '{operator}', which no exported encoder uses"):
        check_onnx(model([helper.make_node(operator, ["x"], ["z"])]).SerializeToString(), "a.onnx")


def test_operators_of_other_domains_subgraphs_functions_and_sparse_arrays_are_refused() -> None:
    inner = graph([ADD], [])
    other = model([helper.make_node("Add", ["x", "x"], ["z"], domain="com.example")])
    nested = model([helper.make_node("Add", ["x", "x"], ["z"], body=inner)])
    functions = model([ADD], from_array(np.zeros(4, np.float32), "w"))
    functions.functions.add().name = "f"
    sparse = model([ADD])
    sparse.graph.sparse_initializer.add()
    for content, reason in ((other, "operator"), (nested, "subgraphs"), (functions, "functions"), (sparse, "sparse")):
        with pytest.raises(LibraryError, match=reason):
            check_onnx(content.SerializeToString(), "a.onnx")


def test_nodes_are_bounded() -> None:
    nodes = [helper.make_node("Relu", ["x"], [f"y{i}"]) for i in range(2_001)]
    with pytest.raises(LibraryError, match="more than 2,000 nodes"):
        check_onnx(model(nodes).SerializeToString(), "a.onnx")


BROADCAST = """
import resource, sys
from pathlib import Path
from ethogram.errors import LibraryError
from ethogram.representation import inference
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
content = Path(sys.argv[1]).read_bytes()
try:
    session = inference._session(content, "a.onnx")
    import numpy as np
    session.run(["z"], {"x": np.zeros((1, 4), np.float32)})
except Exception as error:
    print(type(error).__name__)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("constant", [True, False], ids=["folded at opening", "computed from the input"])
def test_memory_of_a_graph_is_bounded(constant: bool, tmp_path: Path) -> None:
    side = 30_000  # its square has 3.6 GB as float32
    nodes = [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0)]
    nodes += [helper.make_node("Add", ["column", "row" if constant else "s"], ["c"])]
    nodes += [helper.make_node("Add", ["c", "row"], ["square"])]
    nodes += [helper.make_node("ReduceSum", ["square"], ["d"], keepdims=0), helper.make_node("Add", ["x", "d"], ["z"])]
    column, row = np.ones((side, 1), np.float32), np.ones((1, side), np.float32)
    content = model(nodes, from_array(column, "column"), from_array(row, "row")).SerializeToString()
    check_onnx(content, "a.onnx")  # only the arena can tell
    file = tmp_path / "a.onnx"
    file.write_bytes(content)
    run = subprocess.run([sys.executable, "-c", BROADCAST, str(file)], capture_output=True, text=True, check=True)
    error, grown_mib = run.stdout.split()
    assert error == "Fail"
    assert int(grown_mib) < 1_400  # the arena's 1 GiB, and the runtime itself


@given(st.binary(max_size=200))
def test_random_octets_are_refused(content: bytes) -> None:
    with pytest.raises(LibraryError, match=r"a\.onnx"):
        check_onnx(content, "a.onnx")


def test_the_packaged_encoder_is_accepted_and_refused_when_cut_short() -> None:
    content = PACKAGED.read_bytes()
    check_onnx(content, "encoder.onnx")
    for cut in (1, 100, len(content) // 2, len(content) - 5):
        with pytest.raises(LibraryError, match=r"encoder\.onnx"):
            check_onnx(content[:cut], "encoder.onnx")
