"""The rights policy: what it allows, and the sentence it gives for each refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import world
from dam.catalog.models import (
    Asset,
    Batch,
    Campaign,
    Grant,
    Hold,
    Licence,
    Package,
    PackageVersion,
    Verdict,
    Version,
    VersionState,
)
from dam.errors import NotFound
from dam.renditions.recipes import load
from dam.rights import policy
from dam.services import Services

TODAY = date(2027, 3, 10)


def _grant(**changes: Any) -> Grant:
    values: dict[str, Any] = {
        "territories": ["DE", "FR"],
        "channels": ["web", "cms"],
        "starts_on": date(2027, 1, 1),
        "ends_on": date(2027, 12, 31),
        "model_release": "signed",
        "property_release": "not_needed",
        "permissions": ["*"],
        "duties": [],
        "licence": Licence(reference="CC-ACME-014", holder="Northlight", kind="rights_managed"),
    }
    return Grant(**(values | changes))


def _judge(*grants: Grant, **use: Any) -> policy.Answer:
    asked: dict[str, Any] = {"name": "HERO-A_ACME", "channel": "web", "on": TODAY, "territories": ("DE",)}
    return policy.judge(grants, policy.Use(**(asked | use)))


@pytest.mark.parametrize(
    "grant, asked, sentences",
    [
        ({}, {}, []),
        ({"ends_on": None}, {"on": date(2999, 1, 1)}, []),
        ({"territories": ["*"]}, {"territories": ("JP", "BR")}, []),
        ({"territories": ["*"]}, {"territories": ()}, []),
        ({"channels": ["*"]}, {"channel": "billboard"}, []),
        ({"ends_on": TODAY}, {}, []),
        ({"starts_on": TODAY}, {}, []),
        ({"property_release": "signed"}, {}, []),
        (
            {"ends_on": date(2027, 3, 3)},
            {},
            ["The licence CC-ACME-014 from Northlight ended on 3 March 2027."],
        ),
        (
            {"starts_on": date(2027, 4, 1)},
            {},
            ["The licence CC-ACME-014 from Northlight starts on 1 April 2027, after 10 March 2027."],
        ),
        (
            {},
            {"channel": "social"},
            ["The licence CC-ACME-014 from Northlight does not cover the channel social; it covers web and cms."],
        ),
        (
            {},
            {"territories": ("US", "DE", "AT")},
            ["The licence CC-ACME-014 from Northlight does not cover AT and US; it covers DE and FR."],
        ),
        (
            {},
            {"territories": ()},
            ["The licence CC-ACME-014 from Northlight does not cover use everywhere; it covers DE and FR."],
        ),
        (
            {"territories": []},
            {},
            ["The licence CC-ACME-014 from Northlight does not cover DE; it covers nothing."],
        ),
        (
            {"model_release": "missing"},
            {},
            ["The model release for HERO-A_ACME is missing under the licence CC-ACME-014 from Northlight."],
        ),
        (
            {"property_release": "missing", "ends_on": date(2027, 3, 9)},
            {},
            [
                "The licence CC-ACME-014 from Northlight ended on 9 March 2027.",
                "The property release for HERO-A_ACME is missing under the licence CC-ACME-014 from Northlight.",
            ],
        ),
    ],
)
def test_each_refusal_is_a_sentence(grant: dict[str, Any], asked: dict[str, Any], sentences: list[str]):
    answer = _judge(_grant(**grant), **asked)
    assert answer.reasons == sentences
    assert answer.allowed is (not sentences)


def test_no_licence_is_a_refusal():
    answer = _judge()
    assert not answer.allowed
    assert answer.explanation.startswith("No licence is recorded for HERO-A_ACME")
    assert answer.ends_on is None


def test_the_answer_names_the_earliest_end_of_all():
    answer = _judge(_grant(ends_on=None), _grant(ends_on=date(2027, 8, 1)), _grant())
    assert answer.ends_on == date(2027, 8, 1)
    assert answer.explanation == "Allowed until 1 August 2027."
    assert _judge(_grant(ends_on=None)).as_dict() == {
        "allowed": True,
        "reasons": [],
        "explanation": "Allowed without end.",
        "ends_on": None,
        "duties": [],
    }


def test_duties_are_told_with_the_permission():
    answer = _judge(_grant(duties=["attribute", "inform"], ends_on=None), credit="Photo: Rachel")
    assert answer.explanation == "Allowed without end. Credit “Photo: Rachel” beside it. Tell Northlight of this use."
    assert _judge(_grant(duties=["attribute"])).reasons == [
        "The licence CC-ACME-014 from Northlight asks for a credit,"
        " and HERO-A_ACME has neither credit line nor creator."
    ]


def test_what_is_not_permitted_is_refused_in_words():
    told = _judge(_grant(permissions=["distribute"]), actions=("distribute", "modify"))
    assert told.reasons == ["The licence CC-ACME-014 from Northlight does not permit cutting or recolouring it."]
    assert _judge(_grant(permissions=["distribute"])).allowed


def test_a_recipe_that_cuts_asks_for_more_and_is_named():
    told = _judge(_grant(permissions=["distribute"]), cut_by=["square"])
    assert told.explanation == (
        "The licence CC-ACME-014 from Northlight does not permit cutting or recolouring it, which the recipe square of "
        "web does."
    )
    told = _judge(_grant(permissions=["distribute", "derive"]), actions=("modify",), cut_by=["portrait", "square"])
    assert told.reasons == [
        "The licence CC-ACME-014 from Northlight does not permit cutting or recolouring it, which the recipes portrait "
        "and square of web do."
    ]
    assert _judge(_grant(permissions=["distribute", "modify"]), cut_by=["square"]).allowed
    assert _judge(_grant(permissions=["*"]), cut_by=["square"]).allowed
    nothing = _judge(_grant(permissions=[]), cut_by=["square"])  # what two grants have in common may be nothing
    assert len(nothing.reasons) == 2


@pytest.mark.parametrize(("elsewhere", "allowed"), [(0, True), (1, True), (2, False), (9, False)])
def test_a_licence_for_some_places_ends_with_the_last_of_them(elsewhere, allowed):
    answer = _judge(_grant(max_count=2), elsewhere=elsewhere)
    assert answer.allowed is allowed
    if not allowed:
        assert answer.reasons == [
            f"The licence CC-ACME-014 from Northlight is for 2 places, and HERO-A_ACME is or was at {elsewhere}."
        ]


# ---------------------------------------------------------------------------------------- properties

_PLACES = ("DE", "FR", "US", "*")
_CHANNELS = ("web", "cms", "social", "*")
_RELEASES = ("not_needed", "signed", "missing")
_DEEDS = ("distribute", "modify", "derive", "*")
_DUTIES = ("attribute", "inform", "compensate", "obtainConsent")
_DAYS = st.integers(-400, 400).map(lambda days: TODAY + timedelta(days))


@dataclass(frozen=True)
class Terms:
    """A grant's terms, so that hypothesis shows and shrinks them well."""

    territories: frozenset[str]
    channels: frozenset[str]
    starts_on: date
    ends_on: date | None
    model_release: str
    property_release: str
    permissions: frozenset[str]
    duties: frozenset[str]
    max_count: int | None

    def grant(self) -> Grant:
        lists = {name: sorted(getattr(self, name)) for name in ("territories", "channels", "permissions", "duties")}
        return _grant(**(vars(self) | lists))


