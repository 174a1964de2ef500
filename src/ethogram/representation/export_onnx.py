"""Encoders to ONNX, with the header in the file's metadata, so that embedding needs neither torch nor safetensors.

The network takes the first K of its W columns, K being as many as are not padding in any row of a batch.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ethogram.errors import UsageError
from ethogram.representation.dense import DenseLayer, encoder_layers
from ethogram.representation.encoder import Header, Tensors
from ethogram.representation.field_columns import FieldPlan
from ethogram.representation.linear_fields import field_limit, number_columns

if TYPE_CHECKING:
    from ethogram.representation.fields import FieldEncoder

__all__ = ["INPUT", "INPUT_FIELDS", "METADATA", "OUTPUT", "export_dense", "export_fields", "export_linear_fields"]

INPUT, INPUT_FIELDS, OUTPUT = "x", "fields", "z"
METADATA = "ethogram"
OPSET, IR_VERSION = 17, 10


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise UsageError("writing ONNX needs onnx: pip install 'ethogram[train]'") from None
    return onnx


def with_header(model: Any, header: Header) -> bytes:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, header.json().decode()
    return bytes(model.SerializeToString())


def export_dense(header: Header, tensors: Tensors, *, half: bool = False) -> bytes:
    """Export the encoder of a stack of dense layers.

    Parameters
    ----------
    header, tensors
        As saved; the header goes into the metadata.
    half
        Keep matrices in 16 bits: half the size, to be shipped. They are widened when the file is opened, so that
        embedding is as fast; embeddings are off by about a thousandth of their spread.

    Returns
    -------
    bytes
        An ONNX model: ``x`` float32 [N, K] to ``z`` float32 [N, D].
    """
    onnx = _onnx()
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes, weights, at = [], [], INPUT
    layers = encoder_layers(header.encoder, tensors)
    for i, layer in enumerate(layers):
        matrix = np.ascontiguousarray(layer.weight.T)
        if half:
            weights.append(numpy_helper.from_array(matrix.astype(np.float16), f"half{i}"))
            nodes.append(helper.make_node("Cast", [f"half{i}"], [f"w{i}"], to=onnx.TensorProto.FLOAT))
        else:
            weights.append(numpy_helper.from_array(matrix, f"w{i}"))
        weights.append(numpy_helper.from_array(layer.bias, f"b{i}"))
        product = f"w{i}"
        if i == 0:
            # Only the rows of the first matrix for the given columns.
            weights.append(numpy_helper.from_array(np.zeros(1, np.int64), "zero"))
            nodes += [
                helper.make_node("Shape", [INPUT], ["k"], start=1, end=2),
                helper.make_node("Slice", ["w0", "zero", "k", "zero"], ["used"]),
            ]
            product = "used"
        end = OUTPUT if i == len(layers) - 1 else f"h{i}"
        nodes += _linear(helper, layer, at, product, i, end)
        at = end
    if not layers:
        nodes = [helper.make_node("Identity", [INPUT], [OUTPUT])]
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info(INPUT, real, ["N", "K"])],
        [helper.make_tensor_value_info(OUTPUT, real, ["N", header.d])],
        weights,
    )  # fmt: skip
    model = helper.make_model(
        graph, producer_name="ethogram", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    return with_header(model, header)


def _linear(helper: Any, layer: DenseLayer, at: str, weight: str, i: int, end: str) -> list[Any]:
    nodes = [helper.make_node("MatMul", [at, weight], [f"m{i}"])]
    if layer.then == "relu":
        return [
            *nodes,
            helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [end]),
        ]
    return [*nodes, helper.make_node("Add", [f"m{i}", f"b{i}"], [end])]


def export_fields(net: FieldEncoder, header: Header) -> bytes:
    """Export the encoder of the field-aware network.

    Returns
    -------
    bytes
        An ONNX model: ``fields`` float32 [N, F]
        (:func:`ethogram.representation.field_columns.describe`) to ``z`` float32 [N, D].
    """
    import torch

    onnx = _onnx()
    buffer = io.BytesIO()
    given = torch.zeros(2, net.plan.width)
    with warnings.catch_warnings():
        # The tracing exporter needs no further package, unlike its successor.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (given,), buffer, input_names=[INPUT_FIELDS], output_names=[OUTPUT],
            dynamic_axes={INPUT_FIELDS: {0: "N"}, OUTPUT: {0: "N"}}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    return with_header(onnx.load_from_string(buffer.getvalue()), header)


def export_linear_fields(header: Header, tensors: Tensors) -> bytes:
    """Export the linear encoder of fields.

    Returns
    -------
    bytes
        An ONNX model: ``fields`` float32 [N, F]
        (:func:`ethogram.representation.field_columns.describe`) to ``z`` float32 [N, D].
    """
    onnx = _onnx()
    helper, real, whole = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    assert header.encoder.reads is not None
    plan, limit = FieldPlan(header.encoder.reads), field_limit(header.encoder)
    given = {
        "numbers": np.ascontiguousarray(tensors["numbers"].T), "columns": number_columns(plan),
        "low": np.float32(-limit), "high": np.float32(limit), "one": np.array([1], np.int64),
        "first": np.array([plan.grams.start], np.int64), "last": np.array([plan.grams.stop], np.int64),
        # Row 0 stands for no text fragment.
        "text": np.concatenate([np.zeros((1, header.d), np.float32), tensors["text"]]),
        **{name: tensors[name] for name in ("middle", "scale", "bias", "protocol", "remote_port", "device_port")},
        **{f"at{i}": np.array(i, np.int64) for i in range(3)},
    }  # fmt: skip

    def node(kind: str, inputs: list[str], output: str, **more: object) -> Any:
        return helper.make_node(kind, inputs, [output], **more)

    nodes = [
        node("Gather", [INPUT_FIELDS, "columns"], "x0", axis=1), node("Sub", ["x0", "middle"], "x1"),
        node("Mul", ["x1", "scale"], "x2"), node("Clip", ["x2", "low", "high"], "x3"),
        node("MatMul", ["x3", "numbers"], "x4"), node("Add", ["x4", "bias"], "sum0"),
    ]  # fmt: skip
    for i, table in enumerate(("protocol", "remote_port", "device_port")):
        nodes += [
            node("Gather", [INPUT_FIELDS, f"at{i}"], f"k{i}", axis=1), node("Cast", [f"k{i}"], f"r{i}", to=whole),
            node("Gather", [table, f"r{i}"], f"t{i}", axis=0), node("Add", [f"sum{i}", f"t{i}"], f"sum{i + 1}"),
        ]  # fmt: skip
    nodes += [
        node("Slice", [INPUT_FIELDS, "first", "last", "one"], "g0"), node("Cast", ["g0"], "g1", to=whole),
        node("Gather", ["text", "g1"], "g2", axis=0), node("ReduceSum", ["g2", "one"], "g3", keepdims=0),
        node("Add", ["sum3", "g3"], OUTPUT),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info(INPUT_FIELDS, real, ["N", plan.width])],
        [helper.make_tensor_value_info(OUTPUT, real, ["N", header.d])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, producer_name="ethogram", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    return with_header(model, header)
