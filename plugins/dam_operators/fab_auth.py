"""The FAB auth manager, knowing people by username as ``workflow.yaml`` does."""

from __future__ import annotations

from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.auth_manager.models import User


class DamFabAuthManager(FabAuthManager):
    """FAB's auth manager, except that a human task may be assigned to usernames.

    FAB's own user ids are numbers of its database, which nobody who edits ``workflow.yaml`` knows.
    """

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: User) -> bool:
        """Return whether the user is assigned, by username or by FAB's id."""
        return user.username in assigned_users or super().is_authorized_hitl_task(
            assigned_users=assigned_users, user=user
        )
