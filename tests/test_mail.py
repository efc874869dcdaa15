"""Mail over a real SMTP server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from catchers import Inbox, mail_server
from dam import mail
from dam.errors import BadInput
from dam.invitations import Deadline, calendar_file
from dam.services import Services

CONTEXTS: dict[str, dict[str, Any]] = {
    "mentioned": {
        "author": "Bea Okafor",
        "asset": "HERO-A_ACME v2",
        "campaign": "Spring 2027",
        "kind": "must fix",
        "where": "at 0:12.48",
        "body": "@lena <b>look</b>",
        "private": "legal reviewer",
    },
    **{
        name: {
            "subject": "Spring 2027: 2 versions for the legal reviewer, round 1",
            "role": "legal reviewer",
            "due": "Friday, 5 March 2027, 17:00 UTC",
            "left": "4 hours" if name != "seat_escalated" else "",
            "ago": "" if name != "seat_escalated" else "4 hours",
            "signers": ["Lena Vogt"],
            "asked": ["Lena Vogt"],
            "instead_of": "",
            "lead": "A package is waiting for your signature.",
            "silence": "the seat closes unsigned; silence never approves",
            "over": "nothing is approved",
            "may_reopen": True,
            "proofs": [{"title": "HERO-A v1: A <red> cup", "link": "http://dam.example/dam/packages/p#v"}],
            "more": 0,
            "way": "",
        }
        for name in ("seat_open", "seat_reminder", "seat_escalated", "seat_closed")
    },
    "risks_to_clear": {"subject": "Clear the risks of 2 publications", "body": "ends soon", "due_hours": 24},
    "destruction_to_sign": {"subject": "Sign the destruction list", "body": "List `ab12`", "due_hours": 336},
    "licence_alert": {
        "days": 30,
        "reference": "CC-ACME-014",
        "holder": "Northlight & Sons",
        "asset": "HERO-A_ACME",
        "ends_on": "3 March 2027",
        "live_urls": ["http://origin/a.webp"],
    },
    "takedown": {
        "asset": "HERO-A_ACME",
        "channel": "web",
        "actor": "licence sweep",
        "withdrawn_at": "2027-03-04T00:10:00+00:00",
        "reason": "the licence ended",
        "endpoints": [{"status": 404, "url": "http://origin/a.webp", "at": "2027-03-04T00:10:00+00:00"}],
    },
    "guest_invited": {
        "name": "Eva <Stein>",
        "campaign": "Spring 2027",
        "invited_by": "Maya Lindqvist",
        "until": "3 March 2027",
        "seat": True,
        "due": "Tuesday, 2 March 2027, 17:00 CET (Europe/Berlin)",
    },
    "guest_code": {"name": "Eva <Stein>", "code": "1234 5678", "minutes": 10},
    "report_ready": {
        "period": "February 2027",
        "kpis": [
            {"name": "Reuse ratio", "number": 1.5, "unit": "uses"},
            {"name": "Cost per asset", "number": None, "unit": "EUR"},
        ],
    },
}


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str]]:
    with mail_server() as found:
        yield found


def _with(services: Services, **changes: Any) -> Services:
    return Services(replace(services.settings, **changes))


def _parts(message: EmailMessage) -> tuple[str, str]:
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()


@pytest.mark.parametrize("template", sorted(CONTEXTS))
def test_each_template_goes_out_as_text_and_html(services: Services, inbox: tuple[Inbox, str], template: str):
    handler, url = inbox
    context = CONTEXTS[template] | {"link": "http://dam.example/dam/x"}
    sent = _with(services, smtp_url=url, mail_from="dam@example.org")
    assert mail.send(sent, to=["maya@example.org"], template=template, context=context)
    [(recipients, message)] = handler.mails
    assert recipients == ["maya@example.org"]
    assert message["From"] == "dam@example.org"
    text, html = _parts(message)
    assert message["Subject"]
    assert message["Subject"] not in text.splitlines()[0]
    assert "http://dam.example/dam/x" in text
    assert 'href="http://dam.example/dam/x"' in html


def test_every_template_is_tested_and_is_a_pair(services: Services):
    folder = services.settings.include / "templates" / "emails"
    for ending in ("txt", "html"):
        found = {path.name.split(".")[0] for path in folder.glob(f"[!_]*.{ending}.j2")}
        assert found == set(CONTEXTS)


def test_html_is_escaped_and_text_is_not(services: Services):
    _, text, html = mail.render(services, template="seat_open", context=CONTEXTS["seat_open"])
    assert "A <red> cup" in text
    assert "A &lt;red&gt; cup" in html
    assert "<red>" not in html


def test_a_subject_is_one_line_whatever_it_is_given(services: Services, inbox: tuple[Inbox, str]):
    handler, url = inbox
    context = CONTEXTS["seat_open"] | {"subject": "Spring\r\nBcc: everyone@example.org"}
    assert mail.send(_with(services, smtp_url=url), to=["a@example.org"], template="seat_open", context=context)
    [(recipients, message)] = handler.mails
    assert recipients == ["a@example.org"]
    assert message["Bcc"] is None


@pytest.mark.parametrize(
    "days, said", [(30, "ends in 30 days"), (1, "ends tomorrow"), (0, "ends today"), (-2, "has ended")]
)
def test_the_licence_alert_counts_days_as_a_person_does(services: Services, days: int, said: str):
    subject, _, html = mail.render(
        services, template="licence_alert", context=CONTEXTS["licence_alert"] | {"days": days}
    )
    assert subject == f"The licence CC-ACME-014 for HERO-A_ACME {said}"
    assert "Northlight &amp; Sons" in html


def test_a_person_is_a_username(services: Services, inbox: tuple[Inbox, str]):
    handler, url = inbox
    sent = _with(services, smtp_url=url)
    people = services.workflow.people
    assert mail.send(sent, to=["maya", "lena", "maya"], template="seat_open", context=CONTEXTS["seat_open"])
    assert handler.mails[0][0] == [people["maya"].email, people["lena"].email]
    assert mail.send(sent, to=["guest:eva@studio.example"], template="seat_open", context=CONTEXTS["seat_open"])
    assert handler.mails[1][0] == ["eva@studio.example"]
    with pytest.raises(BadInput, match="no person nobody"):
        mail.send(sent, to=["nobody"], template="seat_open", context=CONTEXTS["seat_open"])


def test_without_a_server_it_is_logged(services: Services, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="dam.mail"):
        assert not mail.send(services, to=["a@example.org"], template="seat_open", context=CONTEXTS["seat_open"])
    assert "not sent to a@example.org: Your signature is needed: Spring 2027: 2 versions" in caplog.text


def test_with_nobody_to_tell_it_is_logged(services: Services, caplog: pytest.LogCaptureFixture):
    assert not mail.send(services, to=[], template="seat_open", context=CONTEXTS["seat_open"])
    assert "nobody to go to" in caplog.text


def test_one_refused_address_does_not_keep_the_mail_from_others(
    services: Services, inbox: tuple[Inbox, str], caplog: pytest.LogCaptureFixture
):
    handler, url = inbox
    to = ["a@gone.example", "b@example.org"]
    assert mail.send(_with(services, smtp_url=url), to=to, template="seat_open", context=CONTEXTS["seat_open"])
    assert handler.mails[0][0] == ["b@example.org"]
    assert "a@gone.example" in caplog.text


def test_a_mail_that_reaches_nobody_raises(services: Services, inbox: tuple[Inbox, str]):
    _, url = inbox
    with pytest.raises(mail.MailFailed, match="was not sent"):
        mail.send(
            _with(services, smtp_url=url),
            to=["a@gone.example"],
            template="seat_open",
            context=CONTEXTS["seat_open"],
        )


def test_a_server_that_is_down_raises_with_its_address(services: Services, inbox: tuple[Inbox, str]):
    with pytest.raises(mail.MailFailed, match=r"mail server 127\.0\.0\.1:9"):
        mail.send(
            _with(services, smtp_url="smtp://127.0.0.1:9"),
            to=["a@example.org"],
            template="seat_open",
            context=CONTEXTS["seat_open"],
        )


def test_a_password_never_travels_in_the_clear(services: Services, inbox: tuple[Inbox, str]):
    handler, url = inbox
    with pytest.raises(mail.MailFailed):
        mail.send(
            _with(services, smtp_url=url.replace("smtp://", "smtp://dam:secret@")),
            to=["a@example.org"],
            template="seat_open",
            context=CONTEXTS["seat_open"],
        )
    assert handler.mails == []


def test_the_takedown_says_what_is_still_shown_and_by_whom(services: Services):
    none = CONTEXTS["takedown"] | {"endpoints": []}
    for part in mail.render(services, template="takedown", context=none)[1:]:
        assert "none; it had never gone out" in part
    kept = none | {"kept": [{"url": "http://origin/a.webp", "publication_id": "pub_2"}]}
    for part in mail.render(services, template="takedown", context=kept)[1:]:
        assert "still shown by another publication (pub_2)" in part
        assert "never gone out" not in part


def test_an_invitation_is_shown_and_attached(services: Services, inbox: tuple[Inbox, str]):
    handler, url = inbox
    deadline = Deadline(
        uid="sea_1@airflow-dam", at=datetime(2027, 3, 5, 17, tzinfo=UTC), title="Deadline: Grüße", text="Sign.",
        link="http://dam.example/x", organiser="dam@example.org", person="lena@acme.example", name="Lena Vogt",
        alarm=timedelta(hours=4),
    )  # fmt: skip
    content = calendar_file(deadline, method="REQUEST", sequence=3, stamp=datetime(2027, 3, 1, tzinfo=UTC))
    invitation = mail.Invitation(content, "REQUEST")
    sent = _with(services, smtp_url=url)
    assert mail.send(
        sent, to=["lena"], template="seat_open", context=CONTEXTS["seat_open"], invitation=invitation, key="rem_1"
    )
    [(_, message)] = handler.mails
    assert message["Message-ID"] == "<rem_1@dam>"
    assert _parts(message)[0].startswith("A package is waiting for your signature")
    shown = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
    assert shown.get_param("method") == "REQUEST"
    [attached] = message.iter_attachments()
    assert attached.get_filename() == "deadline.ics"
    for told in (shown.get_content(), attached.get_content()):
        [event] = Calendar.from_ical(told).walk("VEVENT")
        assert (event["uid"], event["sequence"], event["summary"]) == ("sea_1@airflow-dam", 3, "Deadline: Grüße")


def test_faults_name_the_template(services: Services, tmp_path: Path):
    with pytest.raises(BadInput, match=r"no mail template nothing\.txt\.j2"):
        mail.render(services, template="nothing", context={})
    with pytest.raises(BadInput, match=r"templates/emails/seat_open.*'instead_of' is undefined"):
        mail.render(services, template="seat_open", context={"subject": "x"})
    shutil.copytree(services.settings.include / "templates" / "emails", tmp_path / "templates" / "emails")
    (tmp_path / "templates" / "emails" / "seat_open.html.j2").unlink()
    with pytest.raises(BadInput, match=r"no mail template seat_open\.html\.j2"):
        mail.render(_with(services, include=tmp_path), template="seat_open", context=CONTEXTS["seat_open"])
