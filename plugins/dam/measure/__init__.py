"""Measure: usage facts from the access log, and KPIs that say where they come from."""
