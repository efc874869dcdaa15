"""The pictures on a model's surfaces."""

from __future__ import annotations

from typing import Any

from dam.errors import BadInput
from dam.ingest import inner
from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable
from dam.renditions import pictures


def decode(notes: list[str], name: str, data: bytes, most_megapixels: float) -> Any | None:
    """Decode a texture; None, and a note, when nothing here can.

    :raises Unusable: it is damaged, or larger than allowed.
    """
    try:
        return inner.picture(data, most_megapixels)
    except pictures.NoDecoder:
        notes.append(f"The texture {name} can't be shown: nothing here decodes it.")
        return None
    except BadInput as error:
        raise Unusable(f"The model's texture {name} is damaged. ({error.what})", remedy=AGAIN) from error
