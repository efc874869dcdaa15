"""What contracts said of a batch over time, as people read it: the page like Great Expectations' Data Docs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, cast, func, select

from dam.catalog.models import Batch, ContractResult, Version
from dam.enrich.contracts import newest_results, suite_name
from dam.errors import NotFound
from dam.taxonomy.contracts import in_words

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Newest checks that are shown.
CHECKS = 50


def of_batch(services: Services, *, batch_id: str) -> dict[str, Any]:
    """Return what the newest check said of each version of a batch, rule by rule, and the checks before.

    :returns: ``{"batch_id", "versions", "complete", "share", "contracts", "history"}``. ``share`` is in per cent,
        rounded down, ``None`` before the first check. A contract is ``{"name", "versions", "complete", "changed",
        "rules"}``, ``changed`` when it was edited since; a rule ``{"rule", "field", "severity", "remedy", "passed",
        "failed", "versions"}``; a check ``{"checked_at", "versions", "complete", "share"}``, the newest first.
    :raises NotFound: there is no such batch.
    """
    with services.session() as session:
        if session.get(Batch, batch_id) is None:
            raise NotFound("there is no such batch", where=batch_id)
        rows = session.execute(
            select(ContractResult, Version)
            .join(Version, Version.id == ContractResult.version_id)
            .where(ContractResult.id.in_(newest_results(batch_id)))
            .order_by(Version.filename, Version.id)
        ).all()
        by_name: dict[str, list[tuple[ContractResult, Version]]] = {}
        for result, version in rows:
            by_name.setdefault(result.suite.partition("@")[0], []).append((result, version))
        complete = sum(result.complete for result, _ in rows)
        return {
            "batch_id": batch_id,
            "versions": len(rows),
            "complete": complete,
            "share": _share(complete, len(rows)),
            "contracts": [_contract(services, name, of_name) for name, of_name in sorted(by_name.items())],
            "history": _history(session, batch_id),
        }


def _share(complete: int, versions: int) -> int | None:
    return 100 * complete // versions if versions else None


def _contract(services: Services, name: str, rows: list[tuple[ContractResult, Version]]) -> dict[str, Any]:
    """Return a contract with its rules, those as well that versions broke and that it has no more."""
    stage, _, kind = name.partition("/")
    contract = services.taxonomy.contracts.get(stage, {}).get(kind)
    rules: dict[str, dict[str, Any]] = {}
    for rule in contract.rules if contract else []:
        words = in_words(rule)
        rules[words] = _rule(words, rule.field, rule.severity, rule.remedy)
    for result, version in rows:
        for fault in result.faults:
            words = fault.get("rule") or f"{fault['field']} {fault['problem']}"
            told = rules.setdefault(words, _rule(words, fault["field"], fault.get("severity", "must"), fault["remedy"]))
            told["versions"].append(_version(version, fault["problem"]))
    for told in rules.values():
        told["failed"] = len(told["versions"])
        told["passed"] = len(rows) - told["failed"]
    return {
        "name": name,
        "versions": len(rows),
        "complete": sum(result.complete for result, _ in rows),
        "changed": any(result.suite != (suite_name(contract) if contract else name) for result, _ in rows),
        "rules": list(rules.values()),
    }


def _rule(words: str, field: str, severity: str, remedy: str) -> dict[str, Any]:
    return {"rule": words, "field": field, "severity": severity, "remedy": remedy, "versions": []}


def _version(version: Version, problem: str) -> dict[str, Any]:
    return {
        "version_id": version.id,
        "asset_id": version.asset_id,
        "filename": version.filename,
        "state": version.state,
        "problem": problem,
    }


def _history(session: Session, batch_id: str) -> list[dict[str, Any]]:
    checks = session.execute(
        select(ContractResult.checked_at, func.count(), func.sum(cast(ContractResult.complete, Integer)))
        .where(ContractResult.batch_id == batch_id, ContractResult.suite.startswith("ingest/"))
        .group_by(ContractResult.checked_at)
        .order_by(ContractResult.checked_at.desc())
        .limit(CHECKS)
    )
    return [
        {
            "checked_at": checked_at.isoformat(),
            "versions": versions,
            "complete": complete,
            "share": _share(complete, versions),
        }
        for checked_at, versions, complete in checks
    ]


def missing_by_field(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many versions of the librarian's table lack each field, the most lacked first."""
    counts = Counter(field for row in rows for field in {fault["field"] for fault in row["faults"]})
    return dict(counts.most_common())
