# Abruzzi: plain GNU make, out of tree in build/.
#   make            the program, build/abruzzi
#   make run        installs what is missing, makes a small model, generates from it
#   make test       at most 15 minutes on 2 cores; make test-full adds the heavy work
#   make check      room levels, formatting, linters
#   make install    PREFIX=/usr/local DESTDIR=
# Options: CC=gcc|clang  SAN=address|thread  DEBUG=1  V=1

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

CC := gcc
SAN :=
DEBUG :=
V :=
PREFIX := /usr/local
DESTDIR :=

VERSION := $(shell cat VERSION)
suffix := $(if $(SAN),-$(SAN))$(if $(filter clang%,$(notdir $(CC))),-clang)$(if $(DEBUG),-debug)
B := build$(if $(suffix),/variant$(suffix))
Q := $(if $(V),,@)

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wconversion -Wno-sign-conversion -Wvla
# Contraction would let the compiler fuse where it likes: results must not depend on the compiler.
CFLAGS := -std=c17 $(if $(DEBUG),-O0 -g3,-O3 -g) -ffp-contract=off -fno-math-errno -pthread \
          -fstack-protector-strong $(warnings)
CPPFLAGS := -Isrc -D_GNU_SOURCE -DABRUZZI_VERSION='"$(VERSION)"'
LDFLAGS := -pthread -Wl,-z,relro,-z,now
LDLIBS := -ljansson -lcrypto -lxxhash -lm

ifeq ($(SAN),address)
CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
LDFLAGS += -fsanitize=address,undefined
else ifeq ($(SAN),thread)
CFLAGS += -fsanitize=thread -fno-omit-frame-pointer -O1
LDFLAGS += -fsanitize=thread
else ifneq ($(SAN),)
$(error SAN=$(SAN): must be address or thread)
endif

avx512_flags := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mavx2 -mf16c

sources := $(sort $(wildcard src/*/*.c src/*/*/*.c))
main_source := src/cli/main.c
lib_objects := $(patsubst %.c,$(B)/%.o,$(filter-out $(main_source),$(sources)))
unit_tests := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/unit/test_*.c tests/kernels/test_*.c)))
fuzz_replays := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/replay_%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
test_tools := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/tools/*.c)))
benches := $(patsubst %.c,$(B)/%,$(sort $(wildcard bench/*.c)))

all: $(B)/abruzzi

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
$(B)/tests/kernels/%: $(B)/tests/kernels/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)
$(B)/tests/tools/%: $(B)/tests/tools/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/bench/%: $(B)/bench/%.o $(B)/libabruzzi.a
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

test-programs: $(B)/abruzzi $(unit_tests) $(fuzz_replays) $(test_tools)
bench: $(benches)

.PHONY: all test-programs bench
.SECONDARY:

-include $(shell find $(B) -name '*.d' 2>/dev/null)
