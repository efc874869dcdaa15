"""Compiles contracts to Great Expectations suites and runs them over rows of facts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from dam.errors import BadInput
from dam.taxonomy.contracts import Condition, Contract, Rule, choices, in_words, kind_of

if TYPE_CHECKING:
    from dam.taxonomy import Vocabulary


def broken(contract: Contract, rows: list[dict[str, Any]], vocabulary: Vocabulary) -> list[tuple[int, Rule]]:
    """Return which rows break which rules of a contract, as row number and rule, in the contract's order.

    Two runs of Great Expectations: which rows a rule's condition holds for, then the rules themselves, each over
    those rows. Each rule has a column of its own, in the shape its expectation asks for.

    :param rows: from :func:`dam.enrich.facts.rows`.
    """
    if not rows:
        return []
    conditions = {number: rule.when for number, rule in enumerate(contract.rules) if rule.when is not None}
    asked = _asked(contract.name, conditions, rows, vocabulary)
    found = _unexpected(contract.name, dict(enumerate(contract.rules)), rows, vocabulary, asked)
    return [(at, rule) for number, rule in enumerate(contract.rules) for at in sorted(found[number])]


def _asked(
    name: str, conditions: dict[int, Condition], rows: list[dict[str, Any]], vocabulary: Vocabulary
) -> dict[int, list[bool]]:
    """Return for each rule with a condition which rows it is asked of: the field is there, and keeps the rule."""
    unmet = _unexpected(f"{name}, conditions", conditions, rows, vocabulary, {}) if conditions else {}
    return {
        number: [
            at not in unmet[number] and _column(condition, row, vocabulary) is not None for at, row in enumerate(rows)
        ]
        for number, condition in conditions.items()
    }


def _unexpected(
    name: str,
    rules: dict[int, Any],
    rows: list[dict[str, Any]],
    vocabulary: Vocabulary,
    asked: dict[int, list[bool]],
) -> dict[int, set[int]]:
    """Validate rules over rows as one suite; return the numbers of the rows that break each."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    columns: dict[str, list[Any]] = {
        f"{number} {rule.field}": [_column(rule, row, vocabulary) for row in rows] for number, rule in rules.items()
    }
    columns |= {f"{number} is asked": holds for number, holds in asked.items()}
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("catalogue")
        .add_dataframe_asset("versions")
        .add_batch_definition_whole_dataframe("batch")
        .get_batch(batch_parameters={"dataframe": pd.DataFrame(columns, dtype=object)})
    )
    suite = gx.ExpectationSuite(name=name)
    for number, rule in rules.items():
        suite.add_expectation(_expectation(rule, number, asked=number in asked))
    found: dict[int, set[int]] = {number: set() for number in rules}
    for outcome in batch.validate(suite, result_format="COMPLETE").results:
        meta = (outcome.expectation_config.meta if outcome.expectation_config else None) or {}
        number = int(meta["rule"])
        if outcome.exception_info and outcome.exception_info.get("raised_exception"):
            raise BadInput(
                f"{in_words(rules[number])}: {outcome.exception_info.get('exception_message')}",
                where=f"contract {name}",
                remedy="Mend the rule.",
            )
        found[number] |= {int(at) for at in outcome.result.get("unexpected_index_list") or []}
    return found


def _column(rule: Condition, row: dict[str, Any], vocabulary: Vocabulary) -> Any:
    """Return a row's value in the shape the rule's expectation asks for; ``None`` where nothing is known."""
    value = row[rule.field]
    if rule.rule == "term_of":
        value = _terms(value, str(rule.value), vocabulary)
    if isinstance(value, list):
        if rule.rule in ("at_least", "at_most"):
            return len(value)
        return "\n".join(value) or None  # one line a word
    return value.toordinal() if isinstance(value, date) else value


def _terms(value: Any, facet: str, vocabulary: Vocabulary) -> Any:
    """Return ``yes`` or ``no`` for each word: whether it names a term of the facet, by id or any label."""

    def known(word: str) -> str:
        term_id = word if word in vocabulary else vocabulary.find(word)
        return "yes" if term_id is not None and term_id.startswith(f"{facet}/") else "no"

    if isinstance(value, list):
        return [known(word) for word in value]
    return None if value is None else known(value)


def _expectation(rule: Condition, number: int, *, asked: bool) -> Any:
    """Return a rule as an expectation over its column."""
    import great_expectations.expectations as gxe

    known: Any = gxe  # its names are not exported explicitly
    value = rule.value.toordinal() if isinstance(rule.value, date) else rule.value
    compiled: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
        "present": lambda: (known.ExpectColumnValuesToNotBeNull, {}),
        "at_least": lambda: (known.ExpectColumnValuesToBeBetween, {"min_value": value}),
        "at_most": lambda: (known.ExpectColumnValuesToBeBetween, {"max_value": value}),
        "longest": lambda: (known.ExpectColumnValueLengthsToBeBetween, {"max_value": value}),
        "shortest": lambda: (known.ExpectColumnValueLengthsToBeBetween, {"min_value": value}),
        "matches": lambda: (known.ExpectColumnValuesToMatchRegex, {"regex": value}),
        "not_matches": lambda: (known.ExpectColumnValuesToNotMatchRegex, {"regex": value}),
        "one_of": lambda: _one_of(known, rule, choices(value)),
        "includes": lambda: (known.ExpectColumnValuesToMatchRegex, {"regex": _line(str(value))}),
        "term_of": lambda: _one_of(known, rule, ["yes"]),
    }
    kind, settings = compiled[rule.rule]()
    if asked:
        settings |= {"row_condition": f"`{number} is asked` == True", "condition_parser": "pandas"}
    return kind(column=f"{number} {rule.field}", meta={"rule": number}, **settings)


def _one_of(known: Any, rule: Condition, words: list[Any]) -> tuple[Any, dict[str, Any]]:
    """The value is one of these; of a list, every word is."""
    if kind_of(rule.field) != "words":
        return known.ExpectColumnValuesToBeInSet, {"value_set": words}
    any_of = "|".join(map(re.escape, words))
    return known.ExpectColumnValuesToMatchRegex, {"regex": rf"\A(?:{any_of})(?:\n(?:{any_of}))*\Z"}


def _line(word: str) -> str:
    return rf"(?:\A|\n){re.escape(word)}(?:\n|\Z)"
