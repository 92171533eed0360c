# make                builds ./train, ./sample and ./prepare for the machine it finds, and the default corpus
# make test           builds and runs the tests
# tests/programs.sh   tries what the programs say of themselves, after make and make gradcheck
# make gradcheck      builds ./gradcheck and runs it: every op's gradient against finite differences, as a table
# make bench          time a training step; BENCH="--help" lists its options
# make data           the default corpus (part of plain make)
# make lint, format   check the layout of the sources, or mend it
# make clean          removes what was built; data/ and runs/ stay
# make help           this text
#
# DEVICE=cpu|cuda|emulated   default: cuda when nvcc and a usable GPU are there, else cpu
# SANITIZE=1                 AddressSanitizer and UndefinedBehaviorSanitizer, in a build folder of their own
# CUDA_ARCH="80 90"          compute capabilities; default: the GPU present, else 80 and 90. Newer GPUs translate the last
# MARCH=native               processor to compile for (g++'s -march); native: the one at hand, and no older one
# STRICT=1                   warnings are errors
# DEPS=/prefix               where to find header libraries that are not in /usr/include

# All cores, unless the command line says another number.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

MARCH ?= native

# --- what is here ------------------------------------------------------------------------------------------
NVCC ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
GPU  := $(shell nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader 2>/dev/null | head -1)
DEVICE ?= $(if $(and $(NVCC),$(GPU)),cuda,cpu)

ifeq ($(filter $(DEVICE),cpu cuda emulated),)
$(error DEVICE=$(DEVICE) is not known; choose cpu, cuda or emulated)
endif
ifeq ($(DEVICE)$(NVCC),cuda)
$(error DEVICE=cuda needs nvcc, which is not in PATH; install the CUDA toolkit, or make DEVICE=cpu)
endif

BUILD := build/$(DEVICE)$(if $(SANITIZE),-sanitize)$(if $(filter-out native,$(MARCH)),-$(MARCH))

# --- how to compile ----------------------------------------------------------------------------------------
CPPFLAGS += -I. $(if $(DEPS),-isystem $(DEPS)/include) -DENGINE_$(shell echo $(DEVICE) | tr a-z A-Z) -MMD -MP
# -Wrestrict: g++ 12 sees overlaps in std::string::insert that are not there (GCC bug 105329).
CXXFLAGS += -std=c++20 -fopenmp -Wall -Wextra -Wno-restrict $(if $(STRICT),-Werror)
# No -ffast-math: NaN must stay visible. These two only drop errno and exception flags, which nobody reads,
# and let loops with sqrt and comparisons become SIMD. Files with loops over elements take -O3, the rest
# -O2, tests and mains -O1: half the time to compile.
OPTIMIZE := -O2 -march=$(MARCH) -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math
ifdef SANITIZE
OPTIMIZE := -O1 -g -march=$(MARCH) -fno-math-errno -fno-trapping-math -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS  += -fsanitize=address,undefined
endif
LDFLAGS += -fopenmp -Wl,--as-needed

# Files that hold kernels are compiled by nvcc for CUDA; everything else always by g++.
KERNELS := $(wildcard ops/*.cc) engine/gemm.cc training/optimizer.cc
ENGINE  := $(filter-out engine/device_%.cc engine/emulated_%.cc,$(wildcard engine/*.cc))
LIBS    := -lfmt -lpcre2-8 -lz
ifeq ($(DEVICE),cpu)
ENGINE += engine/device_cpu.cc
LIBS   += -ldnnl -lmvec -lm
else ifeq ($(DEVICE),emulated)
ENGINE += $(wildcard engine/device_gpu*.cc engine/emulated_*.cc)
LIBS   += -lboost_context
else
ENGINE += $(wildcard engine/device_gpu*.cc)
CUDA      := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
CPPFLAGS  += -isystem $(CUDA)/include
LDFLAGS   += -L$(CUDA)/lib64 -Wl,-rpath,$(CUDA)/lib64
LIBS      += -lcublas -lcudart
CUDA_ARCH ?= $(if $(GPU),$(subst .,,$(lastword $(GPU))),80 90)
OLD_ARCH  := $(shell for a in $(CUDA_ARCH); do [ "$${a%[af]}" -ge 80 ] 2>/dev/null || echo $$a; done)
ifneq ($(OLD_ARCH),)
$(error CUDA_ARCH=$(OLD_ARCH): tensor cores multiply bfloat16 from capability 80 on; set CUDA_ARCH to 80 or more, or make DEVICE=cpu)
endif
NVCCFLAGS += -x cu -std=c++20 -O3 --extended-lambda --expt-relaxed-constexpr $(if $(STRICT),--Werror all-warnings) \
             $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
             $(foreach a,$(lastword $(CUDA_ARCH)),-gencode arch=compute_$(a),code=compute_$(a)) -Xcompiler -Wall,-Wextra,-fopenmp
endif

PROGRAMS := train sample prepare
LIBRARY  := $(ENGINE) $(wildcard autograd/*.cc ops/*.cc model/*.cc training/*.cc)
TESTS    := $(wildcard tests/*.cpp)
ifeq ($(DEVICE),emulated)  # whole training runs: hundreds of steps without a kernel that the others do not run
TESTS    := $(filter-out tests/test_trainer% tests/test_forecast%,$(TESTS))
endif
# What ./gradcheck runs: the test files that hold cases (tests/cases.h), and what those need.
CASES    := $(shell grep -l '^OP_CASES' tests/*.cpp) $(addprefix tests/,cases.cpp expect.cpp learned_dropout_definition.cpp)
object    = $(patsubst %,$(BUILD)/%.o,$(1))
DATA     := data/gcide.toml

# --- targets -----------------------------------------------------------------------------------------------
.PHONY: all programs $(PROGRAMS) gradcheck data test bench lint format clean help found
.DELETE_ON_ERROR:

all: found programs data

found:
	@echo "device    $(DEVICE)$(if $(SANITIZE), with sanitizers) -> $(BUILD)"
	@echo "nvcc      $(or $(NVCC),none: only DEVICE=cpu and DEVICE=emulated can be built)"
	@echo "GPU       $(or $(GPU),none$(if $(NVCC),: DEVICE=cuda can be built but not run here))"

# ./train and its like are links to the build that was made last.
programs: $(addprefix $(BUILD)/,$(PROGRAMS))
	@for p in $(PROGRAMS); do ln -sf $(BUILD)/$$p $$p; done
train sample prepare: %: $(BUILD)/%
	@ln -sf $< $@
gradcheck: found $(BUILD)/gradcheck
	@ln -sf $(BUILD)/gradcheck $@
	./gradcheck

$(BUILD)/run_tests: $(call object,$(TESTS))
$(BUILD)/gradcheck: $(call object,gradcheck.cpp $(CASES))
$(BUILD)/run_bench: $(call object,bench/bench.cpp)
$(BUILD)/train $(BUILD)/sample $(BUILD)/prepare: $(BUILD)/%: $(BUILD)/%.cpp.o
$(addprefix $(BUILD)/,$(PROGRAMS) gradcheck run_tests run_bench): $(BUILD)/library.a
	@echo "link      $@"
	@$(CXX) $(LDFLAGS) $(filter %.o,$^) $(BUILD)/library.a $(LIBS) -o $@

$(BUILD)/library.a: $(call object,$(LIBRARY))
	@rm -f $@
	@ar rcs $@ $^

ifeq ($(DEVICE),cuda)
$(call object,$(KERNELS)): $(BUILD)/%.o: % | $(BUILD)/checked
	@mkdir -p $(@D)
	@echo "nvcc      $<"
	@$(NVCC) $(NVCCFLAGS) $(CPPFLAGS) -c $< -o $@
endif
# Accumulator::add asks whether to store or to add, and a loop becomes SIMD once the compiler has taken that question
# out of it: it has "unswitched" it, which by default it does not do with a loop as long as gelu's.
ifeq ($(DEVICE),cpu)  # elsewhere the loops are CUDA threads
$(call object,$(KERNELS) $(ENGINE)): OPTIMIZE := $(patsubst -O2,-O3 --param=max-unswitch-insns=200,$(OPTIMIZE))
endif
$(BUILD)/tests/%.o $(BUILD)/%.cpp.o: OPTIMIZE := $(patsubst -O2,-O1,$(OPTIMIZE))
$(BUILD)/%.o: % | $(BUILD)/checked
	@mkdir -p $(@D)
	@echo "g++       $<"
	@$(CXX) $(CXXFLAGS) $(OPTIMIZE) $(CPPFLAGS) -c $< -o $@

# A missing library ends in one line that names its Debian package.
need = echo '\#include <$(1)>' | $(CXX) $(CXXFLAGS) $(CPPFLAGS) -MF /dev/null -E -x c++ - >/dev/null 2>&1 \
       || { echo "<$(1)> is missing: apt-get install $(2)" >&2; exit 1; }
$(BUILD)/checked:
	@mkdir -p $(BUILD)
	@$(call need,fmt/format.h,libfmt-dev)
	@$(call need,toml++/toml.h,libtomlplusplus-dev)
	@$(call need,CLI/CLI.hpp,libcli11-dev)
	@$(call need,nlohmann/json.hpp,nlohmann-json3-dev)
	@$(call need,doctest/doctest.h,doctest-dev)
	@$(call need,zlib.h,zlib1g-dev)
	@$(call need,pcre2posix.h,libpcre2-dev)
ifeq ($(DEVICE),cpu)
	@$(call need,oneapi/dnnl/dnnl.h,libdnnl-dev)
endif
ifeq ($(DEVICE),emulated)
	@$(call need,boost/context/fiber.hpp,libboost-context-dev)
endif
	@touch $@

test: found $(BUILD)/run_tests
	$(BUILD)/run_tests $(TEST_ARGUMENTS)

bench: found $(BUILD)/run_bench
	$(BUILD)/run_bench $(BENCH)

# The default corpus: the Collaborative International Dictionary of English from Debian's dict-gcide (GPL), by
# apt but without root, and 50,257 tokens learnt from it. Without network the build still succeeds.
APT_OPTIONS := -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1
data: $(DATA)
$(DATA): | prepare
	@rm -rf build/data && mkdir -p build/data
	@echo "data      fetching Debian's package dict-gcide"
	@if (cd build/data && apt-get $(APT_OPTIONS) download dict-gcide && dpkg-deb -x dict-gcide_*.deb .) >build/data.log 2>&1; then \
	  ./prepare build/data/usr/share/dictd/gcide.dict.dz --shuffle-documents --out data && rm -rf build/data; \
	else \
	  echo "data      cannot fetch dict-gcide (build/data.log says why): run 'apt-get update' or connect to the network, then" \
	       "'make data'; or ./prepare any text of yours and train with --set data=data/NAME"; \
	fi

LINTED := $(wildcard *.cpp */*.h */*.cc */*.cpp)
format:
	clang-format -i $(LINTED)

# The layout of .clang-format, and no file so long that it must hold two ideas.
lint:
	@clang-format --dry-run --Werror $(LINTED)
	@wc -l $(LINTED) | awk '$$2 != "total" && $$1 > 400 { print $$2 ": " $$1 " lines, more than 400: it holds two ideas"; bad = 1 } END { exit bad }'
	@echo "lint      $(words $(LINTED)) files"

clean:
	rm -rf build $(PROGRAMS) gradcheck

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//; p' Makefile

-include $(patsubst %.o,%.d,$(call object,$(LIBRARY) $(TESTS) $(PROGRAMS:=.cpp) gradcheck.cpp bench/bench.cpp))