terms = st.builds(
    Terms,
    territories=st.frozensets(st.sampled_from(_PLACES)),
    channels=st.frozensets(st.sampled_from(_CHANNELS)),
    starts_on=_DAYS,
    ends_on=st.none() | _DAYS,
    model_release=st.sampled_from(_RELEASES),
    property_release=st.sampled_from(_RELEASES),
    permissions=st.frozensets(st.sampled_from(_DEEDS)),
    duties=st.frozensets(st.sampled_from(_DUTIES)),
    max_count=st.none() | st.integers(1, 5),
)
uses = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(_CHANNELS[:3]),
        "on": _DAYS,
        "territories": st.frozensets(st.sampled_from(_PLACES)).map(tuple),
        "actions": st.lists(st.sampled_from(_DEEDS[:3]), min_size=1, unique=True).map(tuple),
        "elsewhere": st.integers(0, 6),
        "credit": st.sampled_from(["", "Photo: Rachel"]),
        "cut_by": st.sampled_from([(), ("square",), ("portrait", "square")]),
    }
)


@given(st.lists(terms, min_size=1, max_size=4), uses)
def test_many_grants_allow_what_each_of_them_allows(many: list[Terms], use: dict[str, Any]):
    together = _judge(*(one.grant() for one in many), **use)
    alone = [_judge(one.grant(), **use) for one in many]
    assert together.allowed is all(answer.allowed for answer in alone)
    assert together.reasons == [reason for answer in alone for reason in answer.reasons]


