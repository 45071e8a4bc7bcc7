# duo: make [all|demo|test|clean]   CONFIG=release|asan|tsan   WERROR=1   ARCH=native
#      CUDA=1 adds the GPU backend (toolkit 12.4 or newer), for CUDA_ARCH="80 86 89 90" unless chosen;
#      MPI=1 runs as several processes under mpirun or srun (OpenMPI); with CUDA=1 NCCL=1 these can hold one model
#      make fuzz [TARGET="json http"] [TIME=60]: the parsers under libFuzzer; fuzz-check: all, shorter, for CI
#      make check-kernels [CUDA=1] [BENCH=1]: the GPU's operations against the CPU's
#      make test-long: every fault, 200 kills, planted mistakes; make analyse, make valgrind, make coverage
#      make regress [UPDATE=1]: the demo's scores and speed against results/baseline
# Sources are found by wildcard: a new file needs no line here.
CONFIG ?= release
ARCH   ?= native
CC     ?= cc
CXX    ?= c++
# Objects in O, what is linked of them in B: with MPI=1 only the seam of processes is another.
O      := build/$(CONFIG)$(if $(CUDA),-cuda)
B      := $O$(if $(MPI),-mpi)$(if $(NCCL),-nccl)

PACKAGES := openblas libcjson sentencepiece libpcre2-8 libzip zlib libcurl libcrypto sqlite3
OPT.release := -O3
OPT.asan    := -O2 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT.tsan    := -O2 -fsanitize=thread
OPT.valgrind := -O1
OPT.coverage := -O1 --coverage
OPT.fuzz    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
               -idirafter $(shell gcc -print-file-name=include)
# Without ASan, for many executions; undefined behaviour and broken promises still end the program.
OPT.fuzzfast := -O2 -fsanitize=fuzzer-no-link,undefined -fsanitize-trap=undefined \
               -idirafter $(shell gcc -print-file-name=include)
FUZZING := $(filter fuzz fuzzfast,$(CONFIG))
OPT    := -g -march=$(ARCH) $(if $(FUZZING),,-fopenmp) $(OPT.$(CONFIG))
WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla $(if $(WERROR),-Werror)
WARNXX := -Wall -Wextra -Wshadow $(if $(WERROR),-Werror)
DEPS   = $(shell pkg-config --cflags $(PACKAGES))
LIBS   = $(shell pkg-config --libs $(PACKAGES)) -lunistring -lm
CFLAGS   = -std=gnu11 -D_GNU_SOURCE -I. $(OPT) $(WARN) $(DEPS) -MMD -MP
CXXFLAGS = -std=c++17 -I. $(OPT) $(WARNXX) $(DEPS) -MMD -MP

