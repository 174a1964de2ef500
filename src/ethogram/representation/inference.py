"""Embedding with ONNX Runtime alone: flows sorted by the length of their payload, so that padding is never multiplied.

Measured on two cores in float32, this is several times the same network in torch, which multiplies all 3,040 columns;
nothing is rounded for it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import LibraryError
from ethogram.representation.checkpoint import model_file, refuse_pickle
from ethogram.representation.encoder import Header, sized
from ethogram.representation.export_onnx import INPUT, INPUT_FIELDS, METADATA, OUTPUT
from ethogram.representation.field_columns import FieldPlan, describe
from ethogram.representation.onnx_guard import check_onnx
from ethogram.representation.onnx_runtime import onnx_runtime
from ethogram.representation.payload_length import expand_payload_prefix, header_width, payload_symbols
from ethogram.schema import CustomFlows

__all__ = ["OnnxEncoder"]

CHUNK = 256  # flows multiplied together: the columns of some hundreds stay in the cache
STEP = 16  # payload symbols are used in multiples of this
ARENA_OCTETS = 1 << 30  # weights and intermediate arrays of all open encoders; the largest of ours uses a tenth


class OnnxEncoder:
    """An exported encoder.

    Parameters
    ----------
    path
        An ``.onnx`` file that :mod:`ethogram.representation.export_onnx` wrote, or a directory that has one.
    threads
        Chunks computed at once; 0: one for each core.

    Raises
    ------
    LibraryError
        When it is missing, damaged, a pickle, of another version or scaling, or of another shape than its header says.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        file = model_file(path, ".onnx")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise LibraryError(f"{file}: {error.strerror or error}") from None
        refuse_pickle(content, str(file))
        check_onnx(content, str(file))
        self.threads = threads or os.cpu_count() or 1
        self._session = _session(content, str(file))
        stated = self._session.get_modelmeta().custom_metadata_map
        if METADATA not in stated:
            raise LibraryError(f"{file}: has no header of ethogram")
        self.header = Header.of_json(stated[METADATA], str(file))
        self._check(str(file))

    def _check(self, name: str) -> None:
        """One row through the network, of the shape the header speaks of."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        fields = self.header.encoder.reads
        if [i.name for i in inputs] != [INPUT_FIELDS if fields else INPUT] or [o.name for o in outputs] != [OUTPUT]:
            raise LibraryError(f"{name}: inputs or outputs of other names")
        width = FieldPlan(fields).width if fields else self.header.view.width
        try:
            z = self._run(np.zeros((1, width), np.float32))
        except Exception as error:  # whatever the runtime raises, the file is what is wrong
            raise LibraryError(f"{name}: does not take {width} numbers: {_first_line(error)}") from None
        if z.shape != (1, self.header.d) or z.dtype != np.float32 or not np.isfinite(z).all():
            raise LibraryError(f"{name}: gives {z.dtype} {list(z.shape)}, not float32 [1, {self.header.d}]")

    def _run(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run([OUTPUT], {self._session.get_inputs()[0].name: given})[0])

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]."""
        x = sized(x, self.header.view.width, "vectors")
        parts = [self._vectors(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.header.d), np.float32)

    def _vectors(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if (fields := self.header.encoder.reads) is not None:
            x = describe(x, self.header.view, fields)
        return self._run(np.ascontiguousarray(x))

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Not exported: load the weights beside it instead."""
        del z
        raise LibraryError("an exported encoder has no decoder: load the .safetensors file")

    @property
    def digest(self) -> str:
        """Of the weights, as the header states them; they cannot change here."""
        return self.header.weights

    def embed(self, flows: CustomFlows) -> NDArray[np.float32]:
        """Embeddings of custom flows; the same numbers as of their vectors, without making these.

        Parameters
        ----------
        flows
            N custom flows.

        Returns
        -------
        numpy.ndarray
            float32 [N, D].
        """
        view = self.header.view
        before = header_width(view)
        raw = self.header.encoder.kind == "raw"
        lengths = payload_symbols(flows) if before < view.width else np.zeros(len(flows), np.int64)
        if raw:
            lengths[:] = view.width - before
        order = np.argsort(lengths, kind="stable")
        z = np.empty((len(flows), self.header.d), np.float32)

        def chunk(place: tuple[int, int]) -> None:
            rows = order[place[0] : place[1]]
            symbols = -(-int(lengths[rows[-1]]) // STEP) * STEP
            z[rows] = self._vectors(expand_payload_prefix(flows, view, rows, symbols))

        places = list(pairwise([*range(0, len(flows), CHUNK), len(flows)]))
        if self.threads == 1 or len(places) < 2:
            for place in places:
                chunk(place)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(chunk, places))
        return z


def _session(content: bytes, name: str) -> Any:
    onnxruntime = onnx_runtime()
    _bound_memory(onnxruntime)
    options = onnxruntime.SessionOptions()
    # Chunks run beside one another; inside one there is nothing to gain.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base of their own
        raise LibraryError(f"{name}: no ONNX model, or cut short: {_first_line(error)}") from None


@cache
def _bound_memory(onnxruntime: Any) -> None:
    """Let all sessions of this process share one arena: a graph that asks for more fails, and nothing else does."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(info, onnxruntime.OrtArenaCfg({"max_mem": ARENA_OCTETS}))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
