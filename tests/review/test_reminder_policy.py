"""The section ``reminders`` of workflow.yaml: what it may say, and the moments it comes to."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dam.errors import BadInput
from dam.review.reminder_policy import LAST, Reminders
from dam.settings import PROJECT
from dam.workflow import Workflow

PATH = PROJECT / "include" / "templates" / "workflow.yaml"
HOUR = timedelta(hours=1)


def test_the_seed_policy():
    policy = Workflow.load(PATH).reminders
    assert [(mark.kind, mark.offset / HOUR, mark.until / HOUR, mark.audience) for mark in policy.marks()] == [
        ("before_48h", -48, -24, "seat"),
        ("before_24h", -24, -4, "seat"),
        ("before_4h", -4, 0, "seat"),
        ("at", 0, 24, "seat"),
        ("after_24h", 24, 24 + LAST / HOUR, "seat"),
        ("escalate_4h", 4, 4 + LAST / HOUR, "escalation"),
    ]
    assert policy.alarm() == 4 * HOUR


FAULTS = {
    "span": ("[48h, 24h, 4h]", "[48h, tomorrow]", "'tomorrow' is no span of time", "90m, 4h, 2d"),
    "nothing": ("[48h, 24h, 4h]", "[0h]", "'0h' is no span of time", "90m, 4h, 2d"),
    "too long": ("[48h, 24h, 4h]", "[90d]", "'90d' is no span of time", "at most 30 days"),
    "twice": ("[48h, 24h, 4h]", "[48h, 2d]", "the same span stands there twice", "Name each once."),
    "role nobody holds": ("{after: 4h, to: marketing_lead}", "{after: 4h, to: boss}", "nobody holds the role boss", ""),
    "typo": ("escalate: {after", "escalates: {after", "escalates", "Did you mean 'escalate'?"),
    "no role": ("{after: 4h, to: marketing_lead}", "{after: 4h}", "reminders.escalate.to", "Add 'to' there."),
}


@pytest.mark.parametrize(("good", "bad", "told", "remedy"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_file_line_and_remedy(tmp_path, good, bad, told, remedy):
    text = PATH.read_text()
    assert good in text
    path = tmp_path / "workflow.yaml"
    path.write_text(text.replace(good, bad, 1))
    with pytest.raises(BadInput) as fault:
        Workflow.load(path)
    assert told in fault.value.what
    assert remedy in fault.value.remedy
    line = int(fault.value.where.rpartition(":")[2])
    near = text[: text.index("reminders:\n")].count("\n")
    assert near < line < near + 7


def test_a_workflow_without_the_section_reminds_before_and_at_the_deadline(tmp_path):
    head, _, rest = PATH.read_text().partition("reminders:\n")
    path = tmp_path / "workflow.yaml"
    path.write_text(head + rest[rest.index("\ndrops:") :])
    assert [mark.kind for mark in Workflow.load(path).reminders.marks()] == ["before_24h", "before_4h", "at"]


SPANS = st.lists(st.integers(1, 400), unique=True, max_size=5).map(lambda hours: [f"{hour}h" for hour in hours])


@given(before=SPANS, at=st.booleans(), after=SPANS, moment=st.integers(-1000, 1000))
def test_of_one_audience_one_mark_is_due_at_most_and_none_before_the_deadline_comes_after_it(before, at, after, moment):
    marks = Reminders.model_validate({"before": before, "at": at, "after": after}).marks()
    assert len({mark.kind for mark in marks}) == len(marks) == len(before) + at + len(after)
    due = [mark for mark in marks if mark.offset <= moment * HOUR < mark.until]
    assert len(due) <= 1
    for mark in due:
        assert (mark.offset < timedelta()) == (moment < 0)
        # the latest that is past, not one that another has overtaken
        assert mark.offset == max(other.offset for other in marks if other.offset <= moment * HOUR)
