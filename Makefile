# Abruzzi: plain GNU make, out of tree in build/. `make help` lists the targets.
# Options: CC=gcc|clang  SAN=address|thread|fuzzer  DEBUG=1  WERROR=1  V=1
# Nothing here may need a compiler or Python before packaging/install-deps.sh has run.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

CC := gcc
SAN :=
DEBUG :=
WERROR :=
V :=
FUZZ_SECONDS := 30
PORT := 8000
PREFIX := /usr/local
DESTDIR :=

VERSION := $(shell cat VERSION)
suffix := $(if $(SAN),-$(SAN))$(if $(filter clang%,$(notdir $(CC))),-clang)$(if $(DEBUG),-debug)$(if $(WERROR),-werror)
B := $(if $(filter fuzzer,$(SAN)),build/fuzz,build$(if $(suffix),/variant$(suffix)))
Q := $(if $(V),,@)

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wconversion -Wno-sign-conversion -Wvla $(if $(WERROR),-Werror)
# Contraction would let the compiler fuse where it likes: results must not depend on the compiler.
CFLAGS := -std=c17 $(if $(DEBUG),-O0 -g3,-O3 -g) -ffp-contract=off -fno-math-errno -pthread \
          -fstack-protector-strong $(warnings)
CPPFLAGS := -Isrc -D_GNU_SOURCE -DABRUZZI_VERSION='"$(VERSION)"'
LDFLAGS := -pthread -Wl,-z,relro,-z,now
LDLIBS := -ljansson -lssl -lcrypto -lcurl -lyaml -ledit -lxxhash -lm

ifeq ($(SAN),address)
CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
LDFLAGS += -fsanitize=address,undefined
else ifeq ($(SAN),thread)
CFLAGS += -fsanitize=thread -fno-omit-frame-pointer -O1
LDFLAGS += -fsanitize=thread
else ifeq ($(SAN),fuzzer)
CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
          -fno-omit-frame-pointer -O1
LDFLAGS += -fsanitize=fuzzer,address,undefined
else ifneq ($(SAN),)
$(error SAN=$(SAN): must be address, thread or fuzzer)
endif

avx2_flags := -mavx2 -mfma
avx512_flags := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mavx2 -mf16c

