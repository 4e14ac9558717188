# make demo   set up, then enlarge the bundled photograph 512x512 -> 2048x2048 through all stages
# make ui     set up, then open the app in the browser
# make test   set up, then run all tests
# make check  lint, types, tests
# make test-comfyui   run the nodes in a real ComfyUI: COMFYUI_DIR=..., COMFYUI_PYTHON=its interpreter
# make test-webui     run the extension in a real WebUI: WEBUI_DIR=..., WEBUI_PYTHON=its interpreter
# make clean  remove what these made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo ui test test-comfyui test-webui check lint clean

demo: $(VENV)/installed
	$(BIN)/upscaler run examples/photo.png -o demo/photo-x4.png --compare --overwrite

ui: $(VENV)/installed
	$(BIN)/upscaler ui

# A process for each core, with one thread each; then what drives browsers, windows and signals, alone: it waits for them.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile tests/unit tests/pipeline tests/contract tests/hosts tests/e2e
	$(BIN)/python -m pytest tests/frontends

test-comfyui: $(VENV)/installed
	$(BIN)/python -m pytest tests/comfyui

test-webui: $(VENV)/installed
	$(BIN)/python -m pytest tests/hosts/test_webui_server.py

check: lint test

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# On Linux without a GPU the CPU build of torch would do, but it lies on an index of its own: the pinned pair serves both.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "upscaler needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ui,desktop,test,lint]'
	touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache
