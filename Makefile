# Makefile
#
# "make" and "make install" are plain PGXS and need PG_CONFIG's server headers.
# "make demo", "make test", "make test-matrix", "make bench", "make doc" and "make
# reference" install what they need themselves (see test/env.sh), so they work
# before PGXS is there.

MODULE_big = meter
EXTENSION = meter
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" meter.control)
PGFILEDESC = "meter - metering, rate limiting and billing inside PostgreSQL"

# The pure core: plain C11, no PostgreSQL headers, tested by test/unit.
CORE = \
	src/core/account.o \
	src/core/account_file.o \
	src/core/bucket.o \
	src/core/csv.o \
	src/core/endpoint.o \
	src/core/exactsum.o \
	src/core/forecast.o \
	src/core/forecast_method.o \
	src/core/freemap.o \
	src/core/hot.o \
	src/core/html.o \
	src/core/memo.o \
	src/core/pattern.o \
	src/core/ring.o \
	src/core/ring_file.o \
	src/core/ring_header.o \
	src/core/ring_salvage.o \
	src/core/secret.o \
	src/core/secret_name.o \
	src/core/secret_shape.o \
	src/core/sketch.o \
	src/core/sketch_pack.o \
	src/core/sketch_query.o \
	src/core/sketch_text.o

# The PostgreSQL layer.
LAYER = \
	src/account.o \
	src/account_file.o \
	src/account_memory.o \
	src/alert.o \
	src/alloc.o \
	src/amount.o \
	src/batch.o \
	src/bill.o \
	src/budget.o \
	src/charge.o \
	src/charge_params.o \
	src/charge_percentage.o \
	src/close.o \
	src/context.o \
	src/correct.o \
	src/decision.o \
	src/dimension.o \
	src/dirty.o \
	src/doctor.o \
	src/element.o \
	src/endpoint.o \
	src/event.o \
	src/event_row.o \
	src/export.o \
	src/flush.o \
	src/flush_commit.o \
	src/fold.o \
	src/forecast.o \
	src/gauge.o \
	src/guard.o \
	src/guard_executor.o \
	src/guard_explain.o \
	src/guard_object.o \
	src/guard_utility.o \
	src/health.o \
	src/html.o \
	src/idempotency.o \
	src/ignore.o \
	src/inbox.o \
	src/keymap.o \
	src/late.o \
	src/launcher.o \
	src/limit.o \
	src/limit_bucket.o \
	src/limit_state.o \
	src/listen.o \
	src/live.o \
	src/llm.o \
	src/llm_token.o \
	src/log.o \
	src/maintain.o \
	src/member.o \
	src/meter.o \
	src/metric.o \
	src/model_price.o \
	src/openmetrics.o \
	src/owner.o \
	src/partition.o \
	src/query_mask.o \
	src/recent.o \
	src/queue.o \
	src/quota.o \
	src/quota_status.o \
	src/reference.o \
	src/refuse.o \
	src/reject.o \
	src/rollup.o \
	src/rollup_scan.o \
	src/row_security.o \
	src/rule.o \
	src/rule_match.o \
	src/schedule.o \
	src/schema.o \
	src/secret.o \
	src/server.o \
	src/setting.o \
	src/shared.o \
	src/sketch.o \
	src/sketch_query.o \
	src/stats.o \
	src/storage.o \
	src/tenant.o \
	src/total.o \
	src/track.o \
	src/usage.o \
	src/usage_hour.o \
	src/usage_user.o \
	src/users.o \
	src/utility.o \
	src/violation.o \
	src/waiting.o \
	src/worker.o \
	src/writer.o

# Linked next to each other: what decides about a call, what both do, what
# tracks one, and what looks at every statement (core/hot.h).
PATH_LIMIT = decision limit limit_bucket rule rule_match budget tenant account \
	amount core/account core/bucket
PATH_BOTH = core/hot server shared context member setting
PATH_TRACK = track queue core/ring event event_row metric core/memo \
	endpoint secret core/secret core/secret_shape core/endpoint
PATH_GUARD = guard_executor guard_object utility guard_utility guard_explain schema guard
HOT = $(patsubst %,src/%.o,$(PATH_LIMIT) $(PATH_BOTH) $(PATH_TRACK) $(PATH_GUARD))
OBJS = $(HOT) $(filter-out $(HOT),$(CORE) $(LAYER))

