"""The tagger of what can be seen, from what the gate measured: orientation, colours, transparency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dam.enrich.taggers import Said, Tagger

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.taxonomy import Taxonomy


class Visible(Tagger):
    """Orientation, colours by name, transparency. Facets that the vocabulary does not have are left out."""

    @property
    def model(self) -> str:
        """Measured, not guessed."""
        return "measures"

    @property
    def version(self) -> str:
        """Raised when the measures change."""
        return "2"

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterator[Said]:
        """Yield terms of the facets orientation, colour and technique."""
        known = taxonomy.vocabulary  # asks its files whether they changed
        return (said for said in _seen(version) if said.term_id in known)


def _seen(version: Version) -> Iterator[Said]:
    if version.width and version.height:
        ratio = version.width / version.height
        shape = "landscape" if ratio > 1.05 else "portrait" if ratio < 0.95 else "square"
        yield Said(f"orientation/{shape}", 1.0, f"{version.width} × {version.height} pixels")
    for index, colour in enumerate(version.technical.get("colours", [])):
        most = "covers most of the picture" if index == 0 else "covers a seventh of the picture or more"
        yield Said(f"colour/{colour}", 0.8 if index == 0 else 0.6, most)
    if version.technical.get("transparent"):
        yield Said("technique/transparent", 0.75, "parts of it are transparent")
    elif "transparent" not in version.technical and version.technical.get("has_alpha"):
        yield Said("technique/transparent", 0.75, "it has an alpha channel")
