# make book | make test | make serve | make clean. Needs Python 3.11; everything else is installed into .venv.
PYTHON  ?= $(firstword $(shell command -v python3.11 python3 python))
PROFILE ?= quick
CORES   ?= all
PORT    ?= 8000

BIN  := .venv/bin
DONE := .venv/.installed
TEST := _build/test

.PHONY: book test serve clean

book: $(DONE)
	$(BIN)/snakemake --cores $(CORES) --rerun-incomplete --quiet rules host --config profile=$(PROFILE)
	@echo "The book is here: file://$(CURDIR)/_build/html/index.html"

# Style, types, unit tests; then a small book with tiny parameters, its notebooks run once more, its pages opened.
test: $(DONE)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --ignore tests/test_built_book.py
	mkdir -p $(TEST)
	$(BIN)/snakemake --directory $(TEST) --cores $(CORES) --rerun-incomplete --quiet rules host --config profile=tiny
	BOOK=$(TEST)/_build/html $(BIN)/pytest --nbval-lax --nbval-current-env -rs $(TEST)/book/chapters tests/test_built_book.py

serve: book
	@echo "Open http://127.0.0.1:$(PORT)/ and stop with Ctrl-C"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

clean:
	rm -rf _build .snakemake book/chapters logs results

$(DONE): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed, and '$(PYTHON)' is not it; say: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
