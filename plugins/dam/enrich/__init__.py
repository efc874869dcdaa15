"""Enrich: tags, rights and the metadata contract."""
