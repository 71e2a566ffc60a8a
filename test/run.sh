#!/usr/bin/env bash
#
# test/run.sh: "make test".
#
# Installs what is missing, builds, installs and runs every kind of test, each
# kind a stage with a line of its own; the last line is "N passed, N failed".
# Tests run on a copy of the checkout as a user who is not root, with servers
# of their own.  What the tests wrote is kept in build/results.
#
#	T=word		only the tests whose name contains the word
#	STAGES=...	only these stages (the build is always made):
#				regress static unit isolation tap doc
#	CI=true		warnings are errors
#	METER_DATA	directory of data sets that some tests read
#	VECTORS		another file than METER_DATA's charge_vectors.json
#	EXTRA_CONF	one more line for the servers' configuration

# shellcheck source=test/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

stages=${STAGES:-regress static unit isolation tap doc}
passed=0
failed=0
exec </dev/null

# report STAGE OK NOT_OK SECONDS_SINCE
report()
{
	printf '%-10s %4d ok %4d not ok %5d s\n' "$1" "$2" "$3" $((SECONDS - $4))
	passed=$((passed + $2))
	failed=$((failed + $3))
}

wanted()
{
	[[ -z ${T:-} || $1 == *"$T"* ]]
}

count()
{
	grep -cE "$1" "$2" || true
}

# --- the stages -------------------------------------------------------------

# Things about the tree that no compiler checks.
check()
{
	local what=$1 found

	shift
	if found=$("$@" 2>&1) && [ -z "$found" ]; then
		ok=$((ok + 1))
	else
		not_ok=$((not_ok + 1))
		say "not ok: $what" "$found"
	fi
}

foreign_symbols()
{
	nm -D --defined-only "$top/meter.so" | awk '{ print $NF }' |
		grep -vxE '_PG_init|Pg_magic_func|pg_finfo_meter_[a-z0-9_]+|meter_[a-z0-9_]+' || true
}

# PGXN wants three numbers.
other_versions()
{
	perl -MJSON::PP -e '
		local $/;
		my ($version, $meta) = (shift, decode_json(<>));
		print "$_\n" for grep { $_ ne "$version.0" }
			$meta->{version}, $meta->{provides}{meter}{version};' \
		"$(make -s -C "$top" print-EXTVERSION)" "$top/META.json"
}

# A file that a list in the Makefile has forgotten would silently not count.
unlisted()
{
	local variable=$1 file listed
	shift
	listed=$(make -s -C "$top" "print-$variable" | tr ' ' '\n')
	for file; do
		[ -e "$file" ] || continue
		grep -qwF -- "$file" <<<"$listed" || say "$file is not in $variable"
	done
}

unlisted_sources()
{
	cd "$top"
	local sources=(src/*.c src/core/*.c) tests=(sql/*.sql) listed

	unlisted OBJS "${sources[@]/%.c/.o}" | grep -v '[*]' || true
	unlisted SQL_PARTS src/*.sql
	listed=$(make -s print-REGRESS)
	tests=("${tests[@]#sql/}")
	for t in "${tests[@]%.sql}"; do
		[ "$t" = '*' ] || grep -qwF -- "$t" <<<"$listed" ||
			say "sql/$t.sql is not in REGRESS_ORDER"
	done
}

# scripts FIND_ACTION...: the shell scripts
scripts()
{
	find . -path ./.git -prune -o -path ./build -prune -o -path ./demo -prune -o \
		\( -name '*.sh' -o -path ./.ci/run \) -type f "${@:--print}"
}

without_head_comment()
{
	cd "$top"
	find . -path ./.git -prune -o -path ./build -prune -o -path ./demo -prune -o \
		-name '*.[ch]' -exec awk 'FNR == 1 && !/^\/\*/ { print FILENAME }' {} +
	find src test examples -name '*.sql' -exec awk 'FNR == 1 && !/^(--|\/\*)/ { print FILENAME }' {} +
	scripts -exec awk 'NR <= 3 && /^#[^!]/ { n = 1 } END { if (!n) print FILENAME }' {} \;
}

shell_faults()
{
	cd "$top"
	local file
	scripts | while IFS= read -r file; do
		bash -n "$file"
		! command -v shellcheck >/dev/null || shellcheck -x "$file"
	done
}

# A compiler that thinks that fetching memory ahead has no effect leaves it out.
missing_prefetch()
{
	local found

	case $(uname -m) in x86_64 | aarch64) ;; *) return 0 ;; esac
	found=$(objdump -d "$top/src/limit.o" | grep -cE 'prefetch|prfm' || true)
	[ "$found" -ge 6 ] || say "$found instructions fetch memory ahead in src/limit.o"
}

