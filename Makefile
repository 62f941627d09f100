# make app       install what is missing, start the workbench on http://127.0.0.1:8501
# make test      lint, the whole test suite with coverage, the browser tests
# make demo-data write a simulated dataset to demo-data/
# make test-engines
#                real Ray and Slurm clusters on this machine: the same curve, cancel, crash, resume; an MLflow server;
#                ONNX files answer as their checkpoints
# make hardness  hostile files and faults in full: the table of figures and targets; FOLDERS="a b" reads the files of those too
# make sbom      write the bill of materials of the lock file to sbom.cdx.json (CycloneDX)
# make audit-dependencies
#                ask the Python advisory database about every locked package; needs internet access
# make results   rewrite the README's table and screenshots from the checkpoints at hand

PYTHON ?= python3
BIN := .venv/bin

.PHONY: app test test-engines hardness lint lock sbom audit-dependencies demo-data results benchmarks clean

app: .venv/.installed
	@$(BIN)/python -m kidney_core.serve

test: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -m "not engines and not hardness" --cov=kidney_core --cov-report=term:skip-covered

test-engines: .venv/.installed-test .venv-ray/.installed .venv-mlflow/.installed
	@command -v sbatch >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || (apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends munge slurmctld slurmd slurm-client >/dev/null) \
	|| echo "Slurm's packages cannot be installed here: its tests are skipped"
	$(BIN)/python -m pytest tests/engines -s
	.venv-mlflow/bin/python -m pytest tests/test_mlflow_mirror.py tests/test_onnx_export.py

# Pillow's test images are in its source only; without a network the table is made without them.
hardness: .venv/.installed-test
	@ls .hardness/*illow-*/Tests >/dev/null 2>&1 || (mkdir -p .hardness && cd .hardness && \
	../$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: pillow && tar -xf *illow-*.tar.gz) \
	|| echo "Pillow's test images cannot be had: the table is made without them"
	$(BIN)/python -m tests.hardness $(FOLDERS)

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format .

sbom: .venv/.installed-test
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json

# Strict: a package that could not be looked up is a failure, not a clean bill.
audit-dependencies: .venv/.installed-test
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.lock

demo-data: .venv/.installed
	$(BIN)/python -m kidney_core.phantom demo-data

results: .venv/.installed-test
	$(BIN)/python -m benchmarks.results_table
	$(BIN)/python -m benchmarks.screenshots docs/screenshots

benchmarks: .venv/.installed-test
	$(BIN)/python -m benchmarks.app_speed

# A stamp newer than the lock means that nothing changed: a second run installs nothing.
.venv/.installed: requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

.venv/.installed-test: requirements-test.lock .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.lock
	touch $@

# Ray has an environment of its own, which sees the workbench's packages: the app must work without it.
# Environments of their own that see the workbench's packages: of a Ray cluster, and of an MLflow server and ONNX Runtime.
PURELIB := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
.venv-ray/.installed: PACKAGES = "ray[default,train]>=2.52,<3"
.venv-mlflow/.installed: PACKAGES = "mlflow>=3,<4" onnx onnxruntime onnxscript
.venv-ray/.installed .venv-mlflow/.installed: .venv/.installed-test
	$(BIN)/python -m venv $(@D)
	$(BIN)/python $(PURELIB) > "$$($(@D)/bin/python $(PURELIB))/workbench.pth"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGES)
	touch $@

# After a change of requirements*.txt; needs uv.
lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate requirements.txt -o requirements.lock
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate -c requirements.lock requirements-test.txt -o requirements-test.lock

clean:
	rm -rf .venv .hardness .venv-ray .venv-mlflow .pytest_cache .ruff_cache .coverage
