# What can be done in a clone. `make` alone prints the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.NOTPARALLEL: # in `make check test`, and in setup's list, order matters
.PHONY: help setup run test test-all check bpf schemas bench soak fuzz kafka clean packages

PYTHON := .venv/bin/python
OBJECTS := build/taskstream.bpf.o build/taskstream-claims.bpf.o
KAFKA := build/kafka/complete
BPF_C := $(filter-out bpf/task_event.h,$(wildcard bpf/*.[ch])) # what a human writes
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# To build, to run, then to test.
PACKAGES := clang libbpf-dev libc6-dev linux-libc-dev python3-venv \
	python3-bpfcc \
	bpftool clang-format kcat stress-ng tmux qemu-system-x86 busybox-static lz4 zstd \
	default-jdk-headless maven openssl perl

# What tests talk to: unpacked, not installed, so that none of it is started as a service.
UNPACKED := prometheus libdata-messagepack-perl \
	netdata-core libcap2 libjson-c5 libmnl0 libnetfilter-acct1 libuuid1 libuv1

# asm/types.h lies in a directory of the machine's own, which clang -target bpf does not search.
TRIPLET = $(shell /usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH"))')

help: ## print this list
	@sed -En 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

setup: packages $(OBJECTS) .venv/installed ## install what is missing; leaves .venv/bin/taskstream

run: setup ## start the main job; options in ARGS, as in `make run ARGS=--json`
	@exec .venv/bin/taskstream run $(ARGS)

test: setup $(KAFKA) build/debian/unpacked ## run the whole suite, kernel tests included; pytest's options in ARGS
	@$(PYTHON) -m pytest $(ARGS)

test-all: PACKAGES += qemu-system-arm lld
test-all: PACKAGES += $(if $(shell command -v npm),,npm)
test-all: setup $(KAFKA) build/debian/unpacked build/asyncapi/installed build/flink/complete ## the same, every hook mode on every kernel (docs/kernels.md), and what takes minutes
	@$(PYTHON) -m pip install --quiet --editable '.[dev,test-all]'
	$(PYTHON) -m pytest -m 'matrix or not matrix' $(ARGS)

check: setup ## ruff, mypy, clang-format, and whether generated files are current
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	clang-format --dry-run -Werror $(BPF_C)
	$(PYTHON) -m pytest -q tests/schema/test_generated.py

bpf: $(OBJECTS) ## compile the CO-RE objects

schemas: .venv/installed ## write what is generated from schemas/task_event.toml
	@$(PYTHON) -m taskstream.schema

kafka: setup $(KAFKA) ## start a real Kafka on loopback and print its address, until Ctrl-C
	@exec $(PYTHON) -m tests.kafka $(ARGS)

fuzz: setup ## fuzz a decoder with atheris; which, and for how long, in ARGS
	@$(PYTHON) -m pip install --quiet 'atheris>=3,<4'
	$(PYTHON) -m tests.fuzz $(ARGS)

bench: setup ## measure the cost table of the README
	@$(PYTHON) -m tests.bench $(ARGS)

soak: setup ## the agent under churn for ten minutes, or as many as ARGS says
	@$(PYTHON) -m tests.soak $(ARGS)

clean: ## delete what was built and cached; the environment in .venv stays
	@rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find taskstream tests -name __pycache__ -prune -exec rm -r {} +

build/debian/unpacked: Makefile | packages
	@rm -rf $(@D)
	mkdir -p $(@D)/archives
	cd $(@D)/archives
	apt-get download -q $(UNPACKED) || (apt-get update && apt-get download -q $(UNPACKED))
	for archive in *.deb; do dpkg -x "$$archive" ..; done
	touch ../unpacked

packages:
	@installed=$$(dpkg-query -W -f ' $${Package}:$${db:Status-Status} ' $(PACKAGES) 2>/dev/null || true)
	missing=()
	for package in $(PACKAGES); do
		[[ $$installed == *" $$package:installed "* ]] || missing+=("$$package")
	done
	if ((!$${#missing[@]})); then exit; fi
	if ((UID)); then
		echo "make: Debian packages are missing; as root: apt-get install $${missing[*]}" >&2
		exit 1
	fi
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$${missing[@]}"

# Debian's own Python, whatever stands first in PATH: only it can import Debian's bcc.
.venv/installed: pyproject.toml hatch_build.py | packages
	@[[ -x .venv/bin/pip ]] || /usr/bin/python3 -m venv --system-site-packages .venv
	$(PYTHON) -m pip install --quiet --editable '.[dev]'
	touch $@

# AsyncAPI's own parser, some 50 MB.
build/asyncapi/installed: Makefile | packages
	@mkdir -p $(@D)
	npm install --prefix $(@D) --silent --no-audit --no-fund --ignore-scripts @asyncapi/parser@3
	touch $@

# Apache Kafka for the tests: some 45 MB of jars from Maven Central, and nothing outside of build/.
$(KAFKA): tests/kafka/pom.xml | packages
	@rm -rf $(@D)
	if ! mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory=$(CURDIR)/$(@D); then
		echo "make: no Kafka: Maven Central was not to be had, or java is missing" >&2
		exit 1
	fi
	touch $@

# Apache Flink, likewise: some 140 MB.
build/flink/complete: tests/interop/flink/pom.xml | packages
	@rm -rf $(@D)
	mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory=$(CURDIR)/$(@D)
	touch $@

# The prefix map keeps the path of this clone out of the object, and so out of the wheel.
build/taskstream-claims.bpf.o: VARIANT := -DNUMBERS_BY_CLAIM
$(OBJECTS): $(wildcard bpf/*.[ch]) Makefile
	@mkdir -p $(@D)
	if ! clang -O2 -g -target bpf -mcpu=v3 -Wall -Werror -ffile-prefix-map=$(CURDIR)=. $(VARIANT) \
		-I/usr/include/$(TRIPLET) -c bpf/taskstream.bpf.c -o $@.$$$$; then
		echo "make: no BPF object; it needs Debian's clang, libbpf-dev, linux-libc-dev" >&2
		exit 1
	fi
	mv $@.$$$$ $@
