"""Reminders: telling people of the seats that wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dam_operators.base import DamOperator, run_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class RemindOperator(DamOperator):
    """Reminds people of seats around their deadline, each once, and mails who was named in a note and was not mailed.

    Returns counts of messages.
    """

    def work(self, context: Context) -> dict[str, Any]:
        """Remind."""
        from dam.review import annotations as notes
        from dam.review import reminders

        mentioned = notes.mail_mentions(self.services)
        return reminders.remind(self.services, run=run_name(context)) | {"mentioned": mentioned}
