# `make help` lists the commands; CI runs the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BACKENDS := tensorflow jax torch
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint pytest bench proof golden readme results costs edge devices adversarial browser mediapipe clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed ## Install, then train, export, check and benchmark four networks (ARGS="--help" shows options)
	$(BIN)/keras-resnets quickstart $(ARGS)

test: lint pytest ## Install what tests need, then lint, types and the whole suite on each backend

lint: $(VENV)/.installed-test ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

pytest: $(VENV)/.installed-test ## Run the suite once a backend (BACKENDS=jax for one)
	@set -e; marks=; for backend in $(BACKENDS); do \
		echo "== $$backend$${marks:+, without the tests that say the same on every backend}"; \
		KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n 2 --dist worksteal --quiet -m "$$marks"; \
		marks="not once"; \
	done

bench: $(VENV)/.installed-test ## Measure import and build time, training and adversarial steps, and the LiteRT harness
	@set -e; for backend in $(BACKENDS); do KERAS_BACKEND=$$backend $(BIN)/python tests/benchmarks/import_and_build.py; done
	@set -e; for backend in jax torch; do KERAS_BACKEND=$$backend $(BIN)/python tests/benchmarks/adversarial_steps.py; done
	@set -e; for backend in $(BACKENDS); do KERAS_BACKEND=$$backend $(BIN)/python tests/benchmarks/training.py; done
	$(BIN)/python tests/benchmarks/harness.py

costs: $(VENV)/.installed-test ## Measure some steps of every config, from which follows how long it trains here
	KERAS_BACKEND=torch $(BIN)/python tests/benchmarks/configs.py

proof: $(VENV)/.installed-test ## Compare every network on all backends, its .keras file and its .tflite file: an hour
	cd tests && ../$(BIN)/python -m proof

golden: $(VENV)/.installed-test ## Write the golden figures and weight names anew
	PYTHONPATH=tests $(BIN)/python -m golden.regenerate

readme: $(VENV)/.installed-test ## Write the README's tables anew from the registry and the result files
	PYTHONPATH=tests $(BIN)/python -m readme

results: $(VENV)/.installed-test ## Run the quickstart with its defaults and publish the results in the README
	$(BIN)/keras-resnets quickstart
	cp runs/quickstart/results.json recipes/results/quickstart.json
	$(MAKE) readme

# What `make edge` and `make devices` train: TRAINED_* to what the networks can reach, hours on a CPU, minutes on a GPU.
CIFAR := --data cifar10 --augment crop flip --learning-rate 0.1
FEW := --epochs 3 $(CIFAR)
TRAINED_resnet8 := --config resnet8_cifar10
TRAINED_resnet20 := --config resnet20_cifar10_modern --precision mixed_bfloat16
TRAINED_mobilenetv2_x0_5_cifar := --config mobilenetv2_x0_5_cifar10
TRAINED_shufflenetv2_x0_5_cifar := --config shufflenetv2_x0_5_cifar10 --precision mixed_bfloat16
# The same networks, trained until they are about as accurate as ResNet-8
MATCHED_mobilenetv2_x0_5_cifar := --model mobilenetv2_x0_5_cifar --epochs 15 $(CIFAR) --warmup 0.05 --weight-decay 2e-3
MATCHED_shufflenetv2_x0_5_cifar := --config shufflenetv2_x0_5_cifar10 --epochs 30 --augment crop flip \
	--precision mixed_bfloat16
MATCHED := $(foreach name,mobilenetv2 shufflenetv2,runs/matched/$(name)_x0_5_cifar/model.keras)
TRAINED := resnet8 resnet20 mobilenetv2_x0_5_cifar shufflenetv2_x0_5_cifar
BRIEF := seresnet20 preactresnet20 mobilenetv3small_cifar densenetbc40_12
R20 := runs/trained/resnet20
LONG := --epochs 20 --learning-rate 0.005
MODELS := $(foreach name,$(TRAINED),runs/trained/$(name)/model.keras)

runs/trained/%/model.keras: | $(VENV)/.installed-test
	$(BIN)/keras-resnets train $(TRAINED_$*) --out runs/trained/$*

runs/matched/%/model.keras: | $(VENV)/.installed-test
	$(BIN)/keras-resnets train $(MATCHED_$*) --out runs/matched/$*

edge: $(VENV)/.installed-test $(MODELS) ## Train on CIFAR-10, quantize in every way, prune, cluster, publish in export/README.md: hours
	@set -e; for name in $(BRIEF); do $(BIN)/keras-resnets train --model $$name $(FEW) --out runs/edge/$$name; done
	$(BIN)/keras-resnets sweep $(MODELS) --out runs/edge/sweep \
		--modes float32 float16 dynamic int8 int16x8 int8-weights int4-weights
	$(BIN)/keras-resnets sweep $(foreach name,$(BRIEF),runs/edge/$(name)/model.keras) --out runs/edge/sweep
	$(BIN)/keras-resnets compress $(R20)/model.keras --sparsity 0.5 $(LONG) --out $(R20)/prune50
	$(BIN)/keras-resnets compress $(R20)/model.keras --sparsity 0.75 $(LONG) --out $(R20)/prune75
	$(BIN)/keras-resnets compress $(R20)/model.keras --method cluster --epochs 1 --learning-rate 0.002 --out $(R20)/cluster16
	cp runs/edge/sweep/sweep.json recipes/results/
	set -e; for name in prune50 prune75 cluster16; do \
		cp $(R20)/$$name/compress.json recipes/results/compress-$$name.json; done
	$(MAKE) readme

devices: $(VENV)/.installed-test $(MODELS) $(MATCHED) ## Train networks on CIFAR-10, measure them on every runtime, publish in the README: hours
	mkdir -p runs/devices
	$(BIN)/keras-resnets export runs/trained/resnet8/model.keras --mode int8 --io int8 --data cifar10 \
		--out runs/devices/resnet8_mcu.tflite
	$(BIN)/keras-resnets bench $(MODELS) $(MATCHED) \
		runs/devices/resnet8_mcu.tflite --reference runs/trained/resnet8/model.keras --out runs/devices/bench
	$(BIN)/python tests/benchmarks/converter.py runs/trained/resnet8/model.keras cifar10
	cp runs/devices/bench/results.json recipes/results/devices.json
	$(MAKE) readme

browser: ## Install what `bench --runtime browser` needs: LiteRT.js by npm, and Chromium where apt-get may
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name && exit; done; \
		{ apt-get update --quiet=2 && apt-get install --yes --quiet=2 chromium; }
	npm install --silent --prefix "$${KERAS_RESNETS_LITERTJS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/keras-resnets/litertjs}" @litertjs/core@2.5.3

# In an environment of its own, because it wants another absl than tensorflow-model-optimization.
mediapipe: ## Install MediaPipe, which a test lets read the metadata of a file
	test -d .venv-mediapipe || $(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/pip --disable-pip-version-check install --quiet mediapipe==1.2.3

adversarial: $(VENV)/.installed-test ## Train GAN, DCGAN and ADDA on MNIST and USPS, publish in the README: hours
	$(BIN)/keras-resnets adda --data mnist usps --augment distort --epochs 3 --seeds 5 --out runs/adda-mnist-usps
	$(BIN)/keras-resnets adda --data usps mnist --augment distort --epochs 3 --seeds 5 --out runs/adda-usps-mnist
	$(BIN)/keras-resnets adda --data usps mnist --source-epochs 5 --seeds 5 --out runs/adda-usps-mnist-plain
	$(BIN)/keras-resnets gan --data mnist --packing 2 --ema 0.999 --out runs/gan-mnist
	$(BIN)/keras-resnets gan --data mnist --ema 0.999 --epochs 60 --out runs/gan-mnist-unpacked
	$(BIN)/keras-resnets dcgan --data mnist --width 32 --epochs 10 --out runs/dcgan-mnist
	set -e; for name in adda-mnist-usps adda-usps-mnist adda-usps-mnist-plain gan-mnist gan-mnist-unpacked dcgan-mnist; do \
		cp runs/$$name/metrics.json recipes/results/$$name.json; done
	$(MAKE) readme

clean: ## Remove the virtual environment, the caches and every run
	rm -rf $(VENV) .venv-mediapipe runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/.created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) --editable '.[test]'
	touch $@ $(VENV)/.installed
