"""One machine's stack: embedded PostgreSQL, Airflow, the public origin and mail, and the demo on top."""