# The install script, in the order in which its parts depend on each other.
SQL_PARTS = \
	src/header.sql \
	src/endpoint.sql \
	src/sketch.sql \
	src/word.sql \
	src/metric.sql \
	src/context.sql \
	src/log.sql \
	src/inbox.sql \
	src/queue.sql \
	src/reject.sql \
	src/idempotency.sql \
	src/track.sql \
	src/batch.sql \
	src/flush.sql \
	src/correct.sql \
	src/usage.sql \
	src/rollup.sql \
	src/late.sql \
	src/gauge.sql \
	src/report.sql \
	src/live.sql \
	src/maintain.sql \
	src/plan.sql \
	src/gauge_limit.sql \
	src/tenant.sql \
	src/subscription.sql \
	src/rule.sql \
	src/decision.sql \
	src/limit.sql \
	src/quota.sql \
	src/quota_status.sql \
	src/preset.sql \
	src/charge.sql \
	src/model_price.sql \
	src/llm.sql \
	src/currency.sql \
	src/price.sql \
	src/credit.sql \
	src/coupon.sql \
	src/billing.sql \
	src/segment.sql \
	src/aggregation.sql \
	src/bill.sql \
	src/rating.sql \
	src/delta.sql \
	src/close.sql \
	src/outbox.sql \
	src/outbox_fill.sql \
	src/cost.sql \
	src/focus.sql \
	src/export.sql \
	src/schedule.sql \
	src/stats.sql \
	src/budget.sql \
	src/budget_count.sql \
	src/forecast.sql \
	src/projection.sql \
	src/projection_charge.sql \
	src/provision.sql \
	src/violation.sql \
	src/storage.sql \
	src/capacity.sql \
	src/health.sql \
	src/tenant_health.sql \
	src/audit.sql \
	src/audit_dependency.sql \
	src/audit_body.sql \
	src/audit_database.sql \
	src/audit_privilege.sql \
	src/audit_code.sql \
	src/audit_entry.sql \
	src/recent.sql \
	src/slo.sql \
	src/alert_rule.sql \
	src/signal.sql \
	src/silence.sql \
	src/alert.sql \
	src/incident.sql \
	src/notification.sql \
	src/alert_evaluate.sql \
	src/time_series.sql \
	src/statistics.sql \
	src/compare.sql \
	src/api_version.sql \
	src/recommendation.sql \
	src/openmetrics.sql \
	src/openmetrics_view.sql \
	src/openmetrics_text.sql \
	src/html.sql \
	src/chart.sql \
	src/dashboard_data.sql \
	src/dashboard_style.sql \
	src/dashboard_part.sql \
	src/dashboard_usage.sql \
	src/dashboard_cost.sql \
	src/dashboard_state.sql \
	src/dashboard.sql \
	src/reference.sql \
	src/doctor.sql \
	src/doctor_server.sql \
	src/doctor_pipeline.sql \
	src/doctor_privilege.sql \
	src/doctor_limit.sql \
	src/doctor_name.sql \
	src/doctor_price.sql \
	src/doctor_budget.sql \
	src/doctor_entry.sql \
	src/row_security.sql \
	src/grant.sql

DATA_built = meter--$(EXTVERSION).sql
EXTRA_CLEAN = meter--$(EXTVERSION).sql

# COPT=-Werror is what CI adds.
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-clobbered -fno-plt
SHLIB_LINK = -Wl,--version-script=$(srcdir)/src/exports.map -lm
# The version is typed in meter.control only.
PG_CPPFLAGS += -DMETER_VERSION='"$(EXTVERSION)"'

# Regression tests, in the order in which they run; test/run.sh complains of a
# sql/*.sql that is missing here.
REGRESS_ORDER = endpoint sketch metric track batch inbox flush idempotency \
	queue ignore correct usage rollup late gauge report live plan tenant \
	subscription rule decision limit quota preset charge model_price llm currency \
	price credit coupon reference billing aggregation rating delta close outbox \
	cost export budget forecast projection context provision violation \
	alert_rule alert silence incident notification signal \
	storage capacity health tenant_health openmetrics time_series statistics compare api_version recommendation \
	row_security maintain schedule stats dashboard doctor \
	audit_dependency audit_body audit_database audit_privilege audit_code grant privileges
REGRESS = $(foreach t,$(REGRESS_ORDER),$(if $(wildcard sql/$(t).sql),$(t)))

# The tests need a server that preloads meter and pg_cron, so "make
# installcheck" starts one of its own; it has to be called by an ordinary
# user, after "make install".  "make test" does all of it.
REGRESS_OPTS = --temp-instance=tmp_check --temp-config=test/regress.conf

EXTRA_CLEAN += build results tmp_check tmp_check_iso output_iso log \
	regression.diffs regression.out meter--*.sql meter--*.sql.tmp

# No bitcode: the JIT would inline little of this, and building it needs clang.
override with_llvm = no

