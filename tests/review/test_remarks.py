"""Remarks on the versions of a package."""

from __future__ import annotations

import pytest

from dam import audit
from dam.errors import BadInput, NotFound
from dam.review import remarks

BOX = {"selector": {"type": "FragmentSelector", "value": "xywh=percent:10,20,30,40"}}


def test_a_remark_is_kept_and_answered(services, batch, package_id):
    made = remarks.add(
        services,
        package_id=package_id,
        version_id=batch[1][0],
        author="bea",
        body="The logo is too small.",
        target=BOX,
        must_fix=True,
    )
    for person in ("dario", "maya"):
        remarks.resolve(services, annotation_id=made, person=person)
    [row] = remarks.of_package(services, package_id=package_id)
    assert (row["annotation_id"], row["author"], row["target"], row["must_fix"]) == (made, "bea", BOX, True)
    assert row["resolved_by"] == "dario"
    with services.session() as session:
        told = [event.action for event in audit.history(session, package_id)]
    assert (told.count("annotation.added"), told.count("annotation.resolved")) == (1, 1)


def test_a_remark_says_something_of_a_version_that_is_there(services, package_id):
    with pytest.raises(BadInput, match="not in this package"):
        remarks.add(services, package_id=package_id, version_id="ver_none", author="bea", body="?")
    with pytest.raises(BadInput, match="empty"):
        remarks.add(services, package_id=package_id, version_id="ver_none", author="bea", body=" ")
    with pytest.raises(NotFound):
        remarks.resolve(services, annotation_id="ann_none", person="bea")
