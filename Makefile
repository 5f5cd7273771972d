# make book | make test | make test-slow | make test-slurm | make rehearse | make serve | make slides | make pdf | make clean.
# Everything is installed into .venv.
# The library runs on Python 3.11 to 3.13; the book needs 3.11, for which constraints.txt has exact versions and hashes.
PYTHON  ?= $(firstword $(shell command -v python3.11 python3 python))
PROFILE ?= quick
CORES   ?= all
PORT    ?= 8000

# Most chapters wait for this one: begun late, it leaves the other cores idle at the end.
LONGEST := --prioritize book/chapters/steering_sweep.ipynb

BIN  := .venv/bin
DONE := .venv/.installed
TEST := _build/test

# By default Snakemake looks once a second, for every job that has ended, whether it may begin another: with a hundred jobs
# that costs a fifth of a core.
SNAKEMAKE := $(BIN)/snakemake --max-jobs-per-timespan 1000/5s --rerun-incomplete --quiet rules host

# Several processes of one thread each: threads of two processes that wait for each other cost several times as much.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 4 --durations 15

.PHONY: book test test-units test-book test-notebooks test-pages test-slow test-slurm rehearse serve slides clean pdf

book: $(DONE)
	$(SNAKEMAKE) --cores $(CORES) --config profile=$(PROFILE) $(LONGEST)
	@echo "The book is here: file://$(CURDIR)/_build/html/index.html"

# Style, types, unit tests; then a small book with tiny parameters, its notebooks run once more, its pages opened.
test: $(DONE)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test-units
	$(MAKE) test-book

test-units: $(DONE)
	$(PYTEST) --dist loadfile --ignore tests/book/test_built_book.py

test-book: $(DONE)
	mkdir -p $(TEST)
	$(SNAKEMAKE) --directory $(TEST) --cores $(CORES) --config profile=tiny $(LONGEST)
	$(MAKE) test-notebooks test-pages

test-notebooks: $(DONE)
	STEERLIB_PROFILE=tiny $(PYTEST) --dist loadscope --nbval-lax --nbval-current-env $(TEST)/book/chapters

test-pages: $(DONE)
	STEERLIB_PROFILE=tiny BOOK=$(TEST)/_build/html $(BIN)/pytest --durations 15 -rs tests/book/test_built_book.py

# The papers' model in its true shape (16 GiB of memory, 4 GB of disk), and sweeps that are killed again and again.
test-slow: $(DONE)
	$(BIN)/pytest -m slow -s
	$(BIN)/pytest tests/robustness/test_properties.py --hypothesis-profile thorough

# A sweep on a Slurm of one node, which the test starts and stops; without Debian's slurmctld, slurmd, slurm-client and
# munge it says that they are lacking.
test-slurm: $(DONE)
	$(BIN)/pytest -m slurm -rs -s

# What the notebooks of a profile would cost, by running them on noise.
rehearse: $(DONE)
	$(BIN)/python -m book.rehearse data/experiments/$(PROFILE).yaml

serve: book
	@echo "Open http://127.0.0.1:$(PORT)/ and stop with Ctrl-C"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# The whole book as one PDF, printed by a Chromium.
pdf: book
	rm -rf _build/pdf
	$(BIN)/jupyter-book build . --builder singlehtml -q --path-output _build/pdf
	cp -r _build/pdf/_build/singlehtml/book/. _build/pdf/_build/singlehtml/  # its paths start there
	$(if $(CHROMIUM),CHROMIUM=$(CHROMIUM)) $(BIN)/python book/print.py _build/pdf/_build/singlehtml/intro.html _build/book.pdf

# Slides with sound (_build/slides/index.html) and a handout of one page (handout.pdf), from the executed chapters.
slides: book
	$(if $(CHROMIUM),CHROMIUM=$(CHROMIUM)) $(BIN)/python -m book.slides.make _build/slides

clean:
	rm -rf _build .snakemake book/chapters logs results trial

$(DONE): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed, and '$(PYTHON)' is not it; say: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
