# make course   the environment, the data, every notebook headless → build/course/
# make test     the environment, lint and all tests
# make test COVERAGE=1   the same, with the share of lines and branches that the tests reach
# make lab      the environment, JupyterLab in notebooks/
# GPU=cu126 in front of any of them takes Paddle's GPU wheel of that CUDA instead of the CPU wheel.

PROFILE ?= tiny
GPU ?=
OUT ?= build/course
# The first Python that is new enough and can make virtual environments.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)

VENV := .venv
RUN := $(VENV)/bin/python
# An unpacked bundle brings its packages along and needs no network.
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check $(if $(wildcard wheels),--no-index --find-links wheels)
READY := $(VENV)/ready-$(or $(GPU),cpu)
PADDLE_VERSION = $(shell sed -n 's/^paddlepaddle==\([^ ]*\).*/\1/p' requirements.lock)
# Paddle's own page of GPU wheels; PyPI has only old ones.
PADDLE_WHEELS = https://www.paddlepaddle.org.cn/packages/stable/$(GPU)/paddlepaddle-gpu/

.PHONY: course answers behind site bundle test lab lint setup gpu-check lock notebooks measured figures clean

course: setup
	$(RUN) -m alstm_helpers course --profile $(PROFILE) --out "$(OUT)"

test: setup
	$(RUN) -m pytest -q $(if $(COVERAGE),--cov)

lab: setup
	$(RUN) -m alstm_helpers lab

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: python3: none of version 3.10 to 3.12 with venv was found; install one (on Debian and Ubuntu also python3-venv), or pass PYTHON=/path/to/python" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
ifeq ($(GPU),)
	$(PIP) --no-deps --require-hashes -r requirements.lock
else
	sed '/^paddlepaddle==/,/^    # /d' requirements.lock > $(VENV)/without-paddle.lock
	$(PIP) --no-deps --require-hashes -r $(VENV)/without-paddle.lock
	$(PIP) "paddlepaddle-gpu==$(PADDLE_VERSION)" --find-links $(PADDLE_WHEELS)
endif
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# On a machine with a GPU: make GPU=cu126 gpu-check
gpu-check: setup
	$(RUN) tools/gpu_check.py

# For maintainers: the newest versions that pyproject.toml allows; make lock KEEP=1 keeps those already locked.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	build/lock/bin/python tools/lock.py $(if $(KEEP),--keep)

notebooks: setup
	$(RUN) -m alstm_helpers.course.canonical
	$(RUN) tools/site.py --tables

# For instructors: the course with notes and answers. For CI: also each notebook from its cell "Are you behind?" on.
answers: setup
	$(RUN) -m alstm_helpers course --answers --profile $(PROFILE) --out build/answers

behind: setup
	$(RUN) -m alstm_helpers course --behind --profile $(PROFILE) --out build/behind

site: setup
	test -f "$(OUT)/summary.json" || $(RUN) -m alstm_helpers course --profile $(PROFILE) --out "$(OUT)"
	$(RUN) tools/site.py "$(OUT)" build/site

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

figures: setup
	$(RUN) -m alstm_helpers.figures.drawings
	$(RUN) -m alstm_helpers course --notebooks 01 --out build/figures
	cp build/figures/run/out/figures/01_model-attention.png figures/attention.png
	cp build/figures/run/out/figures/01_model-compare.png figures/three_models.png

clean:
	rm -rf $(VENV) build
