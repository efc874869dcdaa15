"""Retention policies: which applies, until when, and what a person is told."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dam.errors import BadInput
from dam.retention.policies import Policy, policies


def test_the_first_policy_that_fits_applies(library):
    library.rewrite(
        "  - name: rejected versions",
        "  - {name: winter, tier: cold, campaigns: [winter-*], keep_days: 3, why: rehearsal}\n"
        "  - name: rejected versions",
    )
    found = policies(library.services)

    def name(**asked: str | None) -> str | None:
        policy = found.policy(**({"tier": "cold", "kind": "image", "campaign": None, "state": "live"} | asked))
        return policy.name if policy else None

    assert name(campaign="winter-2027", state="rejected") == "winter"
    assert name(campaign="spring-2027", state="rejected") == "rejected versions"
    assert name(state="changes_requested") == "work papers"
    assert name(kind="document") == "contracts and releases"
    assert name() == "published work"
    assert name(tier="quarantine", kind=None, state="quarantined") == "refused files"


def test_a_policy_explains_itself():
    policy = Policy(name="published work", tier="cold", keep_years=10, why="commercial records")
    assert policy.explain(date(2027, 3, 3)) == (
        "published work: kept 10 years from 3 March 2027, until 3 March 2037; commercial records"
    )
    assert "kept 1 day from" in Policy(name="x", tier="cold", keep_days=1, why="y").explain(date(2027, 3, 3))


@given(st.dates(date(1970, 1, 1), date(2500, 1, 1)), st.integers(0, 200))
def test_years_are_never_a_day_too_short(since, years):
    until = Policy(name="x", tier="cold", keep_years=years, why="y").until(since)
    assert until.year == since.year + years
    assert (until.month, until.day) >= (since.month, since.day)
    assert (until - date(until.year, 1, 1)).days - (since - date(since.year, 1, 1)).days in (-1, 0, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("keep_years: 30", "keep_years: 30\n    keep_days: 3", "one of them"),
        ("keep_years: 30", "keep_year: 30", "Did you mean 'keep_years'?"),
        ("states: [rejected]", "states: [refused]", "retention.yaml:"),
        ("withdrawn: 7", "withdrawn: -1", "grace_days"),
    ],
)
def test_a_fault_names_file_line_and_remedy(library, old, new, said):
    library.rewrite(old, new)
    with pytest.raises(BadInput) as caught:
        policies(library.services)
    assert said in str(caught.value)
    assert "retention.yaml:" in str(caught.value)
