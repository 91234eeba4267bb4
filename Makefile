# make env    sets up .venv with the tested versions       make demo   the whole road on the embedded database
# make test   passes the tests                             make lint   style and types
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test lint clean

env: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: env
	$(BIN)/affectory run experiment=quickstart

# many small networks: threads only get in each other's way; two processes do not
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf .venv out build *.egg-info
