"""Validate an ONNX file before a runtime opens it: only operators of our exporters, and weights inside the file.

An ONNX file is data, but it can name other files to read (external data), nest graphs and functions, and ask for
arrays of any size. This module reads the file's protobuf structure alone (onnx.proto3, IR version 10) and refuses all
but the first kind; the runtime's arena bounds the size of arrays (:mod:`ethogram.representation.inference`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ethogram.errors import LibraryError

__all__ = ["MAX_NODES", "MAX_OCTETS", "OPERATORS", "check_onnx"]

OPERATORS = frozenset({
    "Add", "Cast", "Clip", "Concat", "Constant", "Div", "Flatten", "Floor", "Gather", "Gemm", "Greater", "Identity",
    "LayerNormalization", "Less", "MatMul", "Mul", "ReduceMax", "ReduceSum", "Relu", "Reshape", "Shape", "Slice",
    "Sqrt", "Sub", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that exported encoders use. None has a body, and none makes an array from a length alone."""

MAX_OCTETS = 1 << 29
MAX_NODES = 2_000

# Field numbers of onnx.proto3.
_GRAPH, _TRAINING, _FUNCTIONS = 7, 20, 25  # ModelProto
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15  # GraphProto
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # NodeProto
_TENSOR, _TENSORS, _GRAPH_VALUE, _GRAPHS, _SPARSE, _SPARSES = 5, 10, 6, 11, 22, 23  # AttributeProto
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # TensorProto

_Field = tuple[int, int, "memoryview | int"]


def check_onnx(content: bytes, name: str) -> None:
    """Refuse an ONNX file with content that no exported encoder has.

    Parameters
    ----------
    content
        The file.
    name
        The file's name, for errors.

    Raises
    ------
    LibraryError
        When the file is no ONNX model, is too large, refers to other files, or uses an operator outside
        :data:`OPERATORS`, a subgraph, a function or a sparse array.

    Examples
    --------
    >>> check_onnx(b"no model", "a.onnx")
    Traceback (most recent call last):
    ethogram.errors.LibraryError: a.onnx: not an ONNX model, or truncated
    """
    if len(content) > MAX_OCTETS:
        raise LibraryError(f"{name}: larger than {MAX_OCTETS:,} octets")
    try:
        graphs = 0
        for number, _, value in _fields(memoryview(content)):
            if number == _GRAPH:
                graphs += 1
                _check_graph(_message(value), name)
            elif number in {_TRAINING, _FUNCTIONS}:
                raise LibraryError(f"{name}: has functions or training graphs, which no exported encoder has")
        if graphs != 1:
            raise ValueError("a model has one graph")
    except (ValueError, IndexError, UnicodeDecodeError):
        raise LibraryError(f"{name}: not an ONNX model, or truncated") from None


def _check_graph(graph: memoryview, name: str) -> None:
    nodes = 0
    for number, _, value in _fields(graph):
        if number == _NODE:
            nodes += 1
            if nodes > MAX_NODES:
                raise LibraryError(f"{name}: more than {MAX_NODES:,} nodes")
            _check_node(_message(value), name)
        elif number == _INITIALIZER:
            _check_tensor(_message(value), name)
        elif number == _SPARSE_INITIALIZER:
            raise LibraryError(f"{name}: has sparse arrays, which no exported encoder has")


def _check_node(node: memoryview, name: str) -> None:
    operator = domain = ""
    for number, _, value in _fields(node):
        if number == _OP_TYPE:
            operator = str(_message(value), "utf-8")
        elif number == _DOMAIN:
            domain = str(_message(value), "utf-8")
        elif number == _ATTRIBUTE:
            _check_attribute(_message(value), name)
    if domain not in {"", "ai.onnx"} or operator not in OPERATORS:
        raise LibraryError(f"{name}: operator {operator!r:.60}, which no exported encoder uses")


def _check_attribute(attribute: memoryview, name: str) -> None:
    for number, _, value in _fields(attribute):
        if number in {_TENSOR, _TENSORS}:
            _check_tensor(_message(value), name)
        elif number in {_GRAPH_VALUE, _GRAPHS, _SPARSE, _SPARSES}:
            raise LibraryError(f"{name}: has subgraphs or sparse arrays, which no exported encoder has")


def _check_tensor(tensor: memoryview, name: str) -> None:
    for number, _, value in _fields(tensor):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
            raise LibraryError(f"{name}: refers to another file for its weights; weights must be inside the file")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a varint where a message is expected")
    return value


def _fields(message: memoryview) -> Iterator[_Field]:
    """Fields of a protobuf message: number, wire type, and the number or the octets in it.

    Raises
    ------
    ValueError, IndexError
        When the message ends inside a field, or has a wire type that proto3 does not use.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in {1, 5}:
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("a wire type that proto3 does not use")
        if length > end - at:
            raise ValueError("the message ends inside a field")
        yield number, wire, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        octet = message[at]
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise ValueError("a number of more than ten octets")
