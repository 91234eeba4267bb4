# make env    sets up .venv with the tested versions       make demo   the whole road on the embedded database
# make test   passes the tests                             make lint   style and types
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test lint browser clean

env: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: env
	$(BIN)/affectory run experiment=quickstart

# many small networks: threads only get in each other's way; two processes do not
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# the pages are tested in Chromium; where it cannot be had, these tests are skipped
BROWSER = command -v chromium && command -v chromedriver
browser:
	@if ! { $(BROWSER); } >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq chromium chromium-driver >/dev/null || true; fi
	@{ $(BROWSER); } >/dev/null || echo "no chromium or no chromedriver: its tests are skipped"

clean:
	rm -rf .venv out build *.egg-info