# The newest PostgreSQL whose server headers are here, as Debian lays them out.
ifndef PG_CONFIG
PG_CONFIG := $(shell ls /usr/include/postgresql/*/server/postgres.h 2>/dev/null | \
	sed 's,/usr/include/postgresql/\(.*\)/server/postgres.h,/usr/lib/postgresql/\1/bin/pg_config,' | \
	sort -V | tail -n 1)
PG_CONFIG := $(or $(PG_CONFIG),pg_config)
endif

# pg_config comes with the client, pgxs.mk and postgres.h with the headers.
ifneq ($(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
else
.DEFAULT_GOAL := all
all install installcheck uninstall clean:
	@echo 'PostgreSQL'\''s server headers are missing ($(PG_CONFIG)).' >&2
	@echo 'Install them (Debian: postgresql-server-dev-NN), or set PG_CONFIG, or run' >&2
	@echo '"make demo" or "make test", which install what they need.' >&2
	@exit 1
endif

$(DATA_built): $(SQL_PARTS) Makefile
	cat $(filter %.sql,$^) > $@.tmp && mv $@.tmp $@

# Coarse, but never wrong: any header, flag or version rebuilds everything.
$(OBJS): $(wildcard src/*.h src/core/*.h) Makefile meter.control
meter.so: src/exports.map

# ---------------------------------------------------------------------------
# The pure core's unit tests and fuzzers: no server, and the compiler's checks
# while they run.  A test that finds a fault ends at once.

SANITIZE ?= address,undefined

UNIT = $(patsubst test/unit/%.c,build/unit/%,$(wildcard test/unit/test_*.c))
FUZZ = $(patsubst test/unit/%.c,build/fuzz/%,$(wildcard test/unit/fuzz_*.c))
FUZZ_CC = $(or $(CLANG),clang)
FUZZ_SECONDS = 30

CHECK_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Isrc -g -O1 \
	-fno-omit-frame-pointer -fno-sanitize-recover=all $(COPT)
CHECK_CORE = $(patsubst src/core/%.c,%.o,$(wildcard src/core/*.c)) alloc.o
CHECK_DEPS = $(wildcard src/core/*.h test/unit/*.h) Makefile

unit: $(UNIT)

fuzz: $(FUZZ)
	@for f in $(FUZZ); do \
		mkdir -p $$f.corpus && \
		$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $$f.corpus || exit 1; \
	done

# One set of rules for both: $(1) is the directory in build/, $(2) the programs,
# $(3) the compiler, $(4) its sanitizers, $(5) what linking needs besides.
define check_rules
build/$(1)/%.o: src/core/%.c $$(CHECK_DEPS)
	@mkdir -p $$(@D)
	$(3) $$(CHECK_CFLAGS) $(4) -c -o $$@ $$<
build/$(1)/%.o: test/unit/%.c $$(CHECK_DEPS)
	@mkdir -p $$(@D)
	$(3) $$(CHECK_CFLAGS) $(4) -c -o $$@ $$<
$(2): build/$(1)/%: build/$(1)/%.o $$(addprefix build/$(1)/,$$(CHECK_CORE))
	$(3) $$(CHECK_CFLAGS) $(4) -o $$@ $$^ $(5) -lm
endef
$(eval $(call check_rules,unit,$$(UNIT),$$(CC),-fsanitize=$$(SANITIZE),-lcmocka))
$(eval $(call check_rules,fuzz,$$(FUZZ),$$(FUZZ_CC),\
	-fsanitize=fuzzer-no-link -fsanitize=$$(SANITIZE),-fsanitize=fuzzer))
.SECONDARY:

# ---------------------------------------------------------------------------
# What installs all it needs by itself.

demo:
	@bash examples/demo/run.sh

demo-stop:
	@bash examples/demo/run.sh stop

test:
	@bash test/run.sh

test-matrix:
	@bash test/matrix.sh

bench:
	@bash bench/run.sh

doc:
	@bash test/doc.sh

reference:
	@bash doc/reference.sh

# Layout as pgindent makes it, which is pg_bsd_indent with these flags and then
# one blank before the * of a function's type.  typedefs.list has the names of
# types, the server's among them.
INDENT = pg_bsd_indent -bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 \
	-i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4 -Utypedefs.list
INDENT_FIX = sed 's/^\([A-Za-z_][^ \t]*\)[ \t][ \t]*\*$$/\1 */'
INDENTED = $(wildcard src/*.[ch] src/core/*.[ch] test/unit/*.[ch])

# A file that the tool cannot parse is left as it is.
indent:
	@mkdir -p build; status=0; for f in $(INDENTED); do \
		$(INDENT) <$$f >build/indented 2>/dev/null || \
			{ echo "$$f: pg_bsd_indent cannot parse it"; status=1; continue; }; \
		$(INDENT_FIX) build/indented >build/fixed; \
		cmp -s $$f build/fixed || { echo $$f; cat build/fixed >$$f; }; \
	done; exit $$status

indent-check:
	@status=0; for f in $(INDENTED); do \
		$(INDENT) <$$f | $(INDENT_FIX) | diff -u --label $$f --label "$$f, indented" $$f - || \
			status=1; \
	done; exit $$status

# For the scripts: what a variable of this file is.
print-%:
	@echo '$($*)'

.PHONY: unit fuzz demo demo-stop test test-matrix bench doc reference indent indent-check