stage_static()
{
	local ok=0 not_ok=0 start=$SECONDS

	wanted static || return 0
	check "meter.so exports only entry points" foreign_symbols
	check "META.json has the version of meter.control" other_versions
	check "every source and test is in the Makefile" unlisted_sources
	check "calls fetch ahead what they will read" missing_prefetch
	check "every file opens with a comment" without_head_comment
	check "shell scripts are sound" shell_faults
	report static "$ok" "$not_ok" "$start"
}

# A program that ends without telling of a failed test has failed itself.
stage_unit()
{
	local ok=0 not_ok=0 start=$SECONDS program name status fails

	mkdir -p "$work/unit"
	for program in "$top"/build/unit/test_*; do
		[ -x "$program" ] || continue
		name=$(basename "$program")
		wanted "$name" || continue
		cp "$program" "$work/unit/"
		status=0
		as_user env UBSAN_OPTIONS=print_stacktrace=1 \
			"$work/unit/$name" >"$results/$name.log" 2>&1 || status=$?
		ok=$((ok + $(count '^\[ +OK \]' "$results/$name.log")))
		# a failed test is named where it failed and in the summary
		fails=$(sed -n 's/^\[  FAILED  \] \([A-Za-z_0-9]*\)$/\1/p' "$results/$name.log" |
			sort -u | wc -l)
		[ "$status" -eq 0 ] || [ "$fails" -gt 0 ] || fails=1
		not_ok=$((not_ok + fails))
		[ "$status" -eq 0 ] || { say "not ok: $name (exit code $status)"; tail -n 60 "$results/$name.log"; }
	done
	report unit "$ok" "$not_ok" "$start"
}

