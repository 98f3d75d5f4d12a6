# The verbs people type. Each does its own set-up: `make demo` and `make test` work on a fresh Debian or Ubuntu machine that has
# a Rust toolchain. What a verb needs is listed in .ci/setup; how the kernels are tested in tests/kernels/README.md.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

CARGO  ?= cargo
PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),target)
TRIPLE  = $(shell rustc -vV | sed -n 's/^host: //p')

# A tracer is a file in src/bin; there is no other list of them.
TRACERS := $(basename $(notdir $(wildcard src/bin/*.rs)))
BINARIES := nsmap $(TRACERS)

# How a binary is asked for its man page and its shell completions: `nsmap generate man`, `nsmap generate completions
# bash`, `execsnoop --generate man`.
# The one place that knows it; $(1) is the binary, $(2) is man, bash, zsh or fish.
generate = '$(TARGET)/release/$(1)' $(if $(filter nsmap,$(1)),generate $(if $(filter-out man,$(2)),completions),--generate) $(2)

.PHONY: help setup build demo test test-kernels test-kernels-cross test-peers bench lint install uninstall static dist clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup:  ## install what a build needs (clang, a linker); says what it installs
	@.ci/setup build

build: setup  ## build the release binaries into $(TARGET)/release
	$(CARGO) build --release --workspace --bins --locked

demo: build  ## run the main job for real: both sets, a filtered execsnoop, what it printed
	@BIN_DIR='$(abspath $(TARGET)/release)' tests/demo.sh

# The tools first: cargo builds them only for tests of their own package. Every test runs, whatever failed before it.
# Tests that need root or BPF say so and count as skipped; REQUIRE_BPF=1 makes them fail.
test: setup  ## build and run every test (as root: also those that load BPF)
	@mkdir -p '$(TARGET)'
	$(CARGO) build --workspace --bins --locked
	@status=0; $(CARGO) test --workspace --locked --no-fail-fast 2>&1 | tee '$(TARGET)/test.log' || status=$$?; \
	  echo; awk -f tests/kernels/report.awk '$(TARGET)/test.log' || status=1; exit $$status

KERNELS ?=
JOBS    ?= 3
test-kernels:  ## run the tests in VMs on other kernels: KERNELS="6.1 7.2", all x86-64 ones by default
	@.ci/setup build kernels
	@tests/kernels/run -j $(JOBS) $(KERNELS)

# Emulating another processor takes longer than emulating our own.
test-kernels-cross:  ## the same on arm64 and big-endian s390x, two at a time
	@.ci/setup build kernels cross
	@BOOT_LIMIT=$${BOOT_LIMIT:-120} TEST_LIMIT=$${TEST_LIMIT:-900} GUEST_LIMIT=$${GUEST_LIMIT:-3600} \
	  tests/kernels/run -j 2 --arch arm64,s390x $(KERNELS)

test-peers:  ## compare with BCC's and libbpf-tools' tools in a VM, where they run: rows, start, memory
	@.ci/setup build kernels
	@tests/kernels/peers

bench: build  ## measure side by side with the tools a user would have instead
	@.ci/setup bench || echo 'bench: a peer that is not here is a row that says so'
	@BIN_DIR='$(abspath $(TARGET)/release)' tests/bench/run

lint:  ## formatting and lints: Rust, C, shell
	@.ci/setup build lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	find bpf-src -name '*.[ch]' -exec clang-format --dry-run -Werror {} +
	shellcheck -x .ci/run .ci/setup .ci/dist tests/kernels/run tests/kernels/peers $(wildcard tests/kernels/guest/*) $(wildcard tests/*.sh tests/bench/run)

# No dependency on build: `sudo make install` must not run cargo as root. A page or completion that comes out empty fails.
install:  ## install binaries, man pages and completions: PREFIX=/usr/local DESTDIR=
	@for binary in $(BINARIES); do [ -x "$(TARGET)/release/$$binary" ] || { echo "$$binary is not built: run make build first" >&2; exit 1; }; done
	install -d $(foreach d,bin share/man/man8 share/bash-completion/completions share/zsh/site-functions share/fish/vendor_completions.d,'$(DESTDIR)$(PREFIX)/$(d)')
	install -m 755 $(BINARIES:%='$(TARGET)/release/%') '$(DESTDIR)$(PREFIX)/bin'
	$(foreach b,$(BINARIES),$(call install_generated,$(b),man,share/man/man8/$(b).8))
	$(foreach b,$(BINARIES),$(call install_generated,$(b),bash,share/bash-completion/completions/$(b)))
	$(foreach b,$(BINARIES),$(call install_generated,$(b),zsh,share/zsh/site-functions/_$(b)))
	$(foreach b,$(BINARIES),$(call install_generated,$(b),fish,share/fish/vendor_completions.d/$(b).fish))

# Through a variable first: a redirection would leave an empty file behind when the binary fails.
define install_generated
text=$$($(call generate,$(1),$(2))) && [ -n "$$text" ] || { echo '$(1) generated no $(2) text' >&2; exit 1; }; \
	  printf '%s\n' "$$text" > '$(DESTDIR)$(PREFIX)/$(3)'
	
endef

uninstall:  ## remove what install installed
	rm -f $(foreach b,$(BINARIES),$(foreach f,bin/$(b) share/man/man8/$(b).8 share/bash-completion/completions/$(b) \
	  share/zsh/site-functions/_$(b) share/fish/vendor_completions.d/$(b).fish,'$(DESTDIR)$(PREFIX)/$(f)'))

# With --target the flag reaches our binaries only: build scripts and procedural macros cannot be static.
static:  ## fully static binaries for any Linux of this architecture, into $(TARGET)/static
	@.ci/setup build static
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --release --workspace --bins --locked --target $(TRIPLE)
	@install -d '$(TARGET)/static'
	@for binary in $(BINARIES); do \
	  install -m 755 "$(TARGET)/$(TRIPLE)/release/$$binary" '$(TARGET)/static'; \
	  ! readelf --program-headers --dynamic "$(TARGET)/static/$$binary" | grep -E 'INTERP|NEEDED' || { echo "$$binary is not static" >&2; exit 1; }; \
	  ls -l "$(TARGET)/static/$$binary"; \
	done

dist:  ## release archives for x86_64, aarch64 and s390x, static, into $(TARGET)/dist
	@.ci/setup build cross
	@.ci/dist '$(TARGET)/dist'

clean:  ## remove everything built; downloaded kernels stay (.cache)
	$(CARGO) clean
