"""Messages to a chat room, through the incoming webhook that Slack, Mattermost, Rocket.Chat and Teams offer.

The address is a secret: whoever knows it can write to the room. It stands in no log and in no error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from dam.errors import DamError

if TYPE_CHECKING:
    from dam.services import Services

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
#: Teams takes cards; everything else takes ``{"text": …}``.
_TEAMS = (".logic.azure.com", ".powerplatform.com", ".webhook.office.com")


class ChatFailed(DamError):
    """The chat room's webhook could not be reached or would not take the message."""


def post(services: Services, text: str, *, link: str = "", button: str = "Open") -> bool:
    """Post one message.

    :param text: plain text; it can't call the whole room together, whatever names stand in it.
    :param link: page to open. :param button: what the link is called where there are buttons.
    :returns: whether it was posted: not without a webhook in the settings.
    :raises ChatFailed: the webhook could not be reached or refused it. Posted once; try again when you like.
    """
    url = services.settings.chat_url
    if not url:
        return False
    parts = urlsplit(url)
    where = f"chat webhook at {parts.hostname}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ChatFailed("its address is no web address", where="DAM_CHAT_URL", remedy="Give the webhook's URL.")
    body = _card(text, link, button) if parts.hostname.endswith(_TEAMS) else {"text": _plain(text, link)}
    try:
        answer = httpx.post(url, json=body, timeout=_TIMEOUT, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ChatFailed(f"it was not reached: {type(error).__name__}", where=where, remedy=_REMEDY) from None
    if not answer.is_success:
        said = " ".join(answer.text.replace(url, "…").split())[:200]
        raise ChatFailed(f"it answered {answer.status_code}: {said or 'nothing'}", where=where, remedy=_REMEDY)
    return True


_REMEDY = "Check the webhook's address (DAM_CHAT_URL or the connection dam_chat) and that it is still there."


def _plain(text: str, link: str) -> str:
    """Return a message as Slack and its kin read it: without markup of theirs, the address on a line of its own."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _calm(escaped) + (f"\n{link}" if link else "")


def _card(text: str, link: str, button: str) -> dict[str, Any]:
    """Return a message as Teams reads it: an Adaptive Card."""
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "TextBlock", "text": _calm(text), "wrap": True}],
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": button, "url": link}]
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }


def _calm(text: str) -> str:
    """Return a text in which nobody is called by ``@here``, ``@all`` and the like."""
    return re.sub(r"@(?=\w)", "@\u200b", text)
