# The commands of the project; `make help` lists them. Everything is installed into $(VENV), and only there.
PYTHON ?= python3
VENV ?= .venv
# The PyTorch that the tests and benchmarks run with; empty: none is installed, and what needs it is skipped.
TORCH ?= torch==2.13.0
CLANG_TIDY ?= clang-tidy==23.1.4
# What `make bench` runs, one script a question.
BENCHMARKS ?= core synthetic torch_decide torch_serve
# Where `make floors` installs.
FLOORS ?= build/venv-floors
# How long `make fuzz` runs each fuzzer.
FUZZ_SECONDS ?= 15
# Where `make demo` leaves front.png and policy.safetensors.
DEMO_DIR ?= .

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMPS := $(VENV)/stamps
SOURCES := pyproject.toml CMakeLists.txt LICENSE README.md \
	$(shell find cpp licenses python -type f -not -name '*.so' -not -name '*.pyc')

# What is tested is what is installed: a PYTHONPATH of the caller's could put the source tree before it. And what is
# installed is compiled when it is first imported, not by every process again.
unexport PYTHONPATH PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow floors docs lint fuzz sanitize tidy bench gpu wheel wheel-check clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(STAMPS)/demo ## install into .venv, fit the bundled workload, write front.png and policy.safetensors
	@echo "== running the demo: $(DEMO_DIR)/front.png and policy.safetensors"
	@bin=$$(cd "$(BIN)" && pwd) && cd "$(DEMO_DIR)" && "$$bin/ttamer" demo

# One thread a process: as many processes as cores are at work already.
test: $(STAMPS)/test ## run the Python tests against the installed package, a process a core
	@echo "== running the tests, a process a core, without the slow ones (make test-slow)"
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

test-slow: $(STAMPS)/dev ## run the slow tests: of Ray, LiteLLM, compilers, training, benchmarks and fuzzers
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile -m slow

# In an environment of its own: its versions are not those that the other commands want.
floors: ## run the tests with the lowest versions that pyproject.toml allows, on PYTHON; without PyTorch
	@$(MAKE) --no-print-directory "$(FLOORS)/stamps/floors" VENV="$(FLOORS)"
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(FLOORS)/bin/python -m pytest --numprocesses auto --dist worksteal

docs: $(STAMPS)/docs ## build the pages and the reference into build/docs; notebooks run, warnings are errors
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs build/docs
	$(BIN)/python docs/check.py build/docs

# With PyTorch: strict mypy accepts no subclass of a class it cannot see.
lint: $(STAMPS)/dev ## ruff, mypy --strict, contracts of imports, the stubs of the core, clang-format
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m mypy.stubtest ttamer._core --allowlist cpp/bindings/stubtest.allow
	find cpp -name '*.[ch]pp' | xargs $(BIN)/clang-format --dry-run -Werror

# Not the seed of the tests, which run the first of its cases.
fuzz: $(STAMPS)/test ## hostile files and calls, logits and small models, FUZZ_SECONDS of each
	OMP_NUM_THREADS=1 $(BIN)/python bench/fuzz.py --seconds $(FUZZ_SECONDS) --seed 1

# --fresh: the cache of an earlier run names the build tools of an environment that may be gone.
sanitize: $(STAMPS)/dev ## C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	PATH="$$(cd "$(BIN)" && pwd):$$PATH" cmake --workflow --preset asan --fresh

tidy: $(STAMPS)/tidy ## clang-tidy over the core
	PATH="$$(cd "$(BIN)" && pwd):$$PATH" cmake --workflow --preset tidy --fresh

bench: $(STAMPS)/test ## run the benchmarks in full, results in bench/results (short: ttamer bench)
	set -e; for name in $(BENCHMARKS); do echo "== bench/$$name.py"; $(BIN)/python "bench/$$name.py"; done

gpu: $(STAMPS)/test ## where there is an NVIDIA GPU: the tests that need one, then the benchmarks (TORCH: one for CUDA)
	$(BIN)/python -m pytest -m cuda
	set -e; for name in torch_decide torch_serve torch_engine; do echo "== bench/$$name.py"; $(BIN)/python "bench/$$name.py"; done

wheel: $(BIN)/python ## build the wheel into dist
	$(PIP) wheel . --no-deps -w dist

wheel-check: ## build an sdist and its wheel twice, install it where there is no compiler, test that (Python >= 3.11)
	$(PYTHON) .ci/wheel

clean: ## remove builds, caches and .venv
	rm -rf build dist .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "ttamer needs Python >= 3.10, got %d.%d" % sys.version_info[:2])'
	@echo "== making the environment $(VENV)"
	@$(PYTHON) -m venv "$(VENV)"

# Built once and installed by force: pip takes a wheel of the version it already has for nothing new.
$(STAMPS)/package: $(SOURCES) | $(BIN)/python
	@echo "== building ttamer: CMake and pybind11 come by pip, then a C++ compiler is at work (a minute or so)"
	@rm -rf "$(VENV)/wheel"
	@$(PIP) wheel --quiet . --no-deps -w "$(VENV)/wheel"
	@$(PIP) install --quiet --force-reinstall --no-deps "$(VENV)"/wheel/ttamer-*.whl
	@mkdir -p $(@D) && touch $@

# --no-compile: Python compiles what it imports, and most of what is installed here it never does.
$(STAMPS)/demo: $(STAMPS)/package
	@echo "== installing what the demo needs: NumPy, SciPy, scikit-learn, Matplotlib (90 MB)"
	@$(PIP) install --quiet --no-compile "$$(echo "$(VENV)"/wheel/ttamer-*.whl)[cli]"
	@touch $@

# Another TORCH than that of the last call is installed; the same one is not looked up again.
# Today's pip, which takes three quarters of the time of the one that comes with Python 3.11.
$(STAMPS)/test: $(STAMPS)/package $(if $(subst =$(TORCH),,=$(shell cat "$(STAMPS)/test" 2>/dev/null)),FORCE)
	@echo "== installing what the tests need: Triton, transformers, PyArrow and more, $(or $(TORCH),no PyTorch) (a minute)"
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install --quiet --no-compile "$$(echo "$(VENV)"/wheel/ttamer-*.whl)[test]" $(if $(TORCH),"$(TORCH)")
	@echo "$(TORCH)" > $@

$(STAMPS)/dev: $(STAMPS)/test
	@echo "== installing the development tools, and what slow tests need: Ray, LiteLLM"
	@$(PIP) install --quiet --no-compile "$$(echo "$(VENV)"/wheel/ttamer-*.whl)[dev]"
	@touch $@

$(STAMPS)/docs: $(STAMPS)/package
	@echo "== installing what builds the documentation: Sphinx, Furo, MyST"
	@$(PIP) install --quiet "$$(echo "$(VENV)"/wheel/ttamer-*.whl)[docs]"
	@touch $@

$(STAMPS)/floors: $(STAMPS)/package
	@echo "== installing the lowest versions"
	@$(PIP) install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution lowest-direct -r pyproject.toml \
		--extra cli --extra fit --extra tables --extra serve
	$(BIN)/uv pip install --quiet --python $(BIN)/python hypothesis "pytest>=8" pytest-xdist
	@touch $@

$(STAMPS)/tidy: $(STAMPS)/dev
	$(PIP) install --quiet "$(CLANG_TIDY)"
	@touch $@

FORCE:
