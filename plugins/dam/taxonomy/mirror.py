"""The vocabulary's mirror in the catalogue, which tags point at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dam.taxonomy.vocabulary import Vocabulary, from_contents

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

_LOCK = 7_316_420_009  # pg_advisory_xact_lock: one process mirrors at a time
#: Terms are sent in so many rows a statement.
_ROWS = 1000
_LINKS = ("broader_id", "replaced_by_id")


def sync_terms(services: Services) -> int:
    """Mirror the vocabulary into the catalogue and return how many terms it has; idempotent.

    One look-up when the catalogue has this very vocabulary already. Terms that left the files stay in the
    catalogue, deprecated, as tags may point at them.
    """
    from sqlalchemy import select, text

    from dam.catalog.models import VocabularyMirror

    vocabulary = services.taxonomy.vocabulary
    known = select(VocabularyMirror.sha256)
    with services.session() as session:
        if session.scalar(known) == vocabulary.sha256:
            return len(vocabulary.terms)
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if session.scalar(known) != vocabulary.sha256:
            _write(session, vocabulary)
    return len(vocabulary.terms)


def _write(session: Session, vocabulary: Vocabulary) -> None:
    from sqlalchemy import bindparam, update
    from sqlalchemy.dialects.postgresql import insert

    from dam.catalog.models import Term, VocabularyMirror, utcnow

    rows = [_row(vocabulary, term_id) for term_id in sorted(vocabulary.terms)]
    for start in range(0, len(rows), _ROWS):
        statement = insert(Term).values(rows[start : start + _ROWS])
        same = {
            name: statement.excluded[name] for name in rows[0] if name not in ("id", "broader_id", "replaced_by_id")
        }
        session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=same))
    # links come last: a term may point at one that stands after it
    table: Any = Term.__table__
    links = [
        {
            "key": term_id,
            "above": content["broader"][0] if content.get("broader") else None,
            "next": content.get("replaced_by"),
        }
        for term_id, content in vocabulary.contents.items()
    ]
    session.connection().execute(
        update(table)
        .where(table.c.id == bindparam("key"))
        .values(broader_id=bindparam("above"), replaced_by_id=bindparam("next")),
        links,
    )
    gone = Term.id.not_in(list(vocabulary.terms))
    session.execute(update(Term).where(gone).values(deprecated=True, content={}))  # its labels stay, to be shown
    told = {
        "sha256": vocabulary.sha256,
        "namespace": vocabulary.namespace,
        "facets": list(map(list, vocabulary.facet_contents.items())),
        "synced_at": utcnow(),
    }
    session.execute(
        insert(VocabularyMirror)
        .values(name="vocabulary", **told)
        .on_conflict_do_update(index_elements=["name"], set_=told)
    )


def _row(vocabulary: Vocabulary, term_id: str) -> dict[str, Any]:
    term, content = vocabulary.terms[term_id], vocabulary.contents[term_id]
    return {
        "id": term_id,
        "facet": term_id.partition("/")[0],
        "labels": term.labels,
        "alt_labels": term.alt,
        "content": content,
        "broader_id": None,
        "scope_note": next(iter(content.get("note", {}).values()), None),
        "replaced_by_id": None,
        "deprecated": term.retired,
    }


def mirrored(session: Session) -> Vocabulary | None:
    """Return the vocabulary that the catalogue mirrors; None when it mirrors none yet."""
    from sqlalchemy import select

    from dam.catalog.models import Term, VocabularyMirror

    mirror = session.get(VocabularyMirror, "vocabulary")
    if mirror is None:
        return None
    facets = dict(mirror.facets)
    rows = session.execute(select(Term.id, Term.content).where(Term.content != {}))
    return from_contents({row.id: row.content for row in rows}, facets, mirror.namespace)
