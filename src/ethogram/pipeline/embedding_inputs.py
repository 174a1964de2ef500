"""Embed flows of captures while they are read for fingerprints, for enrolment and for identification."""

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
    """The encoder at a path, or the packaged one; None if the packaged encoder or ONNX Runtime is not installed."""
    if model is None and (not PACKAGED.exists() or absence(_EMBEDDING, "onnxruntime")):
        return None
    return open_embedding(model, threads=1)


def digests_of(library: Library, windows: Windows, source: str) -> list[str | None]:
    """Digest of the entry that each item was enrolled as from a source; None for items that were not enrolled.

    The same window of a device may be enrolled from another source with other counts; that is a different entry.
    """
    known = {
        (o.device, o.start, o.end): entry.digest for entry in library.entries for o in entry.observed
        if o.source == source
    }  # fmt: skip
    return [known.get(row) for row in windows.items.select("device", "start", "end").iter_rows()]


class EnrolFlows:
    """Embeds flows while captures are read for enrolment.

    Parameters
    ----------
    model
        The encoder; default: the packaged one, if installed.
    extend, library
        Path and content of a library to add to.
    devices, flow, span
        As for reading the captures.
    stretch_s
        Length of the enrolled windows in seconds.

    Attributes
    ----------
    listener
        For :func:`ethogram.pipeline.inputs.read_windows`; None if there is no encoder.
    messages
        Messages for the user.

    Raises
    ------
    LibraryError
        When the library to add to was enrolled with another encoder.
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
            self._before, message = load_embeddings(extend, library)
            self.messages += filter(None, [message])
        encoder = encoder_for(model)
        if encoder is None and (why := absence(_EMBEDDING, "onnxruntime")):
            self.messages.append(f"enrolling fingerprints only: {why}")
        if encoder is not None and self._before is not None and self._before.encoder != encoder.digest:
            which = f"{model}" if model is not None else "the packaged encoder"
            raise LibraryError(
                f"{extend} was enrolled with encoder {self._before.encoder}, but {which} is {encoder.digest}: "
                "name the same encoder with --encoder, or add fingerprints only with --no-flows"
            )
        self.listener = None if encoder is None else EmbeddingListener(
            encoder, devices=devices, flow=flow, span=span, stretch_s=stretch_s)  # fmt: skip

    def store(self, windows: Windows, library: Library, source: str) -> FlowStore | None:
        """The embeddings of the library after these windows were enrolled into it from the named source.

        Raises
        ------
        InputError
            When an encoder was named but the inputs have no custom flow.
        """
        if self.listener is None:
            return self._before
        embedded = self.listener.embedded()
        if not embedded.flows and self._model is not None:
            raise InputError(
                "no custom flow of a device: an encoder needs captures with TCP or UDP over IPv4; "
                "--no-flows enrols fingerprints only"
            )
        if not embedded.flows:
            self.messages.append(f"enrolling fingerprints only: the input has no {self.listener.lacking}")
            return self._before
        added = FlowStore.of(embedded.encoder, embedded.of(windows), digests_of(library, windows, source))
        kept = sum(map(len, added.z.values()))
        self.messages.append(f"custom flows: {embedded.flows:,} read, {kept:,} kept as embeddings")
        return added if self._before is None else added.merge(self._before)


class IdentifyFlows:
    """Embeds flows while captures are read for identification.

    Parameters
    ----------
    path, library
        Path and content of the library.
    model
        The encoder of the library; default: the packaged one, if the library was enrolled with it.
    devices, flow, span
        As for reading the captures.
    stretch_s
        Length in seconds of the shortest windows that get verdicts; None: verdicts are on whole devices.

    Attributes
    ----------
    library_side
        The embeddings of the library; None if missing or unusable.
    listener
        For :func:`ethogram.pipeline.inputs.read_windows`; None if embeddings cannot be used.
    messages
        Messages for the user: what is used, and why not more; complete after :meth:`items`.

    Raises
    ------
    LibraryError
        When an encoder is named, but the embeddings of the library are missing or were made with another one.
    """

    def __init__(
        self, path: Path, library: Library, model: Path | None = None, *, devices: Path | None = None,
        flow: FlowSettings | None = None, span: tuple[datetime | None, datetime | None] = (None, None),
        stretch_s: int | None = None,
    ) -> None:  # fmt: skip
        self.listener: EmbeddingListener | None = None
        self.library_side, message = load_embeddings(path, library)
        self.messages: list[str] = []
        if self.library_side is None:
            if model is not None:
                raise LibraryError(
                    message or f"{path} has no embeddings ({embeddings_path(path).name}): enrol captures to make them"
                )
            self.messages += [f"using fingerprints only: {message}"] if message else []
            return
        self.messages += [message] if message else []
        encoder = encoder_for(model)
        wanted = self.library_side.encoder
        if encoder is None or encoder.digest != wanted:
            if model is not None and encoder is not None:
                raise LibraryError(
                    f"{model}: encoder {encoder.digest}, but {embeddings_path(path)} was made with {wanted}"
                )
            # Without ONNX Runtime no encoder can be named, either.
            why = absence(_EMBEDDING, "onnxruntime") if encoder is None else None
            why = why or f"{embeddings_path(path)} was made with encoder {wanted}; name it with --encoder"
            self.messages.append(f"using fingerprints only: {why}")
            return
        self.listener = EmbeddingListener(encoder, devices=devices, flow=flow, span=span, stretch_s=stretch_s)

    @cached_property
    def _embedded(self) -> Embedded | None:
        return None if self.listener is None else self.listener.embedded()

    def items(self, windows: Windows) -> FlowWindows | None:
        """Embedded flows of the items, after the captures were read; None if only fingerprints are used."""
        if self.listener is None or self._embedded is None or self.library_side is None:
            return None
        if not self._embedded.flows:
            self.messages.append(f"using fingerprints only: the input has no {self.listener.lacking}")
            return None
        items = self._embedded.of(windows)
        with_flows = int((items.flows > 0).sum())
        self.messages.append(
            f"fingerprints and embeddings: {with_flows:,} of {len(items):,} items have custom flows; "
            f"encoder {self.library_side.encoder}"
        )
        return items

    def extended(self, windows: Windows, library: Library, source: str) -> FlowStore | None:
        """The embeddings of the library after some of the windows were enrolled into it from the named source."""
        if self._embedded is None or self.library_side is None:
            return self.library_side
        digests = digests_of(library, windows, source)
        added = FlowStore.of(self._embedded.encoder, self._embedded.of(windows), digests)
        return added.merge(self.library_side)
