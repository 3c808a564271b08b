# Everything happens in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check format clean

demo: $(VENV)/.installed ## install, restore a sample photo, show before and after
	@mkdir -p demo
	$(BIN)/swinir upscale examples/chelsea.png --output demo/chelsea_x4.png --overwrite
	$(BIN)/python examples/before_after.py examples/chelsea.png demo/chelsea_x4.png demo/before_after.png
	@echo
	@echo "restored photo:    demo/chelsea_x4.png"
	@echo "before and after:  demo/before_after.png  (left: bicubic, right: swinir)"
	@echo
	@echo "Now yours:  source $(VENV)/bin/activate && swinir upscale MY.jpg"

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest -q

check: $(VENV)/.dev ## format, lint, types, import rule
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what was made here
	rm -rf $(VENV) demo build dist

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "swinir needs Python 3.11 or newer: run make PYTHON=python3.12 (or another)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed
