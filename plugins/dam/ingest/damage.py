"""What a parser raises over damaged bytes becomes a refusal in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dam.errors import DamError
from dam.ingest.inspection import Unusable

AGAIN = "Ask the sender for it again."

_CUT = re.compile(
    r"no element found|unclosed|truncat|unexpected end|end of (file|stream|data)|\bEOF\b|not enough data|premature"
    r"|ended before|buffer is smaller|requires a buffer|incomplete",
    re.IGNORECASE,
)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn whatever is raised inside into :class:`~dam.ingest.inspection.Unusable`, the detail in brackets.

    :param what: the thing that is damaged, with its article: ``The font``, ``The part word/document.xml``.
    """
    try:
        yield
    except (DamError, MemoryError):
        raise
    except Exception as error:  # over foreign bytes a parser may raise anything
        raise unusable(what, error) from error


def unusable(what: str, error: BaseException | str) -> Unusable:
    """Return the refusal for a parser's complaint."""
    detail = tidy(error)
    cut = "cut off or damaged" if _CUT.search(detail) else "damaged"
    return Unusable(f"{what} is {cut}. ({detail})", remedy=AGAIN)


def locked(what: str) -> Unusable:
    """Return the refusal of what asks for a password."""
    return Unusable(f"{what} asks for a password.", remedy="Ask the sender for one without.")


def tidy(error: BaseException | str) -> str:
    """Return a complaint's first line without paths, addresses and control characters."""
    told = str(error).strip()
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    # libvips names first what it was asked to do
    first = next((line for line in lines if not line.startswith("unable to call")), "")
    first = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>|(?<![\w:/])/(proc|tmp|home|var)/[^\s:,')]+", "the file", first)
    first = re.sub(r"[^\x20-\x7e\xa0-\uffff]", "", first)
    if not first:
        first = type(error).__name__ if isinstance(error, BaseException) else "no detail"
    elif isinstance(error, KeyError | IndexError | AttributeError | TypeError | AssertionError):
        first = f"{type(error).__name__}: {first}"
    return first[:200]
