# make course   the environment, the data, every notebook headless → build/course/
# make test     the environment, lint and all tests
# make test COVERAGE=1   the same, with the share of lines and branches that the tests reach
# make lab      the environment, JupyterLab in notebooks/
# make course LANG=zh-CN, make lab LANG=zh-CN, …   the same in Chinese
# They need Python 3.11 to 3.13 (Paddle has no wheel for 3.14), or uv, which brings one. Any of them takes
# GPU=cu126     Paddle's GPU wheel of that CUDA instead of the CPU wheel; PADDLE_WHEELS=URL: another page that has it
# PYTHON=PATH   the Python to use
# INDEX=URL     another package index
# PROFILE=small, OUT=DIR, OUT_ZH=DIR   how much data the course has; where it and its Chinese edition are executed

PROFILE ?= tiny
GPU ?=
OUT ?= build/course
OUT_ZH ?= build/course-zh-CN
PYTHON ?=
INDEX ?=
PADDLE_WHEELS ?=

# LANG of the command line; that of the environment, and ALSTM_LANG before it, the package reads itself.
IN_LANGUAGE := $(if $(filter command,$(firstword $(origin LANG))),--language "$(LANG)")

VENV := .venv
RUN := $(VENV)/bin/python
# What starts tools/setup_env.py, which then finds the Python for .venv: any Python from 3.7 on, outside of virtual
# environments (.venv may be the active one), or else one that uv brings. Looked for once, and only if needed.
STARTER = $(eval STARTER := $$(FIND_STARTER))$(STARTER)
FIND_STARTER = $(or $(shell for p in "$(PYTHON)" python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys, shlex; assert sys.version_info >= (3, 7); print(shlex.quote(getattr(sys, "_base_executable", "") or sys.executable))' 2>/dev/null && exit; \
	done; uv python install --quiet 3.12 2>/dev/null && uv python find --no-project --managed-python 3.12))
NO_STARTER = echo "error: python: none was found, and no uv that could bring one; install Python 3.11, 3.12 or 3.13 (on Debian and Ubuntu: python3-venv, too), or uv" >&2; exit 1;

# uv leaves most of the packages uncompiled, so what Python compiles must be kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: course answers behind site bundle test lab lint setup gpu-check lock newest notebooks zh measured costs evidence figures clean

course: setup
	$(RUN) -m alstm_helpers course $(IN_LANGUAGE) --profile $(PROFILE) --out "$(OUT)"

# A file of tests stays on one core: its tests share what is slow to make.
test: setup
	$(RUN) -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov)

lab: setup
	$(RUN) -m alstm_helpers lab $(IN_LANGUAGE)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

setup:
	@$(or $(STARTER),$(NO_STARTER)) tools/setup_env.py --python "$(PYTHON)" --gpu "$(GPU)" --index "$(INDEX)" --paddle-wheels "$(PADDLE_WHEELS)"

# On a machine with a GPU: make GPU=cu126 gpu-check
gpu-check: setup
	$(RUN) tools/gpu_check.py

# For maintainers: the newest versions that pyproject.toml allows; make lock KEEP=1 keeps those already locked.
lock:
	$(STARTER) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/python tools/lock.py $(if $(KEEP),--keep)

# The newest of everything, without pyproject.toml's upper bounds: what changed, what broke. TESTS="tests/test_metrics.py …"
# runs these instead of all tests and the course.
newest: setup
	$(RUN) -m tools.newest $(TESTS)

# The Chinese edition: new and changed texts into i18n/zh-CN, what is made from there, and what is wrong or missing.
zh: setup
	$(RUN) -m tools.i18n update render check

notebooks: setup
	$(RUN) -m alstm_helpers.course.canonical
	$(RUN) tools/site.py --tables

# For instructors: the course with notes and answers. And each notebook, or NOTEBOOKS="03 05", from its cell "Are you behind?" on.
answers: setup
	$(RUN) -m alstm_helpers course $(IN_LANGUAGE) --answers --profile $(PROFILE) --out build/answers

behind: setup
	$(RUN) -m alstm_helpers course $(IN_LANGUAGE) --behind --profile $(PROFILE) --out build/behind $(NOTEBOOKS:%=--notebooks %)

site: setup
	test -f "$(OUT)/summary.json" || $(RUN) -m alstm_helpers course --language en --profile $(PROFILE) --out "$(OUT)"
	test -f "$(OUT_ZH)/summary.json" || $(RUN) -m alstm_helpers course --language zh-CN --profile $(PROFILE) --out "$(OUT_ZH)"
	$(RUN) tools/site.py "$(OUT)" build/site "$(OUT_ZH)"

# The course, its data and every package it needs in one archive, for a room without a network: unpack, make course.
BUNDLE = attention-lstm-course
bundle: setup
	rm -rf build/bundle && mkdir -p build/bundle
	git archive --prefix=$(BUNDLE)/ HEAD | tar x -C build/bundle
	$(RUN) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock --dest build/bundle/$(BUNDLE)/wheels
	$(RUN) -c "from alstm_helpers.course.lab import Lab; Lab('bundle', profile='tiny', seed=0, data_dir='build/bundle/$(BUNDLE)/data/course/tiny').ensure_data()"
	tar cf build/$(BUNDLE).tar -C build/bundle $(BUNDLE)

# After a run of the whole course on an idle machine: its seconds, for the README and the workshop.
measured: setup
	cp "$(OUT)/summary.json" docs/measured.json
	$(RUN) -m alstm_helpers.course.canonical
	$(RUN) tools/site.py --tables

# What each command costs, and how that grows with the data, for docs/costs.md; eight minutes on Linux.
costs: setup
	$(RUN) -m tools.costs

# The trainings behind the notebooks' advice, with three or five seeds each; NAMES="parameters …": these alone.
evidence: setup
	$(RUN) -m tools.evidence $(NAMES)

figures: setup
	$(RUN) -m alstm_helpers.figures.drawings
	$(RUN) -m alstm_helpers course --notebooks 01 --out build/figures
	cp build/figures/run/out/figures/01_model-attention.png figures/attention.png
	cp build/figures/run/out/figures/01_model-compare.png figures/three_models.png

clean:
	rm -rf $(VENV) build
