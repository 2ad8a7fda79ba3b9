# Eye of Newt. `make` alone says what there is. Needs GNU make and Python >= 3.10; all else goes into .venv.

PRESET ?= laptop
WORKERS ?= 2
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready
# An editable install leaves out what `pip install .` puts here.
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.d
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

# The kernel named python3 is this environment's own, whatever kernels the machine or the user has.
export JUPYTER_PREFER_ENV_PATH := 1
export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter$(if $(JUPYTER_PATH),:$(JUPYTER_PATH))

.PHONY: help lab course test notebooks site slides student screenshots prior clean
.DEFAULT_GOAL := help

help:
	@echo "make lab                   open JupyterLab on the first notebook"
	@echo "make course [PRESET=smoke] run every notebook headless into runs/, build the site, print the table"
	@echo "           [WORKERS=1]         so many notebooks at a time, each with its share of the cores (2)"
	@echo "make test                  run every test, and check form and types of the code"
	@echo "           [WORKERS=1]         so many files of tests at a time (2)"
	@echo "make notebooks [ONLY=02]   run the notebooks and save their outputs in place (laptop)"
	@echo "make site                  build the site of the last run; of the committed notebooks if there is none"
	@echo "make slides [ONLY=02]      a deck of slides a lesson, and a handout to print, in build/slides/"
	@echo "make screenshots           write screenshots/, RESULTS.md and the README's tables from the notebooks"
	@echo "           [RUN=folder]        the moving picture, too: from the scrubber of this run of 02"
	@echo "make student               copies to work in, in student/: without solutions and outputs"
	@echo "make prior                 train a prior of your own into runs/prior; what was interrupted goes on"
	@echo "           [VIDEOS='a/ b/']    on the videos of these folders, beside generated clips"
	@echo "           [HOURS=3]           for so long"
	@echo "           [FROM=prior]        on from the weights that ship, or from a file"
	@echo "           [MIXTURE='real=6 leaves=2']  how often a clip of each source is drawn"
	@echo "           [SCORE=folder]      judged by these videos while it trains"
	@echo "           [ONLY=v2,v3,v4]     the autoencoders that ship, instead (an hour)"
	@echo "           [OUT=folder]        elsewhere; what ships is in eon_utils/models/weights"
	@echo "make clean                 remove runs/, build/ and caches; the environment in $(VENV) stays"
	@echo
	@echo "PRESET is smoke, laptop or full. The first call of any of them sets up $(VENV)."

lab: $(STAMP)
	$(PY) -m jupyterlab $(ROOT_FLAG) notebooks/00_start_here.ipynb

course: $(STAMP)
	$(PY) -m eon_utils run --preset $(PRESET) --workers $(WORKERS)

test: $(STAMP)
	$(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile

notebooks: $(STAMP)
	$(PY) -m eon_utils notebooks --only "$(ONLY)"

prior: $(STAMP)
	$(PY) -m eon_utils prior $(if $(ONLY),--only "$(ONLY)") $(if $(VIDEOS),--videos $(VIDEOS)) \
	  $(if $(HOURS),--hours $(HOURS)) $(if $(FROM),--from "$(FROM)") $(if $(MIXTURE),--mixture $(MIXTURE)) \
	  $(if $(SCORE),--score "$(SCORE)") $(if $(OUT),--out "$(OUT)")

slides: $(STAMP)
	$(PY) -m eon_utils slides --only "$(ONLY)"

site student: $(STAMP)
	$(PY) -m eon_utils $@

screenshots: $(STAMP)
	$(PY) -m eon_utils screenshots $(if $(RUN),--run "$(RUN)")

clean:
	rm -rf runs build .pytest_cache .ruff_cache
	find eon_utils experiments tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Written last: a set-up that was interrupted is taken up again by the next call.
$(STAMP): pyproject.toml
	@set -e; \
	python=; \
	for name in $(PYTHON) python3 python python3.14 python3.13 python3.12 python3.11 python3.10; do \
	  if command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python >= 3.10 found (python3 is: $$(python3 --version 2>&1 || true))." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! $$python -c 'import venv, ensurepip' >/dev/null 2>&1; then \
	  version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "error: $$python has no venv or no ensurepip, so it cannot make an environment." >&2; \
	  echo "On Debian and Ubuntu: sudo apt-get install python$$version-venv" >&2; exit 1; fi; \
	echo "Setting up $(VENV) with $$($$python --version): 3 to 6 minutes on a fast line."; \
	echo "Up to 3 GB are downloaded and 6 GB of disk used, most of it PyTorch with its GPU libraries."; \
	if [ -e $(VENV) ] && ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  echo "$(VENV) is unfinished or broken: made anew."; $$python -m venv --clear $(VENV); \
	elif [ ! -e $(VENV) ]; then $$python -m venv $(VENV); fi; \
	$(PY) -m pip install --disable-pip-version-check -e '.[course,data,shards,sweep,test]'; \
	mkdir -p $(LAB_SETTINGS); \
	cp eon_utils/notebook/static/eye-of-newt.json $(LAB_SETTINGS); \
	touch $@; \
	echo "Set up."
