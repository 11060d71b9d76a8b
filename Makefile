# Everything is installed into .venv: no root, nothing outside it.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/installed

.PHONY: install demo proof detour privacy test test-fast test-resolved resolve dist lint types format docs diagrams \
	kernels-report plan-tables lock clean

install: $(READY)

$(READY): requirements/lock.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint requirements/lock.txt pip setuptools torch
	$(BIN)/pip install --quiet --no-deps --requirement requirements/lock.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

demo: install
	$(BIN)/cmbert demo

# Real text comes from the directory that CMBERT_TEST_DATA names (docs/proof.md); writes the table of that page.
proof: install
	$(BIN)/python benchmarks/proof.py

# Recipes compared on real text, with paired seeds (docs/detour.md); writes the tables of that page.
detour: install
	$(BIN)/python benchmarks/detour.py

# Exposure of canaries and membership (docs/privacy.md); writes the tables of that page.
privacy: install
	$(BIN)/python benchmarks/privacy.py

# One thread per process: two test processes and their ranks share the cores, and waiting threads spin.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Everything that this machine can run; the slowest twenty are listed at the end.
test: install
	$(PYTEST) --durations 20

# The loop of everyday work: no ranks, no servers, no compilers.
test-fast: install
	$(PYTEST) -m "not (slow or ranks or servers or gpu)"

# The tests and the demo with the versions that pip resolves by itself, in an environment of its own (a nightly job).
RESOLVED := .venv-resolved
test-resolved:
	$(PYTHON) -m venv $(RESOLVED)
	$(RESOLVED)/bin/pip install --quiet --constraint requirements/constraints-cpu.txt torch setuptools
	$(RESOLVED)/bin/pip install --quiet --constraint requirements/constraints-cpu.txt \
		".[demo,evaluation,parquet,clouds,onnx,dev]"
	$(RESOLVED)/bin/pip check
	cd $(RESOLVED) && bin/cmbert demo --out demo
	OMP_NUM_THREADS=1 $(RESOLVED)/bin/pytest --numprocesses 2 --dist loadfile -m "not (servers or gpu)"

# A table of extra x tool x versions; needs the network. `WRITE=--write` also writes the constraints and uv.lock, and
# needs python3.10 too.
resolve: install
	$(BIN)/pip install --quiet uv
	$(BIN)/uv lock --quiet $(if $(WRITE),,--check)
	$(BIN)/python requirements/resolve.py $(WRITE)

# The wheel and the source distribution in dist/, checked as PyPI checks them.
dist:
	$(PYTHON) -m venv build/dist
	build/dist/bin/pip install --quiet build twine
	build/dist/bin/python -m build --outdir dist
	build/dist/bin/twine check --strict dist/*

lint: install types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The root is the package, whatever the checkout is called: mypy sees it under the package's name.
types: install
	mkdir -p .venv/typecheck
	ln -sfn $(CURDIR) .venv/typecheck/clinical_modernbert
	cd .venv/typecheck && MYPYPATH=$(CURDIR)/tests/support ../bin/mypy --config-file ../../pyproject.toml \
		clinical_modernbert

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site of all pages with the reference, in build/docs, to be opened from the disk or served; a link that leads
# nowhere is an error.
docs: install
	$(BIN)/pip install --quiet --no-deps --requirement requirements/docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# After a change of docs/diagrams/*.yaml.
diagrams: install
	$(BIN)/python docs/site/diagrams.py

# Compiles every Triton kernel for every architecture, checks the machine code, writes its tables into docs/kernels.md:
# with the locked Triton, then with the oldest and the newest that pyproject.toml admits (needs the network once).
OTHER_TRITONS := 3.5.0 3.9.0
kernels-report: install
	$(BIN)/python -m clinical_modernbert.kernels.verify.report
	for version in $(OTHER_TRITONS); do \
		test -d build/triton/$$version || $(BIN)/pip install --quiet --no-deps --target build/triton/$$version \
			triton==$$version || exit 1; \
		PYTHONPATH=build/triton/$$version TRITON_CACHE_DIR=build/triton/cache-$$version \
			$(BIN)/python -m clinical_modernbert.kernels.verify.report --summary || exit 1; \
	done

# After a change of what `cmbert plan` predicts: its output and tables in docs/planning.md.
plan-tables: install
	$(BIN)/python docs/site/planning.py

# After changing what is installed in .venv by hand: write down the versions that work together.
lock:
	( echo "# Versions that were tested together; written by \`make lock\`. Installed without dependency resolution, since"; \
	  echo "# mosaicml-streaming's own bounds are narrower than what it works with."; \
	  $(BIN)/pip freeze --all --exclude-editable | sed 's/+cpu//' ) > requirements/lock.txt

clean:
	rm -rf .venv .venv-resolved build dist *.egg-info
