# Chaperone. `make help` lists the targets; README.md says what they are for.
VERSION ?= 0.1.0
VARIANT ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX  ?= /usr/local
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)

BUILD := build/$(VARIANT)
BIN   := $(BUILD)/bin

# ---- libraries: one line, each name a pkg-config module ----
PKGS     := json-c yaml-0.1 openssl libjwt libmicrohttpd libcurl libzstd libssh
PKG_LIBS := -lpg_query
PKG_CONFIG ?= pkg-config

ifeq ($(filter help clean deps install-deps demo test test-fast bench e2e-%,$(MAKECMDGOALS)),)
MISSING := $(strip $(foreach p,$(PKGS),$(if $(shell $(PKG_CONFIG) --exists $(p) && echo y),,$(p))))
ifneq ($(MISSING),)
$(error pkg-config does not know: $(MISSING). Run `make deps` (as root) to install what is missing)
endif
endif
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PKGS))
PKG_LDLIBS = $(shell $(PKG_CONFIG) --libs $(PKGS)) $(PKG_LIBS)

# ---- flags ----
WARN := -Wall -Wextra -Wshadow -Wvla -Wswitch-enum -Wstrict-prototypes -Wno-sign-compare \
	-Wno-missing-field-initializers $(if $(CI),-Werror)
HARDEN := -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero -fPIE
OPT_release := -O2 -D_FORTIFY_SOURCE=3 $(HARDEN)
OPT_asan    := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fPIE
OPT_tsan    := -O1 -fsanitize=thread -fno-omit-frame-pointer -fPIE
LDOPT_release := -Wl,-z,relro,-z,now,-z,noexecstack
LDOPT_asan    := -fsanitize=address,undefined
LDOPT_tsan    := -fsanitize=thread

CFLAGS  ?= -g
CPPFLAGS_ALL = -I. -D_GNU_SOURCE -DCHAPERONE_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL   = -std=gnu17 -pthread $(WARN) $(OPT_$(VARIANT)) $(CFLAGS)
LDFLAGS_ALL  = -pthread -pie $(LDOPT_$(VARIANT)) $(LDFLAGS)

# ---- sources ----
LIB_DIRS := src-common sidecar/net sidecar/session sidecar/identity sidecar/policy sidecar/mask \
	sidecar/record sidecar/approval sidecar/control sidecar/sql sidecar/proto sidecar/proto/postgres \
	sidecar/proto/ssh sidecar/proto/kube sidecar/cluster src-common/kube
LIB_SRC  := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c)) $(filter-out webhook/main.c,$(wildcard webhook/*.c))
WEBHOOK_SRC := webhook/main.c
GUARD_SRC   := sidecar/main.c $(wildcard sidecar/guard_*.c)
INIT_SRC    := $(wildcard sidecar/init/*.c)
KUBECTL_SRC := $(wildcard kubectl-guard/*.c)
UNIT_SRC    := $(shell find tests/unit -name '*_test.c' 2>/dev/null)
FUZZ_SRC    := $(wildcard tests/fuzz/*_fuzz.c)
BENCH_SRC   := $(wildcard tests/bench/*.c)

comma := ,
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB      := $(BUILD)/libchaperone.a
PROGRAMS := $(BIN)/chaperone-sidecar $(BIN)/chaperone-init $(BIN)/kubectl-guard $(BIN)/chaperone-webhook
UNIT     := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))
FUZZ     := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_SRC))
BENCH    := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(BENCH_SRC))

.DEFAULT_GOAL := all
.SECONDARY:
.PHONY: help all deps test test-fast test-unit test-asan test-tsan test-e2e lint fuzz-smoke bench demo install clean programs \
	unit fuzz-targets bench-programs e2e-up e2e-down e2e-images

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

all: $(PROGRAMS) compile_commands.json ## build the programs into build/release/bin
programs: $(PROGRAMS)
unit: $(PROGRAMS) $(UNIT)
fuzz-targets: $(FUZZ)
bench-programs: $(BENCH)

deps: ## install what building and testing need (Debian, as root; also done by test and demo)
	tests/support/install-deps all

test: ## everything: unit, integration, sanitizers, fuzz corpora; installs what is missing
	tests/run all
test-fast: ## unit tests and the quick integration tests
	tests/run fast
test-unit: ## unit tests only
	tests/run unit
test-asan: ## unit and integration tests with AddressSanitizer and UBSan
	tests/run asan
test-tsan: ## unit and integration tests with ThreadSanitizer
	tests/run tsan
test-e2e: ## the scenarios on a real one-node cluster, which is started and stopped again
	tests/run e2e
fuzz-smoke: ## each fuzz target for a short while, from its corpus
	tests/run fuzz
lint: ## format, sizes, include directions, headers, cppcheck
	tests/support/lint
bench: ## speed side by side with peers, in one run
	tests/bench/run
demo: ## the main job in one go: mask, refuse, approve, replay, verify
	tests/support/demo

e2e-up: ## start a one-node Kubernetes on this machine (root; docs/e2e.md)
	e2e/cluster/up
e2e-down: ## stop it and remove what it left
	e2e/cluster/down
e2e-images: ## build the images without a container engine, and give them to that cluster
	e2e/images/build

install: all ## install the programs under $(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(PROGRAMS) kubectl-guard/kubectl_complete-guard $(DESTDIR)$(PREFIX)/bin

clean: ## remove what was built
	rm -rf build compile_commands.json

# ---- rules ----
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@$(if $(filter 1,$(V)),,echo "  CC   $<")
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(LIB): $(call obj,$(LIB_SRC))
	@$(if $(filter 1,$(V)),,echo "  AR   $@")
	$(Q)rm -f $@ && $(AR) rcs $@ $^

define link
	@mkdir -p $(@D)
	@$(if $(filter 1,$(V)),,echo "  LD   $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LDLIBS) $(1)
endef

# It holds these files (.incbin), which the compiler does not list.
$(BUILD)/obj/kubectl-guard/report_assets.o: kubectl-guard/report.css kubectl-guard/report.js

$(BIN)/chaperone-sidecar: $(call obj,$(GUARD_SRC)) $(LIB)
	$(call link)
$(BIN)/chaperone-init: $(call obj,$(INIT_SRC)) $(LIB)
	$(call link)
$(BIN)/kubectl-guard: $(call obj,$(KUBECTL_SRC)) $(LIB)
	$(call link)
$(BIN)/chaperone-webhook: $(call obj,$(WEBHOOK_SRC)) $(LIB)
	$(call link)
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(LIB)
	$(call link,-lcmocka)
$(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/support/fuzz_driver.o $(LIB)
	$(call link)
$(BUILD)/tests/bench/%: $(BUILD)/obj/tests/bench/%.o $(LIB)
	$(call link)
$(BUILD)/tests/support/policy_words: $(BUILD)/obj/tests/support/policy_words.o $(LIB)
	$(call link,-Wl$(comma)--wrap=suggestion_offer)

ALL_SRC := $(LIB_SRC) $(GUARD_SRC) $(INIT_SRC) $(KUBECTL_SRC) $(WEBHOOK_SRC) $(UNIT_SRC)
compile_commands.json: Makefile
	@printf '[' > $@.tmp; sep=; for f in $(ALL_SRC); do \
	printf '%s\n{"directory":"%s","file":"%s","command":"%s"}' "$$sep" "$(CURDIR)" "$$f" \
	  "$(CC) $(subst ",\",$(subst ',,$(CPPFLAGS_ALL))) $(CFLAGS_ALL) -c $$f" >> $@.tmp; sep=,; \
	done; printf '\n]\n' >> $@.tmp; mv $@.tmp $@

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