# The GPU backend has objects of its own (in build/CONFIG-cuda), so that the two builds never mix.
ifdef CUDA
CUDA_HOME ?= /usr/local/cuda
CUDA_ARCH ?= 80 86 89 90
NVCC      ?= $(CUDA_HOME)/bin/nvcc
CUSRC     := $(filter-out harness/backend/cuda/comm_$(if $(NCCL),none,nccl).cu,$(wildcard harness/backend/cuda/*.cu))
CUDA_LIBS := -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublas -lcublasLt -lcusolver -lcudart $(if $(NCCL),-lnccl)
NVFLAGS   := -std=c++20 -O3 -g -I. $(foreach a,$(CUDA_ARCH:90=90a),-gencode arch=compute_$a,code=sm_$a) \
            -Xcompiler -Wall,-Wextra,-Wshadow $(if $(WERROR),-Werror all-warnings) -MMD -MP
WARN      += -DDUO_CUDA
endif

.DEFAULT_GOAL := all

# The one table and the one file that see MPI.
ifdef MPI
PROCS    := $B/harness/base/procs.c.o $B/harness/base/procs_mpi.c.o
MPI_LIBS  = $(shell pkg-config --libs ompi-c)
$(PROCS): CFLAGS += -DDUO_MPI $(shell pkg-config --cflags ompi-c)
$(PROCS): $B/%.c.o: %.c build/.setup-mpi
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
else
PROCS    := $B/harness/base/procs.c.o
endif

SRC    := $(wildcard harness/base/*.c harness/backend/*.c harness/backend/cpu/*.c harness/model/*.c \
            harness/model/*.cc harness/measure/*.c harness/report/*.c harness/cmd/*.c tasks/*.c prune/*.c data/*.c)
OBJ    := $(patsubst %,$O/%.o,$(filter-out harness/cmd/main.c harness/base/procs%,$(SRC)) \
            $(CUSRC)) $(PROCS)
TESTS  := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/test_*.c))
SHTESTS := $(wildcard tests/test_*.sh)

all: build/duo

build/duo: $B/duo
	@ln -sfn $(notdir $B)/duo $@

$B/duo: $O/harness/cmd/main.c.o $B/libduo.a
	$(CXX) $(OPT) -o $@ $^ $(LIBS) $(CUDA_LIBS) $(MPI_LIBS)

$B/libduo.a: $(OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$B/tests/%: $O/tests/%.c.o $B/libduo.a
	@mkdir -p $(@D)
	$(CXX) $(OPT) -o $@ $(filter %.o,$^) $B/libduo.a $(LIBS) $(CUDA_LIBS) $(MPI_LIBS)

$O/%.c.o: %.c build/.setup
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$O/%.cc.o: %.cc build/.setup
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<

$O/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVFLAGS) -c -o $@ $<

# The revision and the compiler's options are compiled into one file, again only when they change.
# What the compiler makes of -march: its version and the instructions that it may use.
TARGET_ID = $(shell $(CC) -march=$(ARCH) -dM -E -x c /dev/null | sha256sum | cut -c1-8)
GIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
$O/.git-rev: FORCE
	@mkdir -p $(@D)
	@echo '$(GIT) $(OPT)' | cmp -s - $@ || echo '$(GIT) $(OPT)' >$@
$O/harness/cmd/version.c.o: $O/.git-rev
$O/harness/cmd/version.c.o: CFLAGS += -DDUO_GIT='"$(GIT)"' -DDUO_OPT='"$(strip $(OPT)), target $(TARGET_ID)"'

# Installs what is missing, once; again only when the list of packages changes.
build/.setup: scripts/setup
	@scripts/setup
	@mkdir -p build && touch $@

build/.setup-mpi: scripts/setup build/.setup
	@scripts/setup mpi
	@touch $@

# Makes memory and files fail (tests/test_faults.sh); sanitizers bring a memory of their own,
# and counters of coverage want to be written.
FAIL_SO := $(if $(filter asan tsan coverage,$(CONFIG)),,$B/tests/fail.so)
$B/tests/fail.so: tests/faults/fail.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -O1 -g $(WARN) -fPIC -shared -o $@ $< -ldl

# What these do in several threads, other tests do, too; watched for races they take an hour.
# Reports go to files, since the tests of the command line keep what commands say to themselves.
SLOW_TSAN := test_cli.sh test_compare.sh test_report.sh test_structured_table.sh test_table.sh
TSAN_ENV = DUO_SKIP="$(SLOW_TSAN)" TSAN_OPTIONS="log_path=$(CURDIR)/$B/report $$TSAN_OPTIONS"
TEST_ENV = DUO=$B/duo DUO_FAIL_SO=$(FAIL_SO) $(if $(filter tsan,$(CONFIG)),$(TSAN_ENV))
test: build/duo $(TESTS) $(FAIL_SO)
	@scripts/check-layers
	@$(TEST_ENV) scripts/run-tests $(TESTS) $(SHTESTS)

# Every call site of memory, every call of the device, and 200 kills; half an hour on two idle cores.
test-long: build/duo $(FAIL_SO) $B/tests/test_device_faults
	@$(TEST_ENV) DUO_FAULTS_MOST=all DUO_KILLS=200 scripts/run-tests $B/tests/test_device_faults tests/test_faults.sh \
		tests/test_resume.sh
	@scripts/regress-planted

# What is another with MPI=1.
test-mpi: build/duo $B/tests/test_procs
	@DUO=$B/duo scripts/run-tests $B/tests/test_procs tests/test_mpi.sh

# Needs of the libraries OpenBLAS alone.
KERNELS := $(patsubst %,$O/%.o,$(wildcard tests/check_*.c harness/backend/*.c harness/backend/cpu/*.c) \
             harness/base/error.c harness/base/buf.c harness/base/rng.c harness/base/progress.c $(CUSRC)) $(PROCS)
$B/check_kernels: $(KERNELS)
	@mkdir -p $(@D)
	$(CXX) $(OPT) -o $@ $^ $(shell pkg-config --libs openblas) -lm $(CUDA_LIBS) $(MPI_LIBS)

check-kernels: $B/check_kernels
	$< $(if $(BENCH),--bench)

# Fuzzing: scripts/fuzz builds these with CONFIG=fuzz and clang.
FUZZ_HELP := driver files disk vfs
FUZZ := $(patsubst tests/fuzz/%.c,%,$(filter-out $(FUZZ_HELP:%=tests/fuzz/%.c),$(wildcard tests/fuzz/*.c)))
FUZZ_WRAP := file_exists dir_exists dir_make file_read file_write_atomic file_map_open file_map_close stat fopen \
             open close read write lseek ftruncate fsync flock fstat fstatvfs access rename unlink zip_open gzopen
FUZZ_SEAM := $(patsubst %,$O/tests/fuzz/%.c.o,files disk vfs)
fuzz fuzz-check:
	@scripts/fuzz $(if $(filter fuzz-check,$@),--check) $(TARGET)

$(FUZZ:%=$O/tests/fuzz/driver-%.o): $O/tests/fuzz/driver-%.o: tests/fuzz/driver.c build/.setup
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DFUZZ_TARGET=fuzz_$* -c -o $@ $<

$(FUZZ:%=$B/fuzz-%): $B/fuzz-%: $O/tests/fuzz/driver-%.o $O/tests/fuzz/%.c.o $(FUZZ_SEAM) $B/libduo.a
	$(CXX) $(OPT) -fsanitize=fuzzer $(FUZZ_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

# The arithmetic is gcc's dialect, and not what is fuzzed.
ifneq ($(FUZZING),)
WARN := -w
$O/harness/backend/%.c.o: override CC := gcc
$O/harness/backend/%.c.o: OPT := -O1 -march=$(ARCH)
endif

# The corpus of every target, given to the same functions in `make test`.
$B/tests/test_fuzz_corpus: LIBS += $(FUZZ_WRAP:%=-Wl,--wrap=%)
$B/tests/test_fuzz_corpus: $(FUZZ:%=$O/tests/fuzz/%.c.o) $(FUZZ_SEAM)

# A device of its own for the whole program.
$B/tests/test_device_faults: LIBS += -Wl,--wrap=device_open

# Static analysis; and the tests that run in a minute under valgrind's memcheck.
analyse:
	@scripts/analyse

VALGRIND_TESTS := archive base checkpoint config dataset fuzz_corpus journal record safetensors samples stats \
                  tasks text tokenizer
valgrind: # a build of its own: memcheck does not know the newest instructions
	@$(MAKE) -s CONFIG=valgrind ARCH=haswell run-valgrind
run-valgrind: $(VALGRIND_TESTS:%=$B/tests/test_%)
	@scripts/valgrind $^

# OpenMP's barriers, told to ThreadSanitizer.
ifeq ($(CONFIG),tsan)
$B/libduo.a: $O/tests/faults/tsan_omp.c.o
LIBS += -Wl,--wrap=GOMP_parallel -Wl,--wrap=GOMP_loop_end
endif

# Lines and branches that the tests reach, per folder (gcov, gcovr). The arithmetic is left out: it has few
# branches, and with counters takes hours.
ifeq ($(CONFIG),coverage)
$O/harness/backend/cpu/%.c.o: OPT := -g -march=$(ARCH) -fopenmp -O3
$B/libduo.a: $O/tests/faults/exit.c.o
LIBS += -Wl,--wrap=_exit
endif
coverage:
	@scripts/coverage

demo: build/duo
	@scripts/demo

# The demo's records against the stored ones of this class of machines: scores to the bit, speed as ratios.
regress: build/duo
	@scripts/regress $(if $(UPDATE),--update)

# Speed of the CPU backend, as ratios within one run.
bench: build/duo $B/tests/bench_cpu $B/tests/bench_gemv
	@$B/tests/bench_gemv
	@$B/tests/bench_cpu

clean:
	rm -rf build

.SECONDARY:
$O/tests/%.d: ;
.PHONY: all test test-long test-mpi check-kernels demo regress bench fuzz fuzz-check analyse valgrind run-valgrind \
        coverage clean FORCE
-include $(OBJ:.o=.d) $(wildcard $O/tests/*.d $O/tests/fuzz/*.d) $O/harness/cmd/main.c.d
