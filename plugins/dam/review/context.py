"""What stands beside a proof: why it was asked for, whether it is complete, where it may go, what it resembles,
where it comes from. In words, for people who must decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from dam import channels
from dam.catalog.models import (
    Asset,
    BatchFile,
    Brief,
    ContractResult,
    Deliverable,
    NearDuplicate,
    Package,
    PackageVersion,
    Version,
)
from dam.enrich import contracts
from dam.errors import NotFound
from dam.ingest import duplicates
from dam.rights import policy, risk, words
from dam.rights.policy import day
from dam.taxonomy.contracts import in_words

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Fields of a brief that a reviewer judges by, in this order, and what they are called. A brief may hold others
#: than its form asks for: a template of one's own can.
BRIEFED = {
    "goals": "Goals", "audience": "Audience", "message": "Message", "tone": "Tone", "dos": "Do", "donts": "Don't",
    "mandatories": "Mandatory",
}  # fmt: skip
#: What must be there before a review, and before anything is published: the contract's stage by ours.
STAGES = {"review": "ingest", "activate": "activate"}
#: What the states of Content Credentials mean.
_CREDENTIALS = {
    "trusted": "hold, and their signer is trusted",
    "valid": "hold: these are the bytes that were signed",
    "invalid": "do not hold: the file was changed after it was signed",
    "unreadable": "can't be read",
}
_AI = {
    "trainedAlgorithmicMedia": "It was made with AI.",
    "compositeWithTrainedAlgorithmicMedia": "A part of it was made with AI.",
    "compositeSynthetic": "It is composed of parts, some of which a machine made.",
}


def of_version(services: Services, *, version_id: str, package_id: str) -> dict[str, Any]:
    """Return what stands beside a version's proof in the review of a package.

    :returns: ``{"brief", "contract", "rights", "grants", "near", "provenance"}``: ``brief`` and ``provenance`` are
        rows of ``{"label", "text"}``; ``contract`` holds by stage (``review``, ``activate``) ``{"said", "complete",
        "checked_at", "rules"}``; ``rights`` has a row ``{"channel", "territories", "allowed", "said"}`` for each
        planned channel; ``contract`` is empty and ``rights`` None where a brief is to be signed, which goes nowhere;
        ``grants`` are sentences; ``near`` rows of ``{"version_id", "asset_id", "label", "how",
        "state"}``.
    :raises NotFound: there is no such package, or the version is not in it.
    """
    with services.session() as session:
        package = session.get(Package, package_id)
        version = session.get(Version, version_id)
        if package is None or version is None or session.get(PackageVersion, (package_id, version_id)) is None:
            raise NotFound("there is no such version in the package", where=f"package {package_id}: {version_id}")
        assert version.asset is not None
        goes_out = package.brief is None
        stages = STAGES.items() if goes_out else ()
        return {
            "brief": _brief(session, version.asset, package.brief),
            "contract": {stage: _contract(services, session, version, name) for stage, name in stages},
            "rights": _rights(services, session, package, version) if goes_out else None,
            "grants": _grants(version.asset),
            "near": _near(session, version),
            "provenance": _provenance(session, version),
        }


# ------------------------------------------------------------------------------------------------- brief


def _brief(session: Session, asset: Asset, shown: Brief | None) -> list[dict[str, str]]:
    """Return the lines of the brief that the version must be judged by. :param shown: what it is itself, if a brief."""
    wanted: Deliverable | None = asset.deliverable
    brief = session.get(Brief, wanted.brief_id) if wanted else shown
    if brief is None and asset.campaign_id:
        brief = session.scalar(
            select(Brief)
            .where(Brief.campaign_id == asset.campaign_id, Brief.status == "signed")
            .order_by(Brief.number.desc())
            .limit(1)
        )
    rows: list[tuple[str, Any]] = []
    if wanted is not None:
        variant = f", variant {wanted.variant}" if wanted.variant else ""
        rows += [
            ("Deliverable", f"{wanted.title}{variant} ({wanted.kind}), due {day(wanted.due_on)}"),
            ("Channels", wanted.channels),
            ("Markets", wanted.markets),
        ]
    if brief is not None:
        content = brief.content
        rows += [(name, content.get(field)) for field, name in BRIEFED.items()]
        if wanted is None:
            rows += [("Channels", content.get("channels")), ("Markets", content.get("markets"))]
        if content.get("starts_on") and content.get("ends_on"):
            first, last = (day(datetime.fromisoformat(str(content[name])).date()) for name in ("starts_on", "ends_on"))
            rows.append(("Runs", f"{first} to {last}"))
        signed = f", signed by {brief.signed_by} on {day(brief.signed_at.date())}" if brief.signed_at else ""
        rows.append(("Brief", f"{content.get('name', '')}, number {brief.number}{signed}"))
    return [{"label": name, "text": text} for name, value in rows if (text := _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_text, value)))
    return str(value).strip() if value is not None else ""


# ---------------------------------------------------------------------------------------------- contract


def _contract(services: Services, session: Session, version: Version, stage: str) -> dict[str, Any]:
    """Return what the contract of a stage asks of a version, rule by rule, and what its newest check said.

    Nothing is checked here: that is a step of the workflow, and takes Great Expectations.
    """
    assert version.asset is not None
    contract = services.taxonomy.contract(stage, version.asset.kind)
    result = session.scalar(
        select(ContractResult)
        .where(ContractResult.version_id == version.id, ContractResult.suite.startswith(f"{stage}/"))
        .order_by(ContractResult.checked_at.desc(), ContractResult.id.desc())
        .limit(1)
    )
    broken = {fault.get("rule"): fault for fault in result.faults} if result else {}
    rules = []
    for rule in contract.rules if contract else []:
        fault = broken.get(in_words(rule))
        rules.append(
            {
                "rule": in_words(rule),
                "severity": rule.severity,
                "met": None if result is None else fault is None,
                "said": contracts.sentences_of(fault) if fault else "",
            }
        )
    described = version.description
    edited = bool(result and described and described.updated_at > result.checked_at)
    return {
        "complete": result.complete if result else None,
        "checked_at": result.checked_at.isoformat() if result else None,
        "edited_since": edited,
        "rules": rules,
        "said": _verdict(result, rules, edited=edited),
    }


def _verdict(result: ContractResult | None, rules: list[dict[str, Any]], *, edited: bool) -> str:
    if not rules:
        return "Nothing is asked of files of this kind."
    if result is None:
        return "It was not checked yet; it will be asked for what stands below."
    since = " Its metadata was edited since." if edited else ""
    when = day(result.checked_at.astimezone(UTC).date())
    if not result.complete:
        count = sum(rule["met"] is False and rule["severity"] == "must" for rule in rules)
        return f"Checked on {when}: {count} of {len(rules)} rules {'is' if count == 1 else 'are'} broken.{since}"
    advice = sum(rule["met"] is False for rule in rules)
    more = f", and {advice} could be better" if advice else ""
    return f"Complete, checked on {when}{more}.{since}"


# ------------------------------------------------------------------------------------------------ rights


def _rights(services: Services, session: Session, package: Package, version: Version) -> list[dict[str, Any]]:
    """Return what the rights policy says for each channel that the version is meant for, as of today."""
    assert version.asset is not None
    meant, territories = policy.destinations(version.asset)
    recipes = channels.recipes_of(services)
    rows = []
    for channel in meant if package.channels is None else package.channels:
        answer = policy.ask(
            session, version_id=version.id, channel=channel, territories=territories, on=datetime.now(UTC).date(),
            recipes=recipes.get(channel, ()),
        )  # fmt: skip
        where = f"in {', '.join(territories)}" if territories and policy.ANYWHERE not in territories else "everywhere"
        rows.append(
            {
                "channel": channel,
                "territories": territories,
                "allowed": answer.allowed,
                "said": f"{channel} {where}: {answer.explanation}",
            }
        )
    return rows


def _grants(asset: Asset) -> list[str]:
    if not asset.grants:
        return [f"No licence is recorded for {asset.name}; the librarian can add one on its asset page."]
    return [said for grant in asset.grants for said in words.sentences(words.of(grant))]


# -------------------------------------------------------------------------------------- near, provenance


def _near(session: Session, version: Version) -> list[dict[str, Any]]:
    """Return what looks or sounds like a version; not what a librarian told apart, nor what was merged away."""
    pairs = session.scalars(
        select(NearDuplicate)
        .where(or_(NearDuplicate.version_id == version.id, NearDuplicate.other_id == version.id))
        .where(NearDuplicate.answer.is_distinct_from("different"))
    ).all()
    rows = []
    for pair in sorted(pairs, key=duplicates.alike, reverse=True):
        other = session.get(Version, pair.other_id if pair.version_id == version.id else pair.version_id)
        if other is None or other.asset is None or other.merged_into_id is not None:
            continue
        assert version.asset is not None
        rows.append(
            {
                "version_id": other.id,
                "asset_id": other.asset_id,
                "label": f"{other.asset.name} v{other.number}",
                "how": duplicates.how(pair, other.asset.kind, version.asset.kind),
                "state": other.state,
            }
        )
    return rows


def _provenance(session: Session, version: Version) -> list[dict[str, str]]:
    """Return where a version comes from, line by line."""
    batch = version.batch
    custom = version.description.custom if version.description else {}
    came_as = session.scalar(select(BatchFile.path).where(BatchFile.version_id == version.id).order_by(BatchFile.id))
    credentials = version.embedded.get("C2PA")
    kinds = sorted(risk.source_types(version.embedded, custom))
    rows = [
        ("Made by", version.made_by),
        ("Creator", version.description.creator if version.description else None),
        ("Supplier", batch.supplier),
        ("Batch", f"{batch.location}, sent by {batch.sent_by} on {day(batch.received_at.date())}"),
        ("File", came_as or version.filename),
        ("AI", " ".join(_AI[kind] for kind in kinds) if kinds else "Nothing says that AI made it."),
        ("Model", custom.get("ai_system") or version.embedded.get("Xmp.iptcExt.AISystemUsed")),
        ("Content Credentials", _credentials(credentials) if isinstance(credentials, dict) else "It carries none."),
        ("SHA-256", version.sha256),
    ]
    return [{"label": name, "text": text} for name, value in rows if (text := _text(value))]


def _credentials(told: dict[str, Any]) -> str:
    state = str(told.get("state"))
    said = f"They {_CREDENTIALS.get(state, f'are {state}')}"
    if told.get("signed_by"):
        said += f"; signed by {told['signed_by']}"
    if told.get("claim_generator"):
        said += f"; made with {told['claim_generator']}"
    if told.get("problems"):
        said += f" ({', '.join(told['problems'])})"
    return f"{said}."
