"""Captures for both methods: their flows' embeddings, made while they are read for their fingerprints.

What is enrolled gets a flow side, and what is to be identified is compared with one.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path

from ethogram.config import FlowSettings
from ethogram.errors import InputError, LibraryError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.library import Library
from ethogram.pipeline.embed_stream import Embedded, EmbeddingListener
from ethogram.pipeline.library_embeddings import embeddings_path, load_embeddings
from ethogram.pipeline.representations import PACKAGED, open_embedding
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.needs import absence
from ethogram.schema import Windows

__all__ = ["EnrolFlows", "IdentifyFlows", "digests_of", "encoder_for"]

_EMBEDDING = "embedding flows"


def encoder_for(model: Path | None) -> OnnxEncoder | None:
    """The encoder a user names, else the packaged one; None where that or what runs it is not installed."""
    if model is None and (not PACKAGED.exists() or absence(_EMBEDDING, "onnxruntime")):
        return None
    return open_embedding(model, threads=1)


def digests_of(library: Library, windows: Windows, source: str) -> list[str | None]:
    """The entry that each item became when it was enrolled from a source; None where it was not.

    The same window of a device may be known from another source, with other counts: that is another entry.
    """
    known = {
        (o.device, o.start, o.end): entry.digest for entry in library.entries for o in entry.observed
        if o.source == source
    }  # fmt: skip
    return [known.get(row) for row in windows.items.select("device", "start", "end").iter_rows()]


class EnrolFlows:
    """Embeds the flows of what is enrolled, while its captures are read.

    Parameters
    ----------
    model
        The encoder; without one the packaged, where there is one.
    extend, library
        A library that is added to: where it is, and what was read of it.
    devices, flow, span
        As the captures are read.
    stretch_s
        Length of the windows that are enrolled.

    Attributes
    ----------
    listener
        For :func:`ethogram.pipeline.inputs.read_windows`; None where there is no encoder.
    messages
        Lines for people.

    Raises
    ------
    LibraryError
        When the library that is added to was enrolled with another encoder.
    """

    def __init__(
        self, model: Path | None = None, *, extend: Path | None = None, library: Library | None = None,
        devices: Path | None = None, flow: FlowSettings | None = None,
        span: tuple[datetime | None, datetime | None] = (None, None), stretch_s: int | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._before: FlowStore | None = None
        self.messages: list[str] = []
        if extend is not None and library is not None:
            self._before, said = load_embeddings(extend, library)
            self.messages += filter(None, [said])
        encoder = encoder_for(model)
        if encoder is None and (why := absence(_EMBEDDING, "onnxruntime")):
            self.messages.append(f"fingerprints alone are enrolled: {why}")
        if encoder is not None and self._before is not None and self._before.encoder != encoder.digest:
            which = f"{model}" if model is not None else "the encoder that comes along"
            raise LibraryError(
                f"{extend}: was enrolled with encoder {self._before.encoder}, and {which} is {encoder.digest}: "
                "name the same one by --encoder, or add fingerprints alone by --no-flows"
            )
        self.listener = None if encoder is None else EmbeddingListener(
            encoder, devices=devices, flow=flow, span=span, stretch_s=stretch_s)  # fmt: skip

    def store(self, windows: Windows, library: Library, source: str) -> FlowStore | None:
        """The flow side of the library after these windows were enrolled into it, from a source of that name.

        Raises
        ------
        InputError
            When an encoder was named, and the inputs have no packets.
        """
        if self.listener is None:
            return self._before
        found = self.listener.embedded()
        if not found.flows and self._model is not None:
            raise InputError(
                "no custom flow of a device: an encoder needs TCP or UDP over IPv4 in captures; "
                "--no-flows enrols fingerprints alone"
            )
        if not found.flows:
            self.messages.append(f"fingerprints alone are enrolled: the input has no {self.listener.lacking}")
            return self._before
        added = FlowStore.of(found.encoder, found.of(windows), digests_of(library, windows, source))
        embedded = sum(map(len, added.z.values()))
        self.messages.append(f"custom flows: {found.flows:,} read, {embedded:,} kept as embeddings")
        return added if self._before is None else added.merge(self._before)


class IdentifyFlows:
    """Embeds the flows of what is to be identified, while its captures are read.

    Parameters
    ----------
    path, library
        Where the library is, and what was read of it.
    model
        The encoder it was enrolled with; without one the packaged, where that is the one.
    devices, flow, span
        As the captures are read.
    stretch_s
        Length of the shortest windows that verdicts are about; None: of whole devices.

    Attributes
    ----------
    library_side
        The flow side of the library, where there is one that can be used.
    listener
        For :func:`ethogram.pipeline.inputs.read_windows`; None where flows cannot be used.
    messages
        Lines for people: what is used, and why not more; complete after :meth:`items`.

    Raises
    ------
    LibraryError
        When an encoder is named, and the library's flow side is missing, or was made with another.
    """

    def __init__(
        self, path: Path, library: Library, model: Path | None = None, *, devices: Path | None = None,
        flow: FlowSettings | None = None, span: tuple[datetime | None, datetime | None] = (None, None),
        stretch_s: int | None = None,
    ) -> None:  # fmt: skip
        self.listener: EmbeddingListener | None = None
        self.library_side, said = load_embeddings(path, library)
        self.messages: list[str] = []
        if self.library_side is None:
            if model is not None:
                raise LibraryError(said or f"{path}: has no flow side ({embeddings_path(path).name}): enrol captures")
            self.messages += [f"fingerprints alone: {said}"] if said else []
            return
        self.messages += [said] if said else []
        encoder = encoder_for(model)
        wanted = self.library_side.encoder
        if encoder is None or encoder.digest != wanted:
            if model is not None and encoder is not None:
                raise LibraryError(
                    f"{model}: encoder {encoder.digest}, but {embeddings_path(path)} was made with {wanted}"
                )
            # Without what runs an encoder none can be named either.
            why = absence(_EMBEDDING, "onnxruntime") if encoder is None else None
            why = why or f"{embeddings_path(path)} was made with encoder {wanted}; --encoder names it"
            self.messages.append(f"fingerprints alone: {why}")
            return
        self.listener = EmbeddingListener(encoder, devices=devices, flow=flow, span=span, stretch_s=stretch_s)

    @cached_property
    def _embedded(self) -> Embedded | None:
        return None if self.listener is None else self.listener.embedded()

    def items(self, windows: Windows) -> FlowWindows | None:
        """The embedded flows of items, after their captures were read; None where fingerprints stand alone."""
        if self.listener is None or self._embedded is None or self.library_side is None:
            return None
        if not self._embedded.flows:
            self.messages.append(f"fingerprints alone: the input has no {self.listener.lacking}")
            return None
        items = self._embedded.of(windows)
        have = int((items.flows > 0).sum())
        self.messages.append(
            f"fingerprints and embeddings: {have:,} of {len(items):,} items have custom flows; "
            f"encoder {self.library_side.encoder}"
        )
        return items

    def extended(self, windows: Windows, library: Library, source: str) -> FlowStore | None:
        """The flow side after windows of what was read were enrolled into the library, too, from that source."""
        if self._embedded is None or self.library_side is None:
            return self.library_side
        own = FlowStore.of(self._embedded.encoder, self._embedded.of(windows), digests_of(library, windows, source))
        return own.merge(self.library_side)
