# make app       install what is missing, start the workbench on http://127.0.0.1:8501; TORCH=cpu leaves CUDA out
# make check     lint, types, quick tests without a browser: minutes
# make test      lint, types, the docs, the whole test suite with coverage, the browser tests
# make docs      build the documentation into site/; make docs-serve shows it on http://127.0.0.1:8000
# make demo-data write a simulated dataset to demo-data/
# make test-engines
#                real Ray and Slurm clusters on this machine, an MLflow server, ONNX files
# make hardness  hostile files and faults in full: the table of figures and targets; FOLDERS="a b" reads the files of those too
# make wheel     build the wheel into dist/
# make lock      resolve requirements*.txt into requirements*.lock with hashes; needs uv
# make sbom      write the bill of materials of the lock file to sbom.cdx.json (CycloneDX)
# make audit-dependencies
#                ask the Python advisory database about every locked package; needs internet access
# make results   rewrite the tables of figures and the screenshots from the checkpoints at hand

PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
TORCH ?= cuda
CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: app check test test-engines hardness lint docs docs-serve wheel lock sbom audit-dependencies demo-data results benchmarks clean

app: .venv/.installed
	@$(BIN)/kidney-ct app

check: lint
	$(BIN)/python -m pytest -n 2 -m "not browser and not slow and not engines and not hardness"

test: lint docs
	$(BIN)/python -m pytest -n 2 -m "not engines and not hardness" --cov=kidney_core --cov-report=term:skip-covered

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv-docs/.installed
	.venv-docs/bin/zensical build --strict

docs-serve: .venv-docs/.installed
	.venv-docs/bin/zensical serve

test-engines: .venv/.installed-test .venv-ray/.installed .venv-mlflow/.installed
	@command -v sbatch >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || (apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends munge slurmctld slurmd slurm-client >/dev/null) \
	|| echo "Slurm's packages cannot be installed here: its tests are skipped"
	$(BIN)/python -m pytest tests/clusters -s
	.venv-mlflow/bin/python -m pytest tests/engines/test_mlflow_mirror.py tests/checkpoints/test_onnx_export.py

# Pillow's test images are in its source only; without a network the table is made without them.
hardness: .venv/.installed-test
	@ls .hardness/*illow-*/Tests >/dev/null 2>&1 || (mkdir -p .hardness && cd .hardness && \
	../$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: pillow && tar -xf *illow-*.tar.gz) \
	|| echo "Pillow's test images cannot be downloaded: the table is made without them"
	$(BIN)/python -m tests.hardness $(FOLDERS)

wheel: .venv/.installed-test
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

sbom: .venv/.installed-test
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json

# Strict: a package that could not be looked up is a failure.
audit-dependencies: .venv/.installed-test
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.lock

demo-data: .venv/.installed
	$(BIN)/kidney-ct phantom demo-data

results: .venv/.installed-test
	$(BIN)/python -m benchmarks.results_table
	$(BIN)/python -m benchmarks.screenshots docs/screenshots

benchmarks: .venv/.installed-test
	$(BIN)/python -m benchmarks.app_speed

# A stamp newer than the lock means that nothing changed: a second run installs nothing.
.venv/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	@if curl --silent --fail --head --max-time 20 --output /dev/null $(CPU_INDEX)/torch/; then \
	  echo "Installing into .venv: about 0.5 GB to download, with PyTorch for the processor only."; \
	  $(BIN)/python $(PIP) --index-url $(CPU_INDEX) $$(grep -oE '^torch(vision)?==[0-9.]+' requirements.lock); \
	  awk '/^[a-z]/ { skip = /^(torch|torchvision|triton|nvidia-|cuda-)/ } !skip' requirements.lock > .venv/without-torch.lock; \
	  $(BIN)/python $(PIP) --no-deps -r .venv/without-torch.lock; \
	else \
	  echo "PyTorch's wheels for the processor cannot be reached at $(CPU_INDEX): installing the build with CUDA instead,"; \
	  echo "about 3.3 GB to download and 6.8 GB on disk. It runs without a GPU too."; \
	  $(BIN)/python $(PIP) -r requirements.lock; \
	fi
else
	@echo "Installing into .venv: about 3.3 GB to download and 6.8 GB on disk, 5.3 GB of it CUDA. TORCH=cpu leaves CUDA out."
	@$(BIN)/python $(PIP) -r requirements.lock
endif
	@$(BIN)/python $(PIP) --no-deps --editable .
	@touch $@

.venv/.installed-test: requirements-test.lock .venv/.installed
	$(BIN)/python $(PIP) --no-deps -r requirements-test.lock
	touch $@

.venv-docs/.installed: requirements-docs.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP) --no-deps -r requirements-docs.txt
	touch $@

# Environments of their own that see the workbench's packages: of a Ray cluster, and of an MLflow server and ONNX Runtime.
PURELIB := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
.venv-ray/.installed: PACKAGES = "ray[default,train]>=2.52,<3"
.venv-mlflow/.installed: PACKAGES = "mlflow>=3,<4" onnx onnxruntime onnxscript
.venv-ray/.installed .venv-mlflow/.installed: .venv/.installed-test
	$(BIN)/python -m venv $(@D)
	$(BIN)/python $(PURELIB) > "$$($(@D)/bin/python $(PURELIB))/workbench.pth"
	$(@D)/bin/python $(PIP) $(PACKAGES)
	touch $@

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements.txt -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements.lock requirements-test.txt -o requirements-test.lock

clean:
	rm -rf .venv .venv-docs .venv-ray .venv-mlflow .hardness .mypy_cache .pytest_cache .ruff_cache .coverage dist site
