"""Plan: briefs."""