# Both drivers print "test NAME ... ok" before version 16 and TAP since then.
# regress STAGE DRIVER INPUT_DIRECTORY TEST...
regress()
{
	local stage=$1 driver=$2 input=$3 start=$SECONDS status=0 ok not_ok
	local out=$work/out/$stage log=$results/$stage.log test

	shift 3
	as_user mkdir -p "$out"
	# of a test without expected output the drivers say nothing useful; an
	# empty one makes them print the whole output as the difference
	as_user mkdir -p "$input/expected"
	for test in "$@"; do
		as_user touch -a "$input/expected/$test.out"
	done
	as_user "$pgxs_src/test/$driver" --bindir="$bindir" --inputdir="$input" \
		--outputdir="$out" --temp-instance="$work/$stage" --temp-config="$work/test.conf" \
		--encoding=UTF8 --no-locale --dbname=contrib_regression "$@" >"$log" 2>&1 ||
		status=$?
	ok=$(count '^(test .*\.\.\. ok|ok [0-9]+ )' "$log")
	# those that did not come to run have failed too
	not_ok=$(($# - ok))
	[ "$status" -eq 0 ] || [ "$not_ok" -gt 0 ] || not_ok=1
	cp -r "$out" "$results/"
	if [ "$not_ok" -gt 0 ]; then
		cat "$log"
		head -n 400 "$out/regression.diffs" 2>/dev/null || true
		# no differences: the driver itself failed
		if [ ! -s "$out/regression.diffs" ] || grep -q 'server closed the connection' "$out/regression.diffs"; then
			tail -n 40 "$out/log/postmaster.log" 2>/dev/null || true
		fi
	fi
	report "$stage" "$ok" "$not_ok" "$start"
}

stage_regress()
{
	local tests=() name

	for name in $(make -s -C "$top" print-REGRESS); do
		! wanted "$name" || tests+=("$name")
	done
	[ ${#tests[@]} -eq 0 ] || regress regress regress/pg_regress . "${tests[@]}"
}

stage_isolation()
{
	local tests=() name

	for name in "$top"/test/isolation/specs/*.spec; do
		name=$(basename "$name" .spec)
		[ "$name" = '*' ] || ! wanted "$name" || tests+=("$name")
	done
	[ ${#tests[@]} -eq 0 ] ||
		regress isolation isolation/pg_isolation_regress test/isolation "${tests[@]}"
}

# A file system that can be filled up, where we may mount one: a test of a full
# disk needs a disk of its own.
small_disk()
{
	local disk=$work/small

	mkdir "$disk"
	if is_root && mount -t tmpfs -o size=48m,mode=0700 tmpfs "$disk" 2>/dev/null; then
		at_exit remove_small_disk
		chown "$run_user:" "$disk"
		export METER_SMALL_DISK=$disk
	else
		rmdir "$disk"
		say "  no file system that can be filled up: what needs one is skipped"
	fi
}

remove_small_disk()
{
	stop_servers "$work"
	umount "$METER_SMALL_DISK" || umount -l "$METER_SMALL_DISK"
}

# Programs of packages that only single tests need.
programs()
{
	! wanted 023_context || unpacked PGBOUNCER pgbouncer /usr/sbin/pgbouncer
	if wanted 035_prometheus; then
		unpacked PROMETHEUS prometheus /usr/bin/prometheus
		unpacked PROMTOOL prometheus /usr/bin/promtool
		unpacked SQL_EXPORTER prometheus-sql-exporter /usr/bin/prometheus-sql-exporter
		unpacked POSTGRES_EXPORTER prometheus-postgres-exporter /usr/bin/prometheus-postgres-exporter
	fi
}

# A browser, for what people look at.
browser()
{
	export CHROMIUM
	CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
	[ -z "$CHROMIUM" ] && wanted 034_dashboard || return 0
	say "  installing Chromium"
	if install_optional chromium; then
		CHROMIUM=$(command -v chromium || true)
	else
		say "  no Chromium: what needs one is skipped"
	fi
}

# What the examples of middlewares are written in, as far as it can be had; Node
# itself is not installed for this.
languages()
{
	wanted 041_middleware || return 0
	say "  looking for Node, Python and PHP"
	local packages=(python3-psycopg python3-psycopg-pool python3-starlette python3-uvicorn
		php-cli php-pgsql php-laravel-framework)
	install_optional "${packages[@]}" ||
		say "  no packages for Python and PHP: what needs them is skipped"
	if command -v npm >/dev/null && mkdir "$work/node" &&
		timeout 120 npm install --prefix "$work/node" --no-audit --no-fund pg express fastify \
			>"$install_log" 2>&1; then
		chmod -R a+rX "$work/node"
		export NODE_PATH=$work/node/node_modules
	else
		say "  no packages for Node: what needs them is skipped"
	fi
}

# tap_test FILE NAME: run one; its log in results, its status in $work/tap/NAME.status
tap_test()
{
	local status=0 begin=$SECONDS

	as_user mkdir -p "$work/tap/$2"
	# the variables are those of prove_installcheck of versions 15 to 19
	as_user env PATH="$bindir:$PATH" PERL5LIB="$pgxs_src/test/perl${PERL5LIB:+:$PERL5LIB}" \
		PG_REGRESS="$pgxs_src/test/regress/pg_regress" TEMP_CONFIG="$work/tap.conf" \
		TESTDIR="$work/tap/$2" TESTDATADIR="$work/tap/$2/tmp_check" \
		TESTLOGDIR="$work/tap/$2/tmp_check/log" \
		prove --verbose --merge "$1" >"$results/$2.log" 2>&1 || status=$?
	say "$status" >"$work/tap/$2.status"
	say "  $2 $((SECONDS - begin)) s"
}

# Each has servers of its own, and mostly waits: as many at once as there are cores.
stage_tap()
{
	local ok=0 not_ok=0 start=$SECONDS file name log status fails jobs idle=0

	jobs=${TAP_JOBS:-$(nproc)}
	small_disk
	programs
	browser
	languages
	# it waits two minutes for pg_cron, and would keep a core idle
	if wanted 004_cron; then
		tap_test test/t/004_cron.pl 004_cron &
		idle=$!
	fi
	for file in test/t/*.pl; do
		name=$(basename "$file" .pl)
		if [ ! -e "$file" ] || [ "$name" = 004_cron ] || ! wanted "$name"; then
			continue
		fi
		while [ "$(jobs -rp | grep -vcxF "$idle")" -ge "$jobs" ]; do
			wait -n || true
		done
		tap_test "$file" "$name" &
	done
	wait
	for file in test/t/*.pl; do
		name=$(basename "$file" .pl)
		if [ ! -e "$file" ] || ! wanted "$name"; then
			continue
		fi
		log=$results/$name.log
		status=$(cat "$work/tap/$name.status")
		ok=$((ok + $(count '^ok [0-9]+' "$log") - $(count '^ok [0-9]+.*# *(SKIP|skip)' "$log")))
		fails=$(count '^not ok [0-9]+' "$log")
		[ "$status" -eq 0 ] || [ "$fails" -gt 0 ] || fails=1
		not_ok=$((not_ok + fails))
		if [ "$status" -ne 0 ]; then
			say "not ok: $file"
			grep -vE '^ok ' "$log" | tail -n 60
			tail -n 40 "$work/tap/$name/tmp_check/log/"* 2>/dev/null || true
			cp -r "$work/tap/$name/tmp_check/log" "$results/$name" 2>/dev/null || true
		fi
	done
	report tap "$ok" "$not_ok" "$start"
}

# The examples of the manual; pages are chosen by T as tests are.
stage_doc()
{
	local ok not_ok start=$SECONDS status=0 pages=() page log=$results/doc.log

	for page in README.md doc/*.md; do
		! wanted "$page" || pages+=("$page")
	done
	[ ${#pages[@]} -gt 0 ] || return 0
	run_doc "${pages[@]}" >"$log" || status=$?
	ok=$(count '^ok [0-9]+' "$log")
	not_ok=$(count '^not ok [0-9]+' "$log")
	[ "$status" -eq 0 ] || [ "$not_ok" -gt 0 ] || not_ok=1
	[ "$not_ok" -eq 0 ] || grep -v '^ok ' "$log" | head -n 400
	report doc "$ok" "$not_ok" "$start"
}

# --- two stages at a time ---------------------------------------------------

# The regression tests keep one core busy, and so do the stages that follow up
# to the TAP tests, of which several run at once.
beside=

run_beside()
{
	local passed=0 failed=0

	"stage_$1"
	say "$passed $failed" >"$work/beside.counts"
}

# start_beside STAGE: what it prints and counts comes when it is joined
start_beside()
{
	run_beside "$1" >"$work/beside.log" 2>&1 &
	beside=$!
}

join_beside()
{
	local counts=(0 1)

	[ -n "$beside" ] || return 0
	! wait "$beside" || read -r -a counts <"$work/beside.counts"
	beside=
	cat "$work/beside.log"
	passed=$((passed + counts[0]))
	failed=$((failed + counts[1]))
}

# --- the run ----------------------------------------------------------------

[ -z "${CI:-}" ] || export COPT="-Werror ${COPT:-}"
if [ -z "${METER_DATA:-}" ] && [ -d "$top/../shared/data" ]; then
	METER_DATA=$(cd "$top/../shared/data" && pwd -P)
fi
export METER_DATA=${METER_DATA:-}
[ -z "${VECTORS:-}" ] || VECTORS=$(cd "$caller_dir" && realpath -e -- "$VECTORS")
export VECTORS=${VECTORS:-}

install_packages test
choose_server
choose_user
say "meter for $("$PG_CONFIG" --version), tests run as $run_user"

start=$SECONDS
if ! build_and_install; then
	say "0 passed, 1 failed"
	exit 1
fi
printf '%-10s %26d s\n' build $((SECONDS - start))

start=$SECONDS
not_built=0
if [[ " $stages " == *" unit "* ]]; then
	# the address sanitizer needs /proc, which a root directory may lack
	[ -e /proc/self/maps ] || export SANITIZE=undefined
	make -s -k -C "$top" -j"$(nproc)" unit || not_built=1
	give_back
fi
report "unit build" 0 "$not_built" "$start"

make_work
copy_tree "$work/meter"
cd "$work/meter"
results=$top/build/results
rm -rf "$results"
mkdir -p "$results"
{ cat test/regress.conf; say "${EXTRA_CONF:-}"; } >"$work/test.conf"
say "${EXTRA_CONF:-}" >"$work/tap.conf"
chmod 0644 "$work"/*.conf

for stage in $stages; do
	case $stage in
		regress) start_beside regress ;;
		tap | doc) join_beside; "stage_$stage" ;;
		*) "stage_$stage" ;;
	esac
done
join_beside
give_back

say ""
[ $((passed + failed)) -gt 0 ] || say "no test has run"
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
