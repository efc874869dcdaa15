"""The Airflow side: operators, sensors, triggers and events over the :mod:`dam` library."""
