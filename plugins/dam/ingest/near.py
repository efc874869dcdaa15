"""Near-duplicates: what looks or sounds like something in the library, found at any size of it.

Pictures are found by multi-index hashing of their perceptual hash, in indexes over ``versions``. Films and sounds
have hundreds of hashes each, so an index holds a sample of them, their *marks*: every hash in pieces, mixed, and of
these numbers the lowest. The sample is of the content, not of moments (bottom-k sketch; Broder: On the resemblance
and containment of documents, 1997), so a copy has many of the same marks, whatever its encoder, length or start.
Those that share most marks are compared in full.

- Pictures are linked with pictures and with posters of films, by the picture.
- Films are linked with films, by their key frames; never by poster or sound alone. Of two that are, it is told
  whether the sound is the same. Their cuts, and what is heard, help to find them.
- Sounds are linked with sounds, by Chromaprint; a film that is black all through counts as its sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from dam.catalog.models import FingerprintMark, NearDuplicate, Version, VersionState, utcnow
from dam.ingest.media import chromaprint, sequences

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from dam.services import Services

#: From this part of their key frames on, two films are the same one.
SAME_FILM = 0.7
#: From this likeness on (:func:`dam.ingest.media.chromaprint.similarity`) two sounds are the same recording.
SAME_SOUND = 0.6
#: So many are linked to one version by one look-up, at most: the most alike.
MOST = 20
#: One look for near-duplicates at a time.
_TURN = text("SELECT pg_advisory_xact_lock(7316420003)")


def link(session: Session, version: Version, *, bits: int) -> None:
    """Link a version to those of other assets that look or sound like it; again, nothing changes.

    Workers take turns from here to the commit, so that of two alike at the same moment the second sees the first.

    :param bits: pictures are alike within so many bits of perceptual hash.
    """
    session.execute(_TURN)
    if version.phash is not None:
        _link_pictures(session, version, bits)
    if version.fingerprints:
        _link_fingerprints(session, version)


def _keep(session: Session, version: Version, other_id: str, **alike: Any) -> None:
    """Keep a pair, and how it is alike; what is known of it stays."""
    later, earlier = max(version.id, other_id), min(version.id, other_id)
    made = insert(NearDuplicate).values(
        version_id=later, other_id=earlier, found_at=utcnow(), **{"same_pixels": False, **alike}
    )
    session.execute(
        made.on_conflict_do_update(
            index_elements=["version_id", "other_id"],
            set_={
                name: func.coalesce(getattr(NearDuplicate, name), made.excluded[name])
                for name in ("distance", "key_frames", "sound")
            },
        )
    )


# ---------------------------------------------------------------------------------------------- pictures


def _link_pictures(session: Session, version: Version, bits: int) -> None:
    for other_id, distance, other_hash in near_duplicates(
        session,
        phash=int(version.phash or 0),
        asset_id=str(version.asset_id),
        version_id=version.id,
        bits=bits,
        films=not version.media_type.startswith("video/"),
    ):
        same = other_hash is not None and other_hash == version.pixel_hash
        _keep(session, version, other_id, distance=distance, same_pixels=same)


#: Each quarter's candidates are judged by the hash that its index holds; only what is near enough is read.
_NEAR = text("""
    SELECT v.id, bit_count((v.phash # :phash)::bit(64)) AS distance, v.pixel_hash FROM (
        SELECT id FROM versions WHERE phash IS NOT NULL AND ((phash >> 0) & 65535) = ANY(:q0)
            AND bit_count((phash # :phash)::bit(64)) <= :bits
        UNION SELECT id FROM versions WHERE phash IS NOT NULL AND ((phash >> 16) & 65535) = ANY(:q1)
            AND bit_count((phash # :phash)::bit(64)) <= :bits
        UNION SELECT id FROM versions WHERE phash IS NOT NULL AND ((phash >> 32) & 65535) = ANY(:q2)
            AND bit_count((phash # :phash)::bit(64)) <= :bits
        UNION SELECT id FROM versions WHERE phash IS NOT NULL AND ((phash >> 48) & 65535) = ANY(:q3)
            AND bit_count((phash # :phash)::bit(64)) <= :bits
    ) AS found CROSS JOIN LATERAL (  -- one by one: the planner takes them for a tenth of the library
        SELECT id, asset_id, phash, pixel_hash, media_type FROM versions WHERE versions.id = found.id OFFSET 0
    ) AS v
    WHERE v.id <> :id AND v.asset_id <> :asset AND (:films OR v.media_type NOT LIKE 'video/%')
    ORDER BY distance, v.id LIMIT :most
""")


def near_duplicates(
    session: Session, *, phash: int, asset_id: str, version_id: str, bits: int, films: bool = True
) -> list[tuple[str, int, str | None]]:
    """Return pictures of other assets whose perceptual hash is within ``bits``, the nearest :data:`MOST` first.

    Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing, 2012):
    of two hashes that differ in few bits, one of the four quarters differs in at most a quarter as many. Each
    quarter has an index, and is asked for all values that near.

    :param films: whether films are looked for by their posters.
    :returns: rows of version id, distance in bits, pixel hash.
    """
    quarters = {
        f"q{n}": [((phash >> shift) & 65535) ^ mask for mask in _masks(bits // 4)]
        for n, shift in enumerate((0, 16, 32, 48))
    }
    asked = {"phash": phash, "id": version_id, "asset": asset_id, "bits": bits, "films": films, "most": MOST}
    return [(row.id, row.distance, row.pixel_hash) for row in session.execute(_NEAR, asked | quarters)]


@cache
def _masks(bits: int) -> list[int]:
    """Return every 16-bit number with at most ``bits`` bits set."""
    return [sum(1 << at for at in places) for count in range(bits + 1) for places in combinations(range(16), count)]


# --------------------------------------------------------------------------------------- films and sounds


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What a film or a sound is found by.

    :param key_frames: as ``Version.fingerprints`` keeps them; empty for a sound. :param cuts: likewise.
    :param step: seconds from one key frame to the next. :param chromaprint: as ``Version.fingerprints`` keeps it.
    """

    key_frames: Sequence[int] = ()
    step: float = 1.0
    cuts: Sequence[int] = ()
    chromaprint: str | None = None

    @classmethod
    def of(cls, kept: dict[str, Any], step: float | None) -> Fingerprints:
        """Return those that the catalogue keeps of a version."""
        return cls(kept.get("key_frames", ()), step or 1.0, kept.get("cuts", ()), kept.get("chromaprint"))

    def like(self, other: Fingerprints) -> dict[str, float | None] | None:
        """Return how two are the same: ``{"key_frames", "sound"}`` from 0 to 1; None when they are not.

        Films are the same by what is shown; what is heard is told for these alone.
        """
        if bool(self.key_frames) != bool(other.key_frames):
            return None
        shown = self._film(other) if self.key_frames else None
        if shown is not None and shown < SAME_FILM:
            return None
        heard = None
        if self.chromaprint and other.chromaprint:
            heard = chromaprint.similarity(self.chromaprint, other.chromaprint)
        if shown is None and (heard or 0) < SAME_SOUND:
            return None
        return {"key_frames": shown, "sound": heard}

    def _film(self, other: Fingerprints) -> float:
        steps = (self.step, other.step)
        shown = sequences.of_key_frames(self.key_frames, other.key_frames, steps=steps)
        if max(steps) > _SPARSE:  # where one begins later, other moments of it are kept, but the same cuts
            shown = max(shown, sequences.of_key_frames(self.cuts, other.cuts))
        return shown


_SPARSE = 1.0  # seconds between key frames: when they stand further apart, much happens from one to the next
# what a mark was made of; a film's sound finds films alone, or a song in many films would hide its own copies
_FRAME, _SOUNDTRACK, _SOUND = 0, 1, 2
_SAMPLE = {"key_frames": 32, "cuts": 64, "chromaprint": 64}  # marks of a version, at most
_THIRDS = ((0, 21), (21, 21), (42, 22))  # of 64 bits: shift and width
_NEWEST = 64  # a mark finds so many; black frames and silence have no mark, but a company's closing card has
_SHARED = 2  # so many marks in common call for a comparison


def marks(prints: Fingerprints) -> list[int]:
    """Return the marks of a film or a sound, at most 160.

    Of two frames that differ in two bits, one third is the same. Items of sound are marks as they are: an eighth
    of a second later is another item, but an encoder leaves most of them alone.
    """
    found = _lowest(_pieces(prints.key_frames), "key_frames") | _lowest(_pieces(prints.cuts), "cuts")
    if prints.chromaprint:
        items = chromaprint.decode(prints.chromaprint)
        heard = items[items != chromaprint.SILENT].astype(np.uint64)
        heard |= np.uint64((_SOUNDTRACK if prints.key_frames else _SOUND) << 40)
        found |= _lowest(heard, "chromaprint")
    return sorted(found)


def _pieces(hashes: Sequence[int]) -> NDArray[np.uint64]:
    """Return the thirds of hashes that show something, each with its place."""
    array = sequences.seen(hashes)
    return np.concatenate(
        [
            (array >> np.uint64(shift)) & np.uint64((1 << width) - 1) | np.uint64(_FRAME << 40 | place << 32)
            for place, (shift, width) in enumerate(_THIRDS)
        ]
    )


def _lowest(values: NDArray[np.uint64], of: str) -> set[int]:
    """Return the lowest of the values once these are mixed (the last step of SplitMix64), as 63-bit numbers."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return set(np.unique((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1))[: _SAMPLE[of]].tolist())


def _link_fingerprints(session: Session, version: Version) -> None:
    prints = Fingerprints.of(version.fingerprints, version.technical.get("key_frame_seconds"))
    mine = marks(prints)
    if not mine:
        return
    for other_id, alike in alike_prints(session, prints, mine, asset_id=str(version.asset_id), version_id=version.id):
        _keep(session, version, other_id, **alike)
    keep_marks(session, version.id, mine)


#: A mark that few have says more than one that many have.
_CANDIDATES = text("""
    WITH shared AS (
        SELECT found.version_id, sum(1.0 / found.known) AS weight
        FROM unnest(CAST(:marks AS bigint[])) AS asked(mark) CROSS JOIN LATERAL (
            SELECT newest.version_id, count(*) OVER () AS known FROM (
                SELECT version_id FROM fingerprint_marks WHERE mark = asked.mark
                ORDER BY version_id DESC LIMIT :newest
            ) newest
        ) found
        GROUP BY found.version_id HAVING count(*) >= :shared
    )
    SELECT v.id, v.fingerprints, CAST(v.technical ->> 'key_frame_seconds' AS float) AS step
    FROM shared JOIN versions v ON v.id = shared.version_id
    WHERE v.id <> :id AND v.asset_id <> :asset AND v.state <> 'destroyed'
    ORDER BY shared.weight DESC, v.id DESC LIMIT :most
""")


def alike_prints(
    session: Session, prints: Fingerprints, mine: list[int], *, asset_id: str, version_id: str
) -> list[tuple[str, dict[str, float | None]]]:
    """Return films or sounds of other assets that are the same: version id, and what :meth:`Fingerprints.like` says.

    The work is bounded whatever the library holds: so many marks, the newest versions of each, and of these the
    :data:`MOST` that share most are compared.

    :param mine: marks of ``prints``.
    """
    asked = {"marks": mine, "newest": _NEWEST, "shared": _SHARED, "id": version_id, "asset": asset_id, "most": MOST}
    rows = session.execute(_CANDIDATES, asked).all()
    found = [(row.id, prints.like(Fingerprints.of(row.fingerprints, row.step))) for row in rows]
    return [(other_id, alike) for other_id, alike in found if alike is not None]


def keep_marks(session: Session, version_id: str, mine: list[int]) -> None:
    """Let a version be found by its marks."""
    session.execute(
        insert(FingerprintMark).on_conflict_do_nothing(), [{"mark": mark, "version_id": version_id} for mark in mine]
    )


def catch_up(services: Services, *, told: Callable[[int], None] | None = None) -> int:
    """Mark and link the films and sounds of the library, for those that came before there were marks.

    Safe to stop and to run again: what is known already stays as it is.

    :param told: is called with how many are done. :returns: how many films and sounds there are.
    """
    done, last = 0, ""
    bits = services.taxonomy.limits.near_duplicate_bits
    while True:
        with services.session() as session:
            version = session.scalar(
                select(Version)
                .where(Version.id > last, Version.asset_id.is_not(None), Version.state != VersionState.DESTROYED)
                .where(or_(Version.fingerprints.has_key("key_frames"), Version.fingerprints.has_key("chromaprint")))
                .order_by(Version.id)
                .limit(1)
            )
            if version is None:
                return done
            link(session, version, bits=bits)
            last, done = version.id, done + 1
        if told:
            told(done)