sources := $(sort $(wildcard src/*/*.c src/*/*/*.c))
main_source := src/cli/main.c
lib_objects := $(patsubst %.c,$(B)/%.o,$(filter-out $(main_source),$(sources)))
unit_tests := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/unit/test_*.c tests/kernels/test_*.c)))
fuzz_replays := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/replay_%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
test_tools := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/tools/*.c)))
benches := $(patsubst %.c,$(B)/%,$(sort $(wildcard bench/*.c)))
fuzzers := $(patsubst tests/fuzz/%.c,$(B)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
c_files = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

all: $(B)/abruzzi ## the program, build/abruzzi (the default)

$(B)/src/%_avx2.o: CFLAGS += $(avx2_flags)
$(B)/src/%_avx512.o: CFLAGS += $(avx512_flags)
# gcc vectorises no conditional on floats while it honours traps; values are the same either way.
$(B)/src/backend/sample/%.o: CFLAGS += -fno-trapping-math
$(B)/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libabruzzi.a: $(lib_objects)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(B)/abruzzi: $(B)/src/cli/main.o $(B)/libabruzzi.a
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Tests may be white box, so they see src/ and each other.
$(B)/tests/%.o: CPPFLAGS += -Itests
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
$(B)/tests/unit/test_split $(B)/tests/unit/test_grammar_dfa_regex: LDLIBS += -lpcre2-8
$(B)/tests/kernels/%: $(B)/tests/kernels/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
$(B)/tests/tools/%: $(B)/tests/tools/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/bench/%: $(B)/bench/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

test-programs: $(B)/abruzzi $(unit_tests) $(fuzz_replays) $(test_tools)
fuzzers: $(fuzzers)
bench: $(benches) ## the benchmarks, build/bench/*

# Use every core unless the caller chose a number of jobs.
jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
submake = $(MAKE) --no-print-directory $(jobs)

deps: ## install the Debian packages that are missing (apt-get, with sudo if need be)
	@packaging/install-deps.sh

run: ## serve a small model of random weights on PORT=8000
	@packaging/install-deps.sh build
	+@$(submake) all build/models/tiny
	exec $(B)/abruzzi serve build/models/tiny --served-model-name tiny --port $(PORT)

build/models/tiny: | $(B)/abruzzi
	@mkdir -p $(@D)
	@rm -rf $@.part
	$(B)/abruzzi synth $@.part --preset tiny
	@mv $@.part $@

# A stamp, so that an environment is made once for each list of requirements.
venv: build/venv/.made ; @:
venv-full: build/venv-full/.made ; @:
build/venv/.made: tests/requirements.txt
build/venv-full/.made: tests/requirements-full.txt tests/requirements.txt
build/venv/.made build/venv-full/.made:
	@rm -rf $(@D); mkdir -p $(dir $(@D))
	@for python in /usr/bin/python3 python3; do \
	    if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	        $$python -m venv $(@D); break; fi; done
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test: ## every test but the heavy ones; at most 15 minutes on 2 cores
	@packaging/install-deps.sh build test
	+@$(submake) test-programs venv
	@build/venv/bin/python tests/run.py --build $(B)

test-full: ## the same under sanitizers too, heavy tests, soak and fuzzing; hours
	@packaging/install-deps.sh build test check
	+@$(submake) test-programs venv venv-full
	+@$(submake) SAN=address test-programs
	+@$(submake) SAN=thread test-programs
	+@$(submake) SAN=fuzzer CC=clang fuzzers
	@build/venv/bin/python tests/run.py --build $(B) --full --fuzz $(FUZZ_SECONDS) \
	    --variant build/variant-address --variant build/variant-thread

fuzz: ## each fuzz target for FUZZ_SECONDS=30, built by clang with sanitizers
	@packaging/install-deps.sh build check
	+@$(submake) SAN=fuzzer CC=clang fuzzers
	@python3 tests/run.py --fuzz $(FUZZ_SECONDS)

check: ## room levels, format, linters, and both compilers with warnings as errors
	@packaging/install-deps.sh build test check
	python3 tools/check_levels.py
	@clang-format --dry-run -Werror $(c_files)
	+@$(submake) lint
	+@$(submake) WERROR=1 CC=gcc test-programs bench
	+@$(submake) WERROR=1 CC=clang test-programs bench

lint: $(addprefix build/lint/,$(addsuffix .ok,$(sources)))
	cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
	    --inline-suppr --suppressions-list=tools/cppcheck.txt --error-exitcode=1 -j $$(nproc) \
	    $(CPPFLAGS) src

build/lint/src/%_avx2.c.ok: lint_flags := $(avx2_flags)
build/lint/src/%_avx512.c.ok: lint_flags := $(avx512_flags)
build/lint/%.ok: % .clang-tidy $(wildcard src/*/*.h src/*/*/*.h)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  TIDY  $<")
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $< -- -std=c17 $(CPPFLAGS) $(lint_flags) \
	    2>$@.log || { cat $@.log; exit 1; }
	@touch $@

format: ## clang-format on every C file
	clang-format -i $(c_files)

bin_dir := $(DESTDIR)$(PREFIX)/bin
doc_dir := $(DESTDIR)$(PREFIX)/share/doc/abruzzi
share_dir := $(DESTDIR)$(PREFIX)/share/abruzzi
man_page := $(DESTDIR)$(PREFIX)/share/man/man1/abruzzi.1
completion := $(DESTDIR)$(PREFIX)/share/bash-completion/completions/abruzzi
unit := $(DESTDIR)$(PREFIX)/lib/systemd/system/abruzzi.service
models := $(wildcard models/*)

install: $(B)/abruzzi ## into PREFIX=/usr/local, below DESTDIR
	install -D -m 755 $(B)/abruzzi $(bin_dir)/abruzzi
	install -d $(doc_dir) $(dir $(man_page)) $(dir $(completion)) $(dir $(unit))
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' packaging/abruzzi.service >$(unit)
	install -D -m 755 packaging/healthcheck $(share_dir)/healthcheck
	install -m 644 packaging/config.yaml $(share_dir)/config.yaml
	$(B)/abruzzi man >$(man_page)
	$(B)/abruzzi completion bash >$(completion)
	install -m 644 README.md LICENSE CHANGELOG.md $(wildcard docs/*.md) $(doc_dir)
	$(if $(models),install -d $(share_dir)/models && cp -r $(models) $(share_dir)/models/)

uninstall: ## remove what install put there
	rm -f $(bin_dir)/abruzzi $(man_page) $(completion) $(unit)
	rm -rf $(doc_dir) $(share_dir)

clean: ## remove build/ but for the Python environments
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name 'venv*' -exec rm -rf {} +; fi

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: all test-programs fuzzers bench deps run venv venv-full test test-full fuzz check lint \
        format install uninstall clean help
.SECONDARY:

-include $(shell find $(B)/src $(B)/tests $(B)/bench -name '*.d' 2>/dev/null)
