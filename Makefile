# Short verbs for contributors; `./test` does all of `check` and `test` on a bare machine.
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: check format test unit bench lock docs

check:
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format:
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

test:
	./test

unit:
	$(BIN)/python -m pytest -q -m "not system"

bench:
	$(BIN)/python -m bench.parts
	$(BIN)/python -m bench.throughput
	$(BIN)/python -m bench.recipients
	$(BIN)/python -m bench.redirect

docs:
	tools/docs

lock:
	tools/lock
