"""An image-text model of your own, as ONNX: a picture's vector against the vectors of labels.

The model is the image half (as CLIP's or SigLIP's): one input of N × 3 × height × width, one output of N × length.
The labels' vectors, made once by its text half, stand beside it in an ``.npz`` file: ``labels`` (words), ``vectors``
(a row each), and, where the model differs, ``mean`` and ``std`` (of red, green and blue, 0..1) and ``scale``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from dam.enrich.taggers import Failed, Options, Said, Tagger
from dam.enrich.taggers.pictures import preview

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.taxonomy import Taxonomy

    Floats = NDArray[np.float32]

#: What CLIP's pictures are normalised by.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class OnnxOptions(Options):
    """Where model and labels are; empty: not configured. :param most: at most so many terms a picture."""

    model: str = ""
    labels: str = ""
    most: int = Field(5, ge=1)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels with their vectors, each of length one."""

    words: list[str]
    vectors: Floats
    mean: Floats
    std: Floats
    scale: float

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Read them from an ``.npz`` file."""
        with np.load(path, allow_pickle=False) as parts:
            vectors = parts["vectors"].astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return cls(
                [str(word) for word in parts["labels"].tolist()],
                vectors,
                np.asarray(parts.get("mean", _MEAN), dtype=np.float32),
                np.asarray(parts.get("std", _STD), dtype=np.float32),
                float(parts.get("scale", 100.0)),
            )

    def shares(self, vector: Floats) -> Floats:
        """Return how likely each label is for a picture's vector; together they are one."""
        logits = self.scale * (self.vectors @ (vector / np.linalg.norm(vector)))
        raised = np.exp(logits - logits.max())
        found: Floats = raised / raised.sum()
        return found


class Onnx(Tagger):
    """Says which labels a picture is closest to."""

    slow: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = OnnxOptions

    @property
    def model(self) -> str:
        """The model's file."""
        return Path(self.options.model).name

    @cached_property
    def version(self) -> str:
        """SHA-256 of model and labels, shortened."""
        digest = hashlib.sha256()
        for path in (self.options.model, self.options.labels):
            with Path(path).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()[:16]

    def unready(self) -> str | None:
        """Return what is not configured, not there or not installed."""
        for name in ("model", "labels"):
            path = getattr(self.options, name)
            if not path:
                return f"it is not configured: options.{name} names no file"
            if not Path(path).is_file():
                return f"options.{name} names {path}, which is not there"
        if find_spec("onnxruntime") is None:
            return "it is configured, and the package onnxruntime is not installed"
        return None

    @cached_property
    def _labels(self) -> Labels:
        return Labels.read(Path(self.options.labels))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1  # workers are processes, one a core
        return onnxruntime.InferenceSession(self.options.model, settings, providers=["CPUExecutionProvider"])

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterator[Said]:
        """Yield the likeliest labels that are words of the vocabulary."""
        vector = self._vector(preview(self.services, session, version).data)
        shares = self._labels.shares(vector)
        for at in np.argsort(-shares)[: self.options.most].tolist():
            word = self._labels.words[at]
            if (term := taxonomy.vocabulary.find(word)) and shares[at] >= 0.01:
                yield Said(term, round(float(shares[at]), 4), f"it looks like “{word}”")

    def _vector(self, data: bytes) -> Floats:
        """Return a picture's vector: shrunk and cropped to the model's square, normalised, asked."""
        import pyvips

        wanted = self._session.get_inputs()[0]
        height, width = (side if isinstance(side, int) else 224 for side in wanted.shape[2:4])
        try:
            picture = pyvips.Image.thumbnail_buffer(data, width, height=height, crop="centre")
        except pyvips.Error as error:
            raise Failed("The preview can't be decoded.", billed=False) from error
        picture = picture.flatten(background=255) if picture.hasalpha() else picture
        picture = picture.colourspace("srgb")[0:3].cast("uchar")
        seen = np.ndarray(buffer=picture.write_to_memory(), dtype=np.uint8, shape=(picture.height, picture.width, 3))
        seen = np.asarray(seen, dtype=np.float32) / 255
        ready = ((seen - self._labels.mean) / self._labels.std).transpose(2, 0, 1)[None].astype(np.float32)
        found: Floats = np.asarray(self._session.run(None, {wanted.name: ready})[0], dtype=np.float32).reshape(-1)
        return found
