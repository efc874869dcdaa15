"""What a look inside a file tells: everything the gate learns of it, whatever its format.

An inspection is plain data that travels as JSON from the decoding process (:mod:`dam.ingest.sandbox`); larger
things, such as previews, travel as files in a scratch folder that both processes know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dam.errors import BadInput


class Unusable(BadInput):
    """The file is damaged, or not safe to keep among the others: it goes into quarantine."""


class CantCheck(BadInput):
    """The file may be sound, but nothing here can look inside it: it is kept until a person says what it is."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A small stand-in for a file that people look at or listen to.

    :param name: ``preview``, ``thumbnail``, ``poster``, ``proxy``, ``storyboard``, ``waveform``, ``page-2`` …
    :param file: its file's name in the scratch folder. :param media_type: of that file.
    :param width: in pixels; 0 for what has none. :param height: likewise.
    :param recipe: the recipe's fingerprint, or what else decides the bytes beside the source; names the rendition.
    """

    name: str
    file: str
    media_type: str
    width: int = 0
    height: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Inspection:
    """What a full decode tells of a file.

    :param width: of the upright picture, in pixels. :param height: likewise. :param seconds: of what plays.
    :param pixel_hash: XXH3 (128 bits, hex), the same for files that show the same pixels and differ in metadata
        alone, whatever the recipes. A JPEG or WebP is hashed at the smallest scale of at least 1,500 pixels, which
        costs no decode of its own, so equal hashes are a strong hint; who merges two files compares them in full.
    :param phash: 64-bit perceptual hash, signed, as PostgreSQL keeps it.
    :param key_frames: perceptual hashes of a video's key frames, in order.
    :param cuts: perceptual hashes of the first frames of its shots, of the first few hundred.
    :param chromaprint: fingerprint of the sound, compressed as ``fpcalc`` prints it.
    :param colours: names of the colours that cover most, the first one most.
    :param technical: what the format says of itself. :param embedded: raw metadata by the reader's key.
    :param words: text inside (pages, slides, drawings), for search and taggers.
    :param proofs: what was made for people to look at. :param notes: remarks for the batch's receipt.
    :param kind: of asset, where only the content tells (a container for video and sound); else empty.
    :param media_type: likewise.
    """

    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    pixel_hash: str | None = None
    phash: int | None = None
    key_frames: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    chromaprint: str | None = None
    colours: list[str] = field(default_factory=list)
    technical: dict[str, Any] = field(default_factory=dict)
    embedded: dict[str, Any] = field(default_factory=dict)
    words: str = ""
    proofs: list[Proof] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: str = ""
    media_type: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the inspection as JSON and the catalogue keep it."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        kept: dict[str, Any] = _storable(told | {"proofs": [asdict(proof) for proof in self.proofs]})
        return kept

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Inspection:
        """Return the inspection that :meth:`as_dict` told."""
        return cls(**told | {"proofs": [Proof(**proof) for proof in told.get("proofs", [])]})


#: PostgreSQL keeps neither the letter zero nor halves of letters.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _storable(value: Any) -> Any:
    """Return a value without what JSON or PostgreSQL can't keep: strange letters, and numbers that are none."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Job:
    """A file to look into, and how far a look may go.

    :param path: of its bytes; may be a nameless file, so go by ``name``. :param name: as it was sent.
    :param scratch: an empty folder for proofs. :param limits: ``include/taxonomy/limits.yaml``, as a plain dict.
    :param recipes: ``include/templates/recipes.yaml``, the path.
    :param more_time: asks for so many seconds in all, where a file takes longer than its size lets expect.
    """

    path: Path
    name: str
    scratch: Path
    limits: dict[str, Any]
    recipes: Path
    more_time: Callable[[float], None] = lambda _seconds: None
