# shellcheck shell=bash
#
# bench/clients.sh: what the figures of several clients have in common.
#
# pgbench calls one statement a transaction, as often as it can.  Its speed goes
# to bench.result as the time of so many calls, latencies and whatever else was
# measured to bench.detail.  A figure sets "files", a directory that the
# server's user can write to, and has a function clean(), which is called before
# each run.

# shellcheck disable=SC2034,SC2154		# for the figures' scripts, and from run.sh
clients=8
threads=$(nproc)
[ "$threads" -le "$clients" ] || threads=$clients
if [ "$divisor" -eq 1 ]; then
	seconds=${DURATION:-60}
	warm_up=3
else
	seconds=3
	warm_up=3
fi
# What is compared closely takes turns every few seconds, as the machine's speed
# may change by more than the difference within a minute.
slice=3
[ "$slice" -le "$seconds" ] || slice=$seconds
slices=$((seconds / slice))
turns=$((rounds * slices))
lasts=$slice			# seconds of a run of pgbench
per=100000				# calls that the table of speeds has the time of
sampled=0.1			# share of the calls whose latency is kept: a log of all slows pgbench

# --- the server -------------------------------------------------------------

# serve SETTING...: restart with these instead of what run.sh has set
serve()
{
	local setting commands=(-c "ALTER SYSTEM RESET ALL")

	for setting; do
		commands+=(-c "ALTER SYSTEM SET $setting")
	done
	sql "${commands[@]}"
	as_user "$bindir/pg_ctl" -s -w -D "$server/data" -l "$server/log" -m fast restart
}

# make_noop NAME FUNCTION: bench.NAME of noop.c, declared as that function is
make_noop()
{
	if [ ! -d "$work/noop" ]; then
		as_user mkdir "$work/noop"
		as_user tee "$work/noop/noop.c" <"$bench/noop.c" >/dev/null
		as_user make -s -C "$work/noop" -f "$("$PG_CONFIG" --pgxs)" \
			PGXS="$("$PG_CONFIG" --pgxs)" PG_CONFIG="$PG_CONFIG" MODULES=noop with_llvm=no noop.so
	fi
	sql -v library="$work/noop/noop" -v name="$1" -v function="$2" -f - <<-'SQL'
		SELECT format('CREATE FUNCTION bench.%I(%s) RETURNS %s LANGUAGE C VOLATILE PARALLEL %s AS %L, %L',
			:'name', pg_get_function_arguments(oid), pg_get_function_result(oid),
			CASE proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' ELSE 'UNSAFE' END,
			:'library', :'name')
		FROM pg_proc WHERE oid = :'function'::regproc \gexec
	SQL
}

