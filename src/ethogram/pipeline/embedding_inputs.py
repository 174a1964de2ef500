"""Captures for both methods: their flows' embeddings, made while they are read for their fingerprints.

What is enrolled gets a flow side, and what is to be identified is compared with one.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ethogram.errors import InputError, LibraryError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.library import Library
from ethogram.pipeline.embed_stream import Embedded, EmbeddingListener
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.library_embeddings import embeddings_path
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.representations import PACKAGED, open_embedding
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.needs import absence
from ethogram.schema import Windows

__all__ = ["EnrolmentEmbedder", "IdentificationEmbedder", "digests_of", "encoder_for"]

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


def _listener(encoder: OnnxEncoder, reading: ReadOptions | None, stretch_s: int | None) -> EmbeddingListener:
    reading = reading or ReadOptions()
    return EmbeddingListener(
        encoder, devices=reading.devices, devices_only=reading.devices_only, flow=reading.flow, span=reading.span,
        stretch_s=stretch_s,
        rename=None if reading.pseudonymiser is None else reading.pseudonymiser.pseudonyms.devices,
    )  # fmt: skip


class EnrolmentEmbedder:
    """Embeds the flows of captures while they are read for enrolment.

    Parameters
    ----------
    model
        The encoder; None: the bundled one, if it can be used.
    reading
        How captures are read.
    extend
        The library that is extended.
    stretch_s
        Length of the windows that are enrolled, in seconds.

    Attributes
    ----------
    listener
        For :func:`ethogram.pipeline.inputs.read_windows`; None where there is no encoder.
    messages
        Lines for the user.

    Raises
    ------
    LibraryError
        If the extended library was enrolled with another encoder.
    """

    def __init__(
        self, model: Path | None = None, reading: ReadOptions | None = None, *, extend: OpenLibrary | None = None,
        stretch_s: int | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._before = None if extend is None else extend.store
        self.messages: list[str] = [] if extend is None or not extend.message else [extend.message]
        encoder = encoder_for(model)
        if encoder is None and (why := absence(_EMBEDDING, "onnxruntime")):
            self.messages.append(f"enrolling fingerprints only: {why}")
        if encoder is not None and extend is not None and self._before and self._before.encoder != encoder.digest:
            which = f"{model}" if model is not None else "the bundled encoder"
            raise LibraryError(
                f"{extend.path}: was enrolled with encoder {self._before.encoder}, but {which} is {encoder.digest}: "
                "name the same encoder with --encoder, or add fingerprints only with --no-flows"
            )
        self.listener = None if encoder is None else _listener(encoder, reading, stretch_s)

    def store(self, windows: Windows, library: Library, source: str) -> FlowStore | None:
        """The flow side of the library after these windows were enrolled into it, from a source of that name.

        Raises
        ------
        InputError
            When an encoder was named, and the inputs have no packets.
        """
        if self.listener is None:
            return self._before
        embedded_flows = self.listener.embedded()
        if not embedded_flows.flows and self._model is not None:
            raise InputError(
                "no custom flow of a device: an encoder needs captures with TCP or UDP over IPv4; "
                "--no-flows enrols fingerprints only"
            )
        if not embedded_flows.flows:
            self.messages.append(f"enrolling fingerprints only: the input has no {self.listener.lacking}")
            return self._before
        added = FlowStore.of(embedded_flows.encoder, embedded_flows.of(windows), digests_of(library, windows, source))
        embedded = sum(map(len, added.z.values()))
        self.messages.append(f"custom flows: {embedded_flows.flows:,} read, {embedded:,} kept as embeddings")
        return added if self._before is None else added.merge(self._before)


class IdentificationEmbedder:
    """Embeds the flows of captures while they are read for identification.

    Parameters
    ----------
    known
        The library and its embedded flows.
    model
        The encoder it was enrolled with; None: the bundled one, if it is that.
    reading
        How captures are read.
    stretch_s
        Length of the shortest windows that verdicts are about, in seconds; None: whole devices.

    Attributes
    ----------
    listener
        For :func:`ethogram.pipeline.inputs.read_windows`; None where embeddings cannot be used.
    messages
        Lines for the user: what is used, and why not more; complete after :meth:`items`.

    Raises
    ------
    LibraryError
        If an encoder is named, and the library has no embedded flows, or those of another encoder.
    """

    def __init__(
        self, known: OpenLibrary, model: Path | None = None, reading: ReadOptions | None = None, *,
        stretch_s: int | None = None,
    ) -> None:  # fmt: skip
        self.listener: EmbeddingListener | None = None
        self._store = known.store
        self.messages: list[str] = []
        place = embeddings_path(Path(known.path or "library"))
        if known.store is None:
            if model is not None:
                reason = f"{known.path or known.name}: has no embedded flows ({place.name}): enrol captures"
                raise LibraryError(known.message or reason)
            self.messages += [f"using fingerprints only: {known.message}"] if known.message else []
            return
        self.messages += [known.message] if known.message else []
        encoder = encoder_for(model)
        wanted = known.store.encoder
        if encoder is None or encoder.digest != wanted:
            if model is not None and encoder is not None:
                raise LibraryError(f"{model}: encoder {encoder.digest}, but {place} was made with {wanted}")
            # Without ONNX Runtime, naming an encoder does not help.
            why = absence(_EMBEDDING, "onnxruntime") if encoder is None else None
            why = why or f"{place} was made with encoder {wanted}; name it with --encoder"
            self.messages.append(f"using fingerprints only: {why}")
            return
        self.listener = _listener(encoder, reading, stretch_s)

    @cached_property
    def _embedded(self) -> Embedded | None:
        return None if self.listener is None else self.listener.embedded()

    def items(self, windows: Windows) -> FlowWindows | None:
        """The embedded flows of items, after their captures were read; None where fingerprints stand alone."""
        if self.listener is None or self._embedded is None or self._store is None:
            return None
        if not self._embedded.flows:
            self.messages.append(f"using fingerprints only: the input has no {self.listener.lacking}")
            return None
        items = self._embedded.of(windows)
        have = int((items.flows > 0).sum())
        self.messages.append(
            f"fingerprints and embeddings: {have:,} of {len(items):,} items have custom flows; "
            f"encoder {self._store.encoder}"
        )
        return items

    def extended(self, windows: Windows, library: Library, source: str) -> FlowStore | None:
        """The flow side after windows of what was read were enrolled into the library, too, from that source."""
        if self._embedded is None or self._store is None:
            return self._store
        added = FlowStore.of(self._embedded.encoder, self._embedded.of(windows), digests_of(library, windows, source))
        return added.merge(self._store)
