"""Ingest: from files that landed to versions in the vault, or to a reason why not."""
