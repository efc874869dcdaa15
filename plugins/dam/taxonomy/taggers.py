"""Which taggers are asked, in which order, and what each may cost: ``include/taxonomy/taggers.yaml``."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from dam.load import Mistake
from dam.taxonomy.vocabulary import Strict

Money = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=6)]
Calls = Annotated[int, Field(ge=0)]


class Budget(Strict):
    """The most a tagger may take: calls and money, in a day and in a calendar month (UTC). None: no limit."""

    calls_a_day: Calls | None = None
    calls_a_month: Calls | None = None
    money_a_day: Money | None = None
    money_a_month: Money | None = None


class TaggerData(Strict):
    """A tagger.

    :param name: of the tagger, and the source of its tags. :param tagger: ``module:Class`` of one of your own.
    :param enabled: whether it is asked. :param threshold: below this confidence a tag is a suggestion; the
        default is ``tag_threshold`` of ``limits.yaml``.
    :param cost: money that one call costs. :param budget: the most it may take.
    :param options: what this tagger needs to know.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    tagger: str | None = Field(None, alias="class", pattern=r"^[\w.]+:\w+$")
    enabled: bool = True
    threshold: float | None = Field(None, ge=0, le=1)
    cost: Money = Decimal(0)
    budget: Budget = Field(default_factory=Budget)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _paid_is_bounded(self) -> Self:
        money = (self.budget.money_a_day, self.budget.money_a_month)
        if self.cost and money == (None, None):
            raise Mistake(
                f"{self.name} costs money and has no budget for it",
                remedy="Give it budget: {money_a_day: …} or {money_a_month: …}.",
            )
        return self


class TaggersData(Strict):
    """All taggers, in the order they are asked; ``currency`` is what costs and budgets are in."""

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    taggers: list[TaggerData]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [tagger.name for tagger in self.taggers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Mistake(f"{', '.join(twice)} stands there twice", remedy="Keep one of them.")
        return self

    def __getitem__(self, name: str) -> TaggerData:
        return next(tagger for tagger in self.taggers if tagger.name == name)
