"""The domain library: the whole life of a brand's digital assets. Never imports Airflow or the web."""