# note VARIANT ROUND (MEASURE VALUE)...: what was measured besides time
note()
{
	local variant=$1 round=$2 rows=''

	shift 2
	while [ $# -gt 0 ]; do
		rows+="${rows:+, }('$figure', '$variant', $round, '$1', '$2')"
		shift 2
	done
	sql -c "INSERT INTO bench.detail VALUES $rows"
}

# ask SQL: one row, its columns separated by blanks
ask()
{
	sql -At -F ' ' -c "$1"
}

# --- several clients --------------------------------------------------------

# run_clients ROUND FILE [SERVER_OPTIONS]: sets calls, tps, ended, used
run_clients()
{
	local duration=$lasts

	[ "$1" -gt 0 ] || duration=$warm_up
	as_user find "$files" -name 'log.*' -delete
	used=$(server_cpu)
	as_user env PGDATABASE=postgres PGOPTIONS="${3:-}" "$bindir/pgbench" -h "$server" -p "$port" -U postgres \
		-n -M prepared -c "$clients" -j "$threads" -T "$duration" \
		-l --sampling-rate="$sampled" --log-prefix="$files/log" -f "$files/$2" >"$install_log" 2>&1 ||
		{ cat "$install_log" >&2; die "pgbench failed"; }
	ended=$(date +%s.%N)
	calls=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$install_log")
	tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$install_log")
}

# record_speed VARIANT ROUND CALLS CALLS_PER_SECOND CPU
record_speed()
{
	record "$1" "$2" "$(awk -v tps="$4" -v per="$per" 'BEGIN { print per / tps }')" \
		"$(awk -v cpu="$5" -v calls="$3" -v per="$per" 'BEGIN { print cpu / calls * per }')"
}

# record_clients VARIANT ROUND: what run_clients has measured
record_clients()
{
	local latencies lines numbers

	record_speed "$1" "$2" "$calls" "$tps" \
		"$(awk -v before="$used" -v after="$(server_cpu)" 'BEGIN { print after - before }')"

	# each call's own time, in microseconds, is the third column
	latencies=$files/latencies
	cat "$files"/log.* | awk '{ print $3 }' | sort -n -T "$work" >"$latencies"
	lines=$(wc -l <"$latencies")
	awk -v lines="$lines" -v expected="$(awk -v n="$calls" -v s="$sampled" 'BEGIN { print n * s }')" \
		'BEGIN { exit !(lines > 0.8 * expected && lines < 1.2 * expected) }' ||
		die "pgbench has logged $lines of $calls calls"
	numbers=$(awk -v n="$lines" '
		function at(share,  i) { i = int(share * n); return i < share * n ? i + 1 : i }
		BEGIN { p50 = at(0.5); p95 = at(0.95); p99 = at(0.99) }
		{ sum += $1 }
		NR == p50 { v50 = $1 } NR == p95 { v95 = $1 } NR == p99 { v99 = $1 }
		END { printf "average %.4f p50 %.3f p95 %.3f p99 %.3f max %.3f\n",
			sum / n / 1000, v50 / 1000, v95 / 1000, v99 / 1000, $1 / 1000 }' "$latencies")
	# shellcheck disable=SC2086		# it is a list
	note "$1" "$2" calls "$calls" $numbers
	rm -f "$latencies"
}

# clients_of VARIANT ROUND FILE [OPTIONS]
clients_of()
{
	clean
	run_clients "$2" "$3" "${4:-}"
	record_clients "$1" "$2"
}

# --- tables of what was measured --------------------------------------------

# report_latencies VARIANT...
report_latencies()
{
	sql -P title="Latency of a call in ms, medians of the rounds" -P footer=off \
		-v figure="$figure" -v variants="$(printf '%s\n' "$@")" -f - <<-'SQL'
		WITH median AS (
			SELECT variant, measure, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS value
			FROM bench.detail WHERE figure = :'figure' AND round > 0 GROUP BY variant, measure
		)
		SELECT v.variant AS " ",
			round(max(value) FILTER (WHERE measure = 'average')::numeric, 3) AS "average",
			round(max(value) FILTER (WHERE measure = 'p50')::numeric, 3) AS "p50",
			round(max(value) FILTER (WHERE measure = 'p95')::numeric, 3) AS "p95",
			round(max(value) FILTER (WHERE measure = 'p99')::numeric, 3) AS "p99",
			round(max(value) FILTER (WHERE measure = 'max')::numeric, 1) AS "highest"
		FROM string_to_table(:'variants', E'\n') WITH ORDINALITY AS v(variant, position)
		JOIN median AS m USING (variant)
		GROUP BY v.variant, v.position ORDER BY v.position;
	SQL
}

# report_targets OPTION...: the targets are rows from stdin, with psql's
# variables of the options: position, title, variant, measure, base, sign, bound.
# With a base, it is about the ratio of the medians, beside that of the rounds
# one by one if both have the same ones, or for the measure "paired" about the
# median of those; without, about what the worst of the rounds has.  The measure
# "speed" is of bench.result; bytes are shown in MB if the title ends with that.
report_targets()
{
	{
		cat <<-'SQL'
			WITH value AS (
				SELECT variant, round, measure, value FROM bench.detail
				WHERE figure = :'figure' AND round > 0
				UNION ALL
				SELECT variant, round, 'speed', 1 / seconds FROM bench.result
				WHERE figure = :'figure' AND round > 0
			), target AS (
				SELECT * FROM (VALUES
		SQL
		cat
		cat <<-'SQL'
				) AS t(position, title, variant, measure, base, sign, bound)
			), measured AS (
				SELECT t.position, t.title, t.sign, t.bound,
					CASE WHEN t.measure = 'paired'
						THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY v.value / b.value)
						WHEN t.base IS NOT NULL
						THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY v.value) /
							(SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a.value) FROM value AS a
							WHERE a.variant = t.base AND a.measure = t.measure)
						WHEN t.title ~ ', MB$' THEN max(v.value) / 1048576
						WHEN t.sign = '=' THEN (array_agg(v.value ORDER BY abs(v.value) DESC))[1]
						ELSE max(v.value) END AS value,
					CASE WHEN count(b.value) = (SELECT count(*) FROM value AS a
							WHERE a.variant = t.base AND a.measure = t.measure) AND t.base IS NOT NULL THEN format('%s to %s',
						round(min(v.value / b.value)::numeric, 2),
						round(max(v.value / b.value)::numeric, 2)) END AS rounds
				FROM target AS t
				LEFT JOIN value AS v ON v.variant = t.variant AND v.measure = t.measure
				LEFT JOIN value AS b ON b.variant = t.base AND b.measure = t.measure AND b.round = v.round
				GROUP BY t.position, t.title, t.sign, t.bound, t.base, t.measure
			)
			SELECT title AS " ", round(value::numeric, 2) AS "measured", rounds AS "in the rounds",
				sign || ' ' || bound AS "target",
				CASE WHEN CASE sign WHEN '>=' THEN value >= bound WHEN '<=' THEN value <= bound
					WHEN '<' THEN value < bound ELSE value = bound END
				THEN 'met' ELSE 'NOT MET' END AS " "
			FROM measured ORDER BY position;
		SQL
	} | sql -v figure="$figure" "$@" -P title="Ratios and targets" -P footer=off -f -
}
