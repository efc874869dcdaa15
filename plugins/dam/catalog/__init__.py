"""The catalogue: typed models, migrations and the one lifecycle function."""
