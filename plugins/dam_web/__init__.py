"""Pages and API under ``/dam``: board, approvals, review room, assets, librarian's table, reports."""
