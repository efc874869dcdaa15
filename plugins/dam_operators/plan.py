"""Plan: draft a brief, check it, freeze it to be signed in a :class:`dam_operators.groups.ReviewRound`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dam.errors import BadInput
from dam_operators.base import DamOperator, run_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class DraftBriefOperator(DamOperator):
    """Drafts a brief from the filled trigger form and a template. Returns the brief's id.

    :param form: the form's values (templated); the default is the run's params.
    :param drafted_by: username of the person (templated); the default is who triggered the run.
    """

    template_fields: Sequence[str] = ("form", "drafted_by")

    def __init__(
        self,
        *,
        form: Any = "{{ params }}",
        drafted_by: str = "{{ dag_run.triggering_user_name or 'airflow' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.form = form
        self.drafted_by = drafted_by

    def work(self, context: Context) -> str:
        """Draft the brief; the same run drafts the same brief."""
        from dam.plan import briefs

        draft = briefs.draft(self.services, form=dict(self.form), drafted_by=self.drafted_by, run=run_name(context))
        return str(draft["brief_id"])


class CheckBriefOperator(DamOperator):
    """Checks a brief and fails with every fault, each with its field and remedy.

    :param brief_id: the brief (templated).
    """

    template_fields: Sequence[str] = ("brief_id",)

    def __init__(self, *, brief_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.brief_id = brief_id

    def work(self, context: Context) -> str:
        """Return the brief's id when it has no fault."""
        from dam.plan import briefs

        faults = briefs.check(self.services, brief_id=self.brief_id)
        if faults:
            context["ti"].xcom_push(key="faults", value=[fault.as_dict() for fault in faults])
            listed = "\n".join(f"  {fault.field}: {fault.problem} {fault.remedy}" for fault in faults)
            raise BadInput(
                f"the brief has {len(faults)} faults:\n{listed}",
                where=f"brief {self.brief_id}",
                remedy="\nTrigger plan_brief again with the form corrected.",
            )
        return self.brief_id


class FreezeBriefOperator(DamOperator):
    """Makes a brief's document and freezes it as a package, for a review round to sign. Returns the package's id.

    :param brief_id: the brief (templated).
    """

    template_fields: Sequence[str] = ("brief_id",)

    def __init__(self, *, brief_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.brief_id = brief_id

    def work(self, context: Context) -> str:
        """Freeze; the same brief freezes the same package."""
        from dam.plan import documents

        return documents.freeze(self.services, brief_id=self.brief_id, run=run_name(context))
