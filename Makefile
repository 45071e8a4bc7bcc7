# duo: make [all|demo|test|clean]   CONFIG=release|asan|tsan   CUDA=1   WERROR=1   ARCH=native
# Sources are found by wildcard: a new file needs no line here.
CONFIG ?= release
ARCH   ?= native
CC     ?= cc
CXX    ?= c++
B      := build/$(CONFIG)

PACKAGES := openblas libcjson sentencepiece libpcre2-8 libzip zlib libcurl libcrypto sqlite3
OPT.release := -O3
OPT.asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT.tsan    := -O1 -fsanitize=thread
OPT    := -g -march=$(ARCH) -fopenmp $(OPT.$(CONFIG))
WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla $(if $(WERROR),-Werror)
WARNXX := -Wall -Wextra -Wshadow $(if $(WERROR),-Werror)
DEPS   = $(shell pkg-config --cflags $(PACKAGES))
LIBS   = $(shell pkg-config --libs $(PACKAGES)) -lunistring -lm
CFLAGS   = -std=gnu11 -D_GNU_SOURCE -I. $(OPT) $(WARN) $(DEPS) -MMD -MP
CXXFLAGS = -std=c++17 -I. $(OPT) $(WARNXX) $(DEPS) -MMD -MP

SRC    := $(wildcard harness/base/*.c harness/backend/*.c harness/backend/cpu/*.c harness/model/*.c \
            harness/model/*.cc harness/measure/*.c harness/cmd/*.c tasks/*.c prune/*.c data/*.c)
OBJ    := $(patsubst %,$B/%.o,$(filter-out harness/cmd/main.c,$(SRC)))
TESTS  := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/test_*.c))
SHTESTS := $(wildcard tests/test_*.sh)

all: build/duo

build/duo: $B/duo
	@ln -sfn $(CONFIG)/duo $@

$B/duo: $B/harness/cmd/main.c.o $B/libduo.a
	$(CXX) $(OPT) -o $@ $^ $(LIBS)

$B/libduo.a: $(OBJ)
	@rm -f $@
	ar rcs $@ $^

$B/tests/%: $B/tests/%.c.o $B/libduo.a
	$(CXX) $(OPT) -o $@ $^ $(LIBS)

$B/%.c.o: %.c build/.setup
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$B/%.cc.o: %.cc build/.setup
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

# Installs what is missing, once; again only when the list of packages changes.
build/.setup: scripts/setup
	@scripts/setup
	@mkdir -p build && touch $@

test: build/duo $(TESTS)
	@scripts/check-layers
	@DUO=$B/duo scripts/run-tests $(TESTS) $(SHTESTS)

demo: build/duo
	@scripts/demo

clean:
	rm -rf build

.SECONDARY:
.PHONY: all test demo clean
-include $(patsubst %,$B/%.d,$(basename $(SRC:.cc=.c))) $(OBJ:.o=.d)
