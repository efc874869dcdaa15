# One command each; every one may be run again at any time.
.PHONY: ready demo up down reset test test-fast lint lock docs bench help

PY = .venv/bin/python
export PYTHONPATH := $(CURDIR)/plugins:$(CURDIR)

help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/.installed: requirements.txt
	@sh runtime/bootstrap.sh

ready: .venv/.installed
	@sh runtime/web.sh

demo: ready   ## play a whole campaign on real photographs through all seven stages
	@$(PY) -m runtime demo

up: ready     ## start everything and leave it running: prints the URL and the log-ins
	@$(PY) -m runtime up

down:           ## stop everything; nothing is lost
	@[ ! -x $(PY) ] || $(PY) -m runtime down

reset: down     ## stop everything and remove all state
	@rm -rf .dam

test: ready   ## everything: unit, property, DAGs, S3, migrations, scheduler, Celery, browser
	@sh runtime/test_tools.sh
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && sh runtime/web.sh check
	@# a worker that dies ends the run: with another in its place, pytest-xdist waits for ever
	@$(PY) -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slow"
	@# one process plays on the started stack, which mostly waits, the other has the browser
	@$(PY) -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m slow

test-fast: ready   ## the quick tests only, in less than a minute
	@$(PY) -m pytest -q -n 2 --dist loadfile --max-worker-restart 0 -m "not slow and not thorough"

lint: ready     ## ruff, mypy and the TypeScript compiler
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && sh runtime/web.sh check

lock:           ## compile requirements.txt from pyproject.toml
	@[ -x $(PY) ] || sh runtime/bootstrap.sh
	@$(PY) -m runtime lock

docs: .venv/.installed   ## write DAGS.md from the DAGs' docstrings
	@$(PY) -m runtime docs

bench: .venv/.installed  ## the benchmarks; each prints its ratios
	@for file in benchmarks/bench_*.py; do $(PY) $$file || exit 1; done
