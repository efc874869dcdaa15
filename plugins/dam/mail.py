"""Mail to people: text and HTML from the templates in ``include/templates/emails``, over SMTP.

Each template is a pair: ``<name>.txt.j2``, whose first line is the subject, and ``<name>.html.j2``.
What each is given:

====================  ============================================================================
risks_to_clear,       ``subject, body`` (text) and, where there is one, ``due_hours``
destruction_to_sign
mentioned             ``author, asset, campaign, kind, where, body, private``; see
                      :func:`dam.review.annotations.mail_mentions`
licence_alert         ``days, reference, holder, asset, ends_on`` and ``live_urls`` (a list)
takedown              ``asset`` and the receipt of :func:`dam.channels.publish.withdraw`
guest_invited         ``name, campaign, invited_by, until, seat`` (whether they may sign), ``due`` (empty while
                      the seat waits for others)
guest_code            ``name, code, minutes``
report_ready          ``period, kpis`` (each ``name, number, unit``)
seat_open,            what :func:`dam.review.messages.context` gives
seat_reminder,
seat_escalated,
seat_closed
====================  ============================================================================

Every one takes a ``link``, the page to open.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    UndefinedError,
    select_autoescape,
)

from dam.errors import BadInput, DamError

if TYPE_CHECKING:
    from dam.services import Services

log = logging.getLogger(__name__)
_TIMEOUT = 20.0  # seconds


class MailFailed(DamError):
    """The mail server could not be reached or would not take the mail."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A calendar file that a mail carries: ``method`` is that of its content, ``REQUEST`` or ``CANCEL``."""

    content: bytes
    method: str


def send(
    services: Services,
    *,
    to: Sequence[str],
    template: str,
    context: Mapping[str, Any],
    invitation: Invitation | None = None,
    key: str = "",
) -> bool:
    """Send one mail to some people.

    :param to: usernames of ``workflow.yaml``, or addresses.
    :param template: the name of a template, for example ``licence_alert``.
    :param context: what the template speaks of, see above.
    :param invitation: a calendar file, shown by mail programs as an invitation and attached as well.
    :param key: makes the Message-ID, the same for the same key: who gets such a mail twice can see that it is one.
    :returns: whether a mail went out: not without an SMTP server in the settings, nor without anybody
        to send it to; both are logged.
    :raises BadInput: no such template or username, or the context lacks something the template needs.
    :raises MailFailed: the server could not be reached or took it for nobody.
    """
    subject, text, html = render(services, template=template, context=context)
    addresses = [address(services, person) for person in dict.fromkeys(to)]
    if not addresses:
        log.warning("The mail %r (%s) has nobody to go to.", subject, template)
        return False
    if not services.settings.smtp_url:
        log.info("No SMTP server is set; not sent to %s: %s", ", ".join(addresses), subject)
        return False
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = services.settings.mail_from
    message["To"] = ", ".join(addresses)
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = f"<{key}@dam>" if key else make_msgid(domain="dam")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: keeps holiday replies away
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    if invitation is not None:
        _invite(message, invitation)
    _hand_over(services.settings.smtp_url, message)
    return True


def _invite(message: EmailMessage, invitation: Invitation) -> None:
    """Add a calendar file: as the mail's third reading, which calendars act on, and as a file to save (RFC 6047)."""
    message.add_alternative(
        invitation.content.decode(), subtype="calendar", params={"method": invitation.method}, charset="utf-8"
    )
    message.add_attachment(invitation.content, maintype="application", subtype="ics", filename="deadline.ics")


def render(services: Services, *, template: str, context: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a mail's subject, text and HTML.

    :raises BadInput: no such template, or the context lacks something it needs.
    """
    environment = Environment(
        loader=FileSystemLoader(services.settings.include / "templates" / "emails"),
        # HTML is escaped; the text part must not be: the file's name decides.
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    web_url = services.settings.web_url.rstrip("/")
    known = {"web_url": web_url, "link": "", "due_hours": None, "live_urls": [], **context}
    try:
        subject, _, text = environment.get_template(f"{template}.txt.j2").render(known).partition("\n")
        html = environment.get_template(f"{template}.html.j2").render(known)
    except TemplateNotFound as error:
        raise BadInput(
            f"There is no mail template {error.name}.",
            where="include/templates/emails",
            remedy="Name one of the templates there.",
        ) from error
    except UndefinedError as error:
        raise BadInput(
            f"The mail template needs something it was not given: {error.message}.",
            where=f"include/templates/emails/{template}",
            remedy="Give it in the context.",
        ) from error
    return " ".join(subject.split()), text.lstrip("\n"), html


def address(services: Services, person: str) -> str:
    """Return the address of a username, or of a guest (``guest:<address>``); what is an address already stays.

    :raises BadInput: ``workflow.yaml`` knows no such person.
    """
    if "@" in person:
        return person.removeprefix("guest:")
    known = services.workflow.people
    if person not in known:
        raise BadInput(
            f"There is no person {person}.",
            where="include/templates/workflow.yaml",
            remedy=f"Add them under people, or use one of: {', '.join(known)}.",
        )
    return str(known[person].email)


def _hand_over(url: str, message: EmailMessage) -> None:
    parts = urlsplit(url)
    server = f"{parts.hostname}:{parts.port or 25}"
    secure = parts.scheme == "smtps"
    make = smtplib.SMTP_SSL if secure else smtplib.SMTP
    try:
        with make(parts.hostname or "", parts.port or (465 if secure else 25), timeout=_TIMEOUT) as smtp:
            if parts.username:
                if not secure:
                    smtp.starttls(context=ssl.create_default_context())  # a password never travels in the clear
                smtp.login(unquote(parts.username), unquote(parts.password or ""))
            for refused, why in smtp.send_message(message).items():
                log.warning("The mail server refused %s: %s", refused, why)
    except (OSError, smtplib.SMTPException) as error:
        raise MailFailed(
            f"The mail {message['Subject']!r} was not sent: {error}.",
            where=f"mail server {server}",
            remedy="Check smtp_url and that the server is up.",
        ) from error
