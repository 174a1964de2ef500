"""What the ladder learns of a library is kept beside it: the fitted products, and the identities of its labels.

The products of ``home.jsonl.gz`` and of the packaged library together are in ``home.learnt-ladder.npz``, those of the
packaged library alone in the package. Like verdict models (:mod:`ethogram.pipeline.learnt`), a file is used only for
the libraries and code that it was made from, and only if the knowledge pack still names its vendors as it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from ethogram._version import __version__
from ethogram.errors import EthogramError, LibraryError
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.ladder_library import LadderLibrary
from ethogram.identify.learnt_file import code_digest, read_learnt, write_learnt
from ethogram.identify.library import Identity, Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import canonical, canonical_vendor, packaged_ladder, with_packaged
from ethogram.pipeline.library import PACKAGED, OpenLibrary, open_library
from ethogram.pipeline.unread_library import file_digest, learnt_ladder_path

__all__ = ["LearntLadder", "keep_ladder", "learn_ladder", "write_bundled_ladder"]


@dataclass
class LearntLadder:
    """Fitted products, and who the labels of a library are.

    Parameters
    ----------
    products
        Fitted on the packaged library and on entries of the user's that name a vendor or a kind.
    identities
        Identity of each label of the user's library; empty for the packaged one.
    messages
        Whether it was read or learnt, and why; for the detailed log.
    """

    products: LadderLibrary
    identities: dict[str, Identity]
    messages: list[str] = field(default_factory=list)


def learn_ladder(known: OpenLibrary, knowledge: Knowledge) -> LearntLadder:
    """Read what the ladder learnt of a library, or learn it, and keep it beside the library.

    Parameters
    ----------
    known
        The library; if it was not read from a file, nothing is read or kept.
    knowledge
        Names of vendors.
    """
    file = known.file
    path = None if file is None else learnt_ladder_path(file)
    reason = ""
    if path is not None:
        try:
            header, value = read_learnt(path)
            wanted = _key(known)
            stale = [name for name, text in wanted.items() if header.get(name) != text]
            if not stale or (known.bundled and stale == ["code"]):
                return _of_file(value, knowledge, path)
            reason = f"{path.name} is of another {' and '.join(stale)}"
        except LibraryError as error:
            reason = str(error) if path.exists() else ""
    learnt, value = _fit(known, knowledge)
    if path is not None and not known.bundled:
        learnt.messages.append(_keep(value, path, _key(known, file_octets=True), reason))
    return learnt


def keep_ladder(written: OpenLibrary) -> list[str]:
    """Learn a library that was just written, so that the first ``identify`` need not; returns lines for the log."""
    return learn_ladder(written, Knowledge.bundled()).messages


def write_bundled_ladder(library: Library, folder: Path) -> Path:
    """Write what the ladder learns of the packaged library, for the package."""
    path = learnt_ladder_path(folder / PACKAGED)
    packaged = OpenLibrary.opened(library, bundled=True)
    _, value = _fit(packaged, Knowledge.bundled())
    # Without the digest of the code: a test holds the file to be what this code learns.
    key = {**_key(packaged), "code": "package", "file": file_digest(folder / PACKAGED)}
    write_learnt(path, value, key, compress=True)
    return path


def _key(known: OpenLibrary, *, file_octets: bool = False) -> dict[str, str]:
    """What a file must have been made from."""
    key = {"version": __version__, "code": code_digest(), "library": known.digest}
    if not known.bundled:
        key["packaged"] = open_library().digest
    return {**key, "file": known.octets} if file_octets else key


def _fit(known: OpenLibrary, knowledge: Knowledge) -> tuple[LearntLadder, dict[str, Any]]:
    """Fit products; returns them, and what is to be kept of them."""
    library = with_packaged(known)
    canonical_identities = [canonical(entry.identity, knowledge) for entry in library.entries]
    products = LadderLibrary(packaged_ladder().behaviour).fit(library.windows(), canonical_identities)
    vendors = {entry.identity.vendor for entry in library.entries if entry.identity.vendor}
    identities = {} if known.bundled else _identities(known)
    value = {
        "products": products.products_, "models": products.models_,
        "vendors": {vendor: canonical_vendor(vendor, knowledge) for vendor in sorted(vendors)},
        "identities": [astuple(identity) for identity in identities.values()],
    }  # fmt: skip
    return LearntLadder(products, identities), value


def _identities(known: OpenLibrary) -> dict[str, Identity]:
    """Identity of each label; of merged libraries, that of the first library that has the label."""
    return {entry.identity.label: entry.identity for library in reversed(known.parts) for entry in library.entries}


def _of_file(value: Any, knowledge: Knowledge, path: Path) -> LearntLadder:
    """What a file holds, if the knowledge pack names vendors as it did.

    Raises
    ------
    LibraryError
        If it holds something else, or names vendors otherwise.
    """
    try:
        products, vendors = value["products"], value["vendors"]
        models = [(str(model), str(vendor), str(kind)) for model, vendor, kind in value["models"]]
        identities = [Identity(*map(str, fields)) for fields in value["identities"]]
        if not isinstance(products, CrossNetwork) or not isinstance(vendors, Mapping):
            raise LibraryError("it holds something else")
        if any(canonical_vendor(str(vendor), knowledge) != name for vendor, name in vendors.items()):
            raise LibraryError(f"{path.name} is of other names of vendors")
        library = LadderLibrary.of_fitted(products, models, packaged_ladder().behaviour)
    except (ValueError, TypeError, KeyError, AttributeError, EthogramError) as error:
        raise error if isinstance(error, LibraryError) else LibraryError(f"{path.name} holds something else") from None
    return LearntLadder(library, {who.label: who for who in identities}, [f"read what was learnt: {path}"])


def _keep(value: Mapping[str, Any], path: Path, key: Mapping[str, str], reason: str) -> str:
    """Write what was learnt, and say what was done."""
    why = f"learnt the levels anew: {reason}" if reason else "learnt the levels"
    try:
        write_learnt(path, value, key)
    except (EthogramError, OSError) as error:
        return f"{why}; not kept: {getattr(error, 'strerror', None) or error}"
    return f"{why}; kept in {path}"
