"""
### Plan: from a filled form to a signed brief

**Starts when** a person fills the trigger form. **Ends with** a brief that is signed, frozen and hashed;
its event starts `create_assets`.

**What it does.** Drafts the brief from a template in `include/templates/briefs/`, checks it, and asks the
marketing lead to sign it or send it back.

**When `check` fails** the brief has faults: its log and its XCom `faults` list every one with the field
and what to do. Trigger the DAG again with the form corrected; nothing else is needed.

**When `sign` waits** the marketing lead has the next move, on *DAM → My approvals* or on *Required
Actions*. At the deadline of the stage the brief is sent back: silence never signs.

Idempotent: the same run drafts the same brief; a signed brief can't change.
"""

from airflow.sdk import DAG, Param

from dam_operators.base import AnnounceOperator
from dam_operators.events import BRIEF_SIGNED
from dam_operators.human import SignBriefOperator
from dam_operators.plan import CheckBriefOperator, DraftBriefOperator
from dam_operators.stage import dag_settings

TEXT = {"type": "string", "minLength": 1}
DATE = {"type": "string", "format": "date"}
CODES = {"type": "array", "items": {"type": "string"}}

with DAG(
    dag_id="plan_brief",
    schedule=None,
    doc_md=__doc__,
    params={
        "name": Param("Spring 2027", **TEXT, title="Campaign", section="Campaign"),
        "slug": Param("spring-2027", **TEXT, pattern="^[a-z0-9]+(-[a-z0-9]+)*$", section="Campaign"),
        "project": Param("SPRING27", **TEXT, description="PROJECT of the file names.", section="Campaign"),
        "client": Param("ACME", **TEXT, description="CLIENT of the file names.", section="Campaign"),
        "template": Param("standard", **TEXT, title="Template", section="Campaign"),
        "goals": Param("", **TEXT, format="multiline", section="Brief"),
        "audience": Param("", **TEXT, section="Brief"),
        "channels": Param(["web", "cms"], **CODES, section="Brief"),
        "markets": Param(["DE", "FR"], **CODES, description="ISO 3166-1 alpha-2.", section="Brief"),
        "starts_on": Param("2027-03-01", **DATE, title="Starts on", section="Dates and money"),
        "ends_on": Param("2027-05-31", **DATE, title="Ends on", section="Dates and money"),
        "budget": Param(0, type="number", minimum=0, section="Dates and money"),
        "currency": Param("EUR", **TEXT, pattern="^[A-Z]{3}$", section="Dates and money"),
        "owners": Param(
            {"marketing_lead": "maya", "designer": "dario"},
            type="object",
            description="Role → username.",
            section="Owners and deliverables",
        ),
        "deliverables": Param(
            [
                {
                    "project": "HERO",
                    "title": "Hero image",
                    "kind": "image",
                    "channels": ["web", "cms"],
                    "markets": ["DE", "FR"],
                    "due_on": "2027-02-15",
                }
            ],
            type="array",
            items={"type": "object"},
            description="One row each; A/B versions are rows with the same title and a variant.",
            section="Owners and deliverables",
        ),
        "kpi_targets": Param({}, type="object", title="KPI targets", section="Owners and deliverables"),
    },
    **dag_settings("plan"),
):
    draft = DraftBriefOperator(task_id="draft")
    check = CheckBriefOperator(task_id="check", brief_id=draft.output)
    sign = SignBriefOperator(task_id="sign", brief_id=check.output)
    AnnounceOperator(task_id="brief_signed", event=BRIEF_SIGNED, keys=sign.output)
