"""Damages files as transfers and disks do: cut off, bytes changed, blocks lost or doubled."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import world
from dam.ingest.inspection import CantCheck, Unusable

examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for damaged forms of a file."""
    at = st.integers(0, len(whole) - 1)

    def changed(spots: list[tuple[int, int]]) -> bytes:
        made = bytearray(whole)
        for place, value in spots:
            made[place] = value
        return bytes(made)

    def without(block: tuple[int, int]) -> bytes:
        start, length = block
        return whole[:start] + whole[start + length :]

    def zeroed(block: tuple[int, int]) -> bytes:
        start, length = block
        return whole[:start] + bytes(len(whole[start : start + length])) + whole[start + length :]

    length = st.integers(1, 512)
    return st.one_of(
        at.map(lambda end: whole[:end]),
        st.lists(st.tuples(at, st.integers(0, 255)), min_size=1, max_size=6).map(changed),
        st.tuples(at, length).map(without),
        st.tuples(at, length).map(zeroed),
    )


def refused_or_told(path: Path, module: str, **limits: object) -> None:
    """Let an inspector look into a file; fail unless it tells what it found, or refuses in a sentence."""
    try:
        told = world.inspected(path, module, side=160, **limits)
    except (Unusable, CantCheck) as error:
        sentence = error.what
        if not sentence[:1].isupper() or not sentence.rstrip(")").strip():
            raise AssertionError(f"not a sentence for people: {sentence!r}") from error
        return
    for proof in told.proofs:
        if proof.media_type.startswith("image/"):
            proof.picture()
