"""
### Plan: from a filled form to a signed brief

**Starts when** a person fills the trigger form. **Ends with** a brief that is signed, frozen and hashed;
its event starts `create_assets`.

**What it does.** Drafts the brief from a template in `include/templates/briefs/`, checks it, sets it as a PDF and
takes that through the gate as a version of the campaign's own document (`SPRING27-BRIEF_ACME`), freezes it as a
package, and asks the seats that `sign_offs.brief` of `include/templates/workflow.yaml` names, in the same room and by
the same rules as every review. Approved, the brief is signed; with changes requested, or rejected, it is sent back to
who drafted it with the comments and what must be fixed.

**When `check` fails** the brief has faults: its log and its XCom `faults` list every one with the field
and what to do. Trigger the DAG again with the form corrected; nothing else is needed.

**When `freeze` fails** its log says why: nobody is left to sign (who drafted a brief never signs it: give the role to
another person, or let another person draft), a later brief is signed already, or the document waits for the malware
scanner. Clear the task once that is put right.

**When `seat` waits** the marketing lead has the next move, in the room (*DAM → My approvals*) or on *Required
Actions*. At the seat's deadline the brief is sent back: silence never signs. A marketing lead or the DAM admin can ask
again on the package's page; `review_package` takes it from there.

**When a brief was sent back** trigger the DAG again with the form corrected: the new draft is the next version of the
same document, and the notes on the one before travel to it. Drafted while the one before is still open, it takes its
place.

**When you clear** any task, or delete the run: as `review_package` says. A signature that was given stays given.

Idempotent: the same run drafts the same brief, makes the same document and freezes the same package; a signed brief
can't change.
"""

from airflow.sdk import DAG, Param

from dam_operators.base import AnnounceOperator
from dam_operators.events import BRIEF_SIGNED
from dam_operators.groups import ReviewRound
from dam_operators.plan import CheckBriefOperator, DraftBriefOperator, FreezeBriefOperator
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
    freeze = FreezeBriefOperator(task_id="freeze", brief_id=check.output)
    sign_off = ReviewRound(freeze.output, purpose="brief")
    AnnounceOperator(task_id="brief_signed", event=BRIEF_SIGNED, keys=sign_off.signed)