@given(st.lists(terms, max_size=3), terms, uses)
def test_another_grant_never_allows_more(many: list[Terms], more: Terms, use: dict[str, Any]):
    before = [one.grant() for one in many]
    if before and not _judge(*before, **use).allowed:
        assert not _judge(*before, more.grant(), **use).allowed


@given(terms, uses, st.data())
def test_a_narrower_grant_never_allows_more(wide: Terms, use: dict[str, Any], data: st.DataObject):
    narrow = replace(
        wide,
        territories=data.draw(st.frozensets(st.sampled_from(sorted(wide.territories) or ["-"]))) & wide.territories,
        channels=data.draw(st.frozensets(st.sampled_from(sorted(wide.channels) or ["-"]))) & wide.channels,
        starts_on=wide.starts_on + timedelta(data.draw(st.integers(0, 50))),
        ends_on=data.draw(st.just(wide.ends_on) | _DAYS.filter(lambda day: not wide.ends_on or day <= wide.ends_on)),
        model_release=data.draw(st.sampled_from([wide.model_release, "missing"])),
        permissions=data.draw(st.frozensets(st.sampled_from(sorted(wide.permissions) or ["-"]))) & wide.permissions,
        duties=wide.duties | data.draw(st.frozensets(st.sampled_from(_DUTIES))),
        max_count=data.draw(st.just(wide.max_count) | st.integers(1, wide.max_count or 5)),
    )
    if _judge(narrow.grant(), **use).allowed:
        assert _judge(wide.grant(), **use).allowed


@given(terms, uses)
def test_use_in_more_places_never_is_allowed_more(one: Terms, use: dict[str, Any]):
    if use["territories"] and not _judge(one.grant(), **use).allowed:
        wider = use | {"territories": (*use["territories"], "AT")}
        assert not _judge(one.grant(), **wider).allowed


@given(st.lists(terms, min_size=1, max_size=4), uses)
def test_the_day_after_the_end_is_refused_and_says_so(many: list[Terms], use: dict[str, Any]):
    grants = [one.grant() for one in many]
    ends_on = _judge(*grants, **use).ends_on
    if ends_on is not None:
        answer = _judge(*grants, **(use | {"on": ends_on + timedelta(1)}))
        assert not answer.allowed
        assert any(f"ended on {policy.day(ends_on)}." in reason for reason in answer.reasons)


# ------------------------------------------------------------------------------------- the catalogue


