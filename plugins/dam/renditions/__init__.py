"""Renditions: what a version looks like for a use, by recipe. See :mod:`dam.renditions.render`."""
