# petbench: `make demo` runs the whole chain on embedded data, `make test` everything that CI runs.
PYTHON ?= python3
CORES  ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')
GPUS   ?= $(shell nvidia-smi -L 2>/dev/null | grep -c GPU)
BIN    := .venv/bin
GPU_PYTHON ?= $(firstword $(wildcard $(BIN)/python) $(PYTHON))

OVERNIGHT := config/overnight.yaml config/overnight_steps.yaml

.PHONY: setup demo evidence test checks lint format bench gpu-check lock clean

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("petbench needs Python 3.11 or newer; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

demo: setup
	$(BIN)/snakemake --cores $(CORES) --resources gpu=$(GPUS)
	@echo "report: $(CURDIR)/results/report/index.html"

# A night, or as many sittings as it takes: it goes on where it was. What it found is written into docs/results and its page.
evidence: setup
	nice $(BIN)/snakemake --cores $(CORES) --resources gpu=$(GPUS) --configfile $(OVERNIGHT)
	nice $(BIN)/snakemake verify --cores 1 --configfile $(OVERNIGHT)
	$(BIN)/python -m petbench.plan.evidence $(OVERNIGHT) --out docs/results/overnight --page docs/results.md

test: setup
	@$(MAKE) --jobs 2 lint checks

# Tests marked `browser`, `bids`, `slurm` and `mount` need more than Python; what a machine cannot do is left out by name; in CI that is an error, but for `mount`.
# A process more than cores, as some wait for a cluster; whole files to a process, as their tests share what takes long to make.
checks: setup
	@left_out="$$(tests/install_system_packages.sh)" || exit 1; \
	$(BIN)/pytest -n $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder $${left_out:+-m "not ($$left_out)"}

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile rules

bench: setup
	@for file in benchmarks/*.py; do case $$file in */timing.py|*/gpu_check.py) ;; *) $(BIN)/python $$file ;; esac; done

# On a machine with a GPU: any Python that has a torch for it, NumPy, SciPy and Numba, as GPU_PYTHON; nothing is installed.
gpu-check:
	PYTHONPATH=src $(GPU_PYTHON) benchmarks/gpu_check.py

# Pins every package anew; a build's local label, such as torch's +cpu, is no part of a version that others can install.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet '.[test,lint]'
	.venv-lock/bin/pip freeze --exclude petbench | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock build
	@{ printf '# The same for `snakemake --sdm conda`; `make lock` writes it. The project itself is installed by petbench.post-deploy.sh.\n'; \
	printf 'channels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n'; sed 's/^/      - /' requirements.lock; } > envs/petbench.yaml

clean:
	rm -rf results .snakemake
