# Everything happens in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Both of what is installed and of what builds it; newer versions of pip have a name of its own for the latter.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
NATIVE := $(wildcard native/* native/include/* native/src/*)
CPP := $(filter %.cpp %.h,$(NATIVE))

.PHONY: demo test golden check format docs wheel sanitize clean

demo: $(VENV)/.installed ## install, restore a sample photo, show before and after
	@mkdir -p demo
	$(BIN)/swinir upscale examples/chelsea.png --model lightweight-x4 --output demo/chelsea_x4.png --overwrite
	$(BIN)/python examples/before_after.py examples/chelsea.png demo/chelsea_x4.png demo/before_after.png
	@echo
	@echo "restored photo:    demo/chelsea_x4.png"
	@echo "before and after:  demo/before_after.png  (left: bicubic, right: swinir)"
	@echo
	@echo "Now yours:  source $(VENV)/bin/activate && swinir upscale MY.jpg"

# A process for each core, with one thread each: more of both would wait for one another.
test: $(VENV)/.dev ## run every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadfile

golden: $(VENV)/.dev ## record anew what the models and a tiny run give, after a change that was meant to change it
	$(BIN)/python tests/goldens.py

check: $(VENV)/.dev ## format, lint, types, import rule
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code in shape
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## the documentation site, in build/docs, without network; it fails where a link leads nowhere
	$(BIN)/python docs/site/commands.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "now:  $(BIN)/python -m http.server --directory build/docs"

wheel: $(VENV)/.dev ## dist/*.whl, for every machine with a processor of this kind and a glibc as new as here
	rm -rf build/wheel dist
	$(PIP) wheel --no-deps --wheel-dir build/wheel .
	PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist build/wheel/*.whl
	$(BIN)/python native/check_wheel.py dist/*.whl

# Preloaded: sanitizers want to be the first in a process, and theirs is the C++ library whose exceptions they watch.
SANITIZERS = $(foreach name,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(name).so))

sanitize: $(VENV)/.dev ## the kernel tests, ended by any memory error or undefined behaviour
	$(BIN)/cmake -G Ninja -S native -B build/sanitize -DCMAKE_MAKE_PROGRAM="$(CURDIR)/$(BIN)/ninja" \
		-DCMAKE_CXX_COMPILER="$(CXX)" -DCMAKE_COMPILE_WARNING_AS_ERROR=ON -DSWINIR_SANITIZE=ON \
		-DSWINIR_ISAS="avx512_bf16;avx512;avx2;portable;portable_bf16"
	$(BIN)/cmake --build build/sanitize
	SWINIR_CPU_LIBRARY="$(CURDIR)/build/sanitize/libswinir_cpu.so" LD_PRELOAD="$(SANITIZERS)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(BIN)/python -m pytest -q --capture=sys tests/kernels/test_native_*.py

clean: ## remove what was made here
	rm -rf $(VENV) demo build dist src/swinir/ops/libswinir_cpu.*

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "swinir needs Python 3.11 or newer: run make PYTHON=python3.12 (or another)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt $(NATIVE)
	$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml constraints.txt $(NATIVE)
	$(PIP) install --editable '.[dev]'
	$(PIP) install --no-deps spandrel # its torchvision would bring a PyTorch of its own; tests need none
	@touch $@ $(VENV)/.installed