@pytest.fixture
def package(services: Services) -> dict[str, str]:
    """An approved package of two versions, of which only the first has a licence, and is on hold."""
    with services.session() as session:
        campaign = Campaign(
            slug="spring-2027",
            name="Spring",
            project="SPRING27",
            client="ACME",
            starts_on=date(2027, 3, 1),
            ends_on=date(2027, 5, 31),
            markets=["DE"],
            channels=["web", "social"],
            budget=1,
        )
        batch = Batch(campaign=campaign, source="inbox", location="drops/1", sent_by="dario")
        package = Package(
            campaign=campaign,
            batch=batch,
            manifest={},
            manifest_sha256="0" * 64,
            status="approved",
            closed_at=datetime.now(UTC),
        )
        ids = {}
        for number, name in enumerate(("HERO-A_ACME", "HERO-B_ACME", "HERO-C_ACME"), start=1):
            version = Version(
                asset=Asset(campaign=campaign, name=name, kind="image"),
                number=1,
                batch=batch,
                filename=f"{name}.jpg",
                sha256=f"{number:064x}",
                bytes=1,
                media_type="image/jpeg",
                storage_uri="vault:x",
                made_by="dario",
            )
            world.bring_to(session, version, VersionState.APPROVED)
            verdict = Verdict.REJECT if name == "HERO-C_ACME" else Verdict.APPROVE
            session.add(PackageVersion(package=package, version=version, entry_sha256="0" * 64, verdict=verdict))
            if number == 1:
                session.add(_grant(asset=version.asset))
                session.flush()
                session.add(Hold(asset_id=version.asset.id, reason="claim", placed_by="lena"))
            session.flush()
            ids[name] = version.id
        return ids | {"package": package.id}


def test_a_package_is_answered_version_by_version(services: Services, package: dict[str, str]):
    rows = policy.ask_package(services, package_id=package["package"], on=TODAY)
    assert [(row["asset"], row["channel"], row["allowed"]) for row in rows] == [
        ("HERO-A_ACME", "web", True),  # a hold does not forbid use
        ("HERO-A_ACME", "social", False),
        ("HERO-B_ACME", "web", False),
        ("HERO-B_ACME", "social", False),
    ]
    assert rows[0]["ends_on"] == "2027-12-31"
    assert rows[0]["territories"] == ["DE"]
    assert "does not cover the channel social" in rows[1]["explanation"]
    assert "No licence is recorded for HERO-B_ACME" in rows[2]["explanation"]


def test_only_what_the_channel_cuts_asks_for_modify(services: Services, package: dict[str, str]):
    known = load(services)
    version_id = package["HERO-A_ACME"]
    with services.session() as session:
        version = session.get_one(Version, version_id)
        version.width, version.height = 3840, 2160
        session.query(Grant).one().permissions = ["distribute"]
    asked = {"version_id": version_id, "channel": "web", "territories": ["DE"], "on": TODAY}
    whole = [known[name] for name in ("webp", "avif", "thumbnail", "landscape")]  # it is 16:9 already
    with services.session() as session:
        assert policy.ask(session, **asked, recipes=whole).allowed
        told = policy.ask(session, **asked, recipes=[*whole, known["square"]])
        assert "which the recipe square of web does" in told.explanation
        session.get_one(Version, version_id).media_type = "video/mp4"  # goes out as it came
        assert policy.ask(session, **asked, recipes=[known["square"]]).allowed
    web = policy.ask_package(services, package_id=package["package"], on=TODAY)[0]
    assert web["allowed"]  # still a film: nothing of it is cut


def test_asking_for_what_is_not_there_raises(services: Services):
    with pytest.raises(NotFound, match="no package pkg_none"):
        policy.ask_package(services, package_id="pkg_none")
    with services.session() as session, pytest.raises(NotFound, match="no version ver_none"):
        policy.ask(session, version_id="ver_none", channel="web", territories=["DE"], on=TODAY)


def test_a_file_that_was_not_accepted_has_no_rights(services: Services):
    with services.session() as session:
        version = Version(
            batch=Batch(source="inbox", location="drops/2", sent_by="dario"),
            filename="broken.jpg",
            sha256="f" * 64,
            bytes=1,
            media_type="image/jpeg",
            storage_uri="quarantine:x",
            tier="quarantine",
            made_by="dario",
        )
        world.bring_to(session, version, VersionState.QUARANTINED)
        answer = policy.ask(session, version_id=version.id, channel="web", territories=["DE"], on=TODAY)
    assert answer.reasons == ["The file broken.jpg was not accepted, so it has no rights."]
