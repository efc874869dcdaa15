"""The domain library: the whole life of a brand's digital assets. Never imports Airflow or the web."""

import logging
from pathlib import Path

# libraries that tell every single step: in a task's log nobody would find anything else, and each line costs
for _name in ("pyvips", "great_expectations"):
    logging.getLogger(_name).setLevel(logging.WARNING)

#: The checkout: what people edit is in ``include/`` below it.
PROJECT = Path(__file__).resolve().parents[2]
