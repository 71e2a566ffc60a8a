# shellcheck shell=bash
#
# bench/track.sh: tracking events one by one, through the queue.
#
# Several clients call meter_track(), as often as they can: with nothing that
# empties the queue, which has room for all of it, and with flusher and roller
# at work on the same machine.  What that is compared with takes turns with it:
# a C function that does nothing, and an INSERT into the usual usage log.  Then
# a flush alone against COPY, and the memory of a session that tracks millions
# of events.
#
# Every event that was tracked has to be in the log and in the hourly rows.

# shellcheck disable=SC2154		# from run.sh
files=$work/track
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
per=100000				# calls that the table of speeds has the time of
flush_events=$((2000000 / divisor))
memory_events=$((10000000 / divisor))
memory_step=10000		# events a statement
memory_first=100000		# events after which the session has what it needs
sampled=0.1			# share of the calls whose latency is kept: a log of all slows pgbench
patience=300			# seconds after which a backlog is one that stays

noop="a function that does nothing"
undrained="meter_track(), not drained"
sustained="meter_track(), flusher and roller"
insert_on="INSERT, synchronous_commit on"
insert_off="INSERT, synchronous_commit off"
flushed="meter_flush() of the queue"
copied="COPY, bare table by day"
copied_indexed="COPY, table by day with the log's indexes"
memory="memory"

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

# Only meter_flush() moves an event, and there is room for all of them.  The
# first one makes the queue's file.
serve_undrained()
{
	serve "meter.durability = buffered" "meter.queue_size = '4GB'"
	sql -o /dev/null -c "SELECT meter_track('tenant-0')" -c "SELECT meter_flush()"
}

# All as meter sets it, but for the roller's interval.  Its first run, which
# makes partitions, does not count.
serve_sustained()
{
	serve "meter.durability = buffered" "meter.flush_interval = 200" "meter.rollup_interval = 2"
	sql -o /dev/null -c "SELECT meter_track('tenant-0')" -f - <<-SQL
		DO \$\$
		BEGIN
			FOR i IN 1 .. 10 * $patience LOOP
				EXIT WHEN (SELECT maintained_at IS NOT NULL AND queue_bytes = 0
					AND rollup_behind = 0 FROM meter.stats);
				COMMIT;			-- gives its locks back, which maintenance waits for
				PERFORM pg_sleep(0.1);
			END LOOP;
		END \$\$;
	SQL
}

clean()
{
	sql -o /dev/null -c "CALL bench.reset()" -c "TRUNCATE bench.usage_log" -c CHECKPOINT \
		-c "SELECT meter_stats_reset()"
}

# note VARIANT ROUND (MEASURE VALUE)...: what was measured besides time
note()
{
	local variant=$1 round=$2 rows=''

	shift 2
	while [ $# -gt 0 ]; do
		rows+="${rows:+, }('$variant', $round, '$1', '$2')"
		shift 2
	done
	sql -c "INSERT INTO bench.track VALUES $rows"
}

# ask SQL: one row, its columns separated by blanks
ask()
{
	sql -At -F ' ' -c "$1"
}

# --- several clients --------------------------------------------------------

# run_clients ROUND FILE [OPTIONS]: sets calls, tps, ended, used
run_clients()
{
	local duration=$seconds

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

# record_clients VARIANT ROUND: what run_clients has measured
record_clients()
{
	local cpu latencies lines numbers

	cpu=$(awk -v before="$used" -v after="$(server_cpu)" -v calls="$calls" -v per="$per" \
		'BEGIN { print (after - before) / calls * per }')
	record "$1" "$2" "$(awk -v tps="$tps" -v per="$per" 'BEGIN { print per / tps }')" "$cpu"

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

undrained_round()
{
	local queued fallbacks bytes

	clients_of "$undrained" "$1" track.sql
	read -r queued fallbacks bytes < <(ask "SELECT queued, fallbacks, queue_bytes FROM meter.stats")
	sql -o /dev/null -c "SELECT meter_flush()"
	note "$undrained" "$1" fallbacks "$fallbacks" queued "$queued" \
		unqueued "$((calls - queued))" queue_bytes "$bytes" \
		unlogged "$((calls - $(ask "SELECT count(*) FROM meter.event")))"
}

# sample ROUND N: look at the backlog N times, once a second
sample()
{
	local i

	say "SET synchronous_commit = off;"
	for ((i = 0; i < $2; i++)); do
		printf '%s\n' "SELECT pg_sleep(1) \\g /dev/null"
		say "INSERT INTO bench.backlog SELECT $1, $i, queue_bytes, rollup_behind FROM meter.stats;"
	done
}

sustained_round()
{
	local sampler samples=$seconds flush_empty rollup_empty fallbacks queued errors logged rolled_up

	[ "$1" -gt 0 ] || samples=$warm_up
	clean
	sample "$1" "$samples" | as_user tee "$files/sample.sql" >/dev/null
	sql -f "$files/sample.sql" &
	sampler=$!
	run_clients "$1" track.sql
	read -r flush_empty rollup_empty < <(ask "CALL bench.backlog_gone($ended, $patience)")
	wait "$sampler"
	record_clients "$sustained" "$1"
	read -r fallbacks queued errors logged rolled_up < <(ask "SELECT fallbacks, queued, errors,
		(SELECT count(*) FROM meter.event),
		(SELECT coalesce(sum(events), 0) FROM meter.usage_hourly) FROM meter.stats")
	note "$sustained" "$1" fallbacks "$fallbacks" queued "$queued" errors "$errors" \
		logged "$logged" rolled_up "$rolled_up" unlogged "$((calls - logged))" \
		not_rolled_up "$((calls - rolled_up))" \
		flush_empty "$flush_empty" rollup_empty "$rollup_empty"
}

# --- one session ------------------------------------------------------------

# track_many N: a statement that tracks so many events
track_many()
{
	printf '%s\n' "SELECT count(meter_track('tenant-' || (1 + i % 500)::text, service => 'api', endpoint => '/v1/servers', method => 'GET', status => 200, latency_ms => 1 + i % 499, user_id => 'user-' || (1 + i / 500 % 10)::text)) FROM generate_series(1, $1) AS i \\g /dev/null"
}

# Tables like the log, by day: bench.log without indexes, bench.log_indexed
# with those of the log's partitions.
make_logs()
{
	sql -f - <<-'SQL'
		CREATE TABLE bench.log (LIKE meter.event) PARTITION BY RANGE (at);
		CREATE TABLE bench.log_indexed (LIKE meter.event) PARTITION BY RANGE (at);
		SELECT format('CREATE TABLE bench.log_%1$s PARTITION OF bench.log %2$s;'
			'CREATE TABLE bench.log_indexed_%1$s (LIKE %3$s INCLUDING INDEXES);'
			'ALTER TABLE bench.log_indexed ATTACH PARTITION bench.log_indexed_%1$s %2$s',
			row_number() OVER (), pg_get_expr(c.relpartbound, c.oid), c.oid::regclass)
		FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'meter.event'::regclass \gexec
	SQL
}

flush_round()
{
	clean
	track_many "$flush_events" | sql -f - -c CHECKPOINT
	measure "$flushed" "$1" <<<"SELECT meter_flush();"
	if [ "$1" -eq 0 ]; then
		make_logs
		sql -c "COPY (SELECT * FROM meter.event ORDER BY seq) TO '$files/events.copy'"
	fi
	note "$flushed" "$1" unlogged "$((flush_events - $(ask "SELECT count(*) FROM meter.event")))"
	clean
	measure "$copied" "$1" <<<"COPY bench.log FROM '$files/events.copy';"
	sql -c "TRUNCATE bench.log" -c CHECKPOINT
	measure "$copied_indexed" "$1" <<<"COPY bench.log_indexed FROM '$files/events.copy';"
	sql -c "TRUNCATE bench.log_indexed"
}

# read_memory NAME: set NAME_rss and NAME_contexts, in bytes, in psql
read_memory()
{
	sed "s/NAME/$1/" <<-'SQL'
		SELECT sum(total_bytes) AS NAME_contexts FROM pg_backend_memory_contexts \gset
		\set NAME_rss `awk '/^RssAnon/ { print 1024 * $2 }' "/proc/$METER_PID/status"`
	SQL
}

# The server's process itself: what it has allocated, and what of its memory is
# not shared with others.  The look at the start has it load what looking takes.
memory_session()
{
	local i

	printf '%s\n' 'SELECT pg_backend_pid() AS pid \gset' '\setenv METER_PID :pid' \
		'SELECT clock_timestamp() AS started \gset'
	read_memory first
	for ((i = memory_step; i <= memory_events; i += memory_step)); do
		track_many "$memory_step"
		[ "$i" -ne "$memory_first" ] || read_memory first
	done
	read_memory last
	cat <<-'SQL'
		INSERT INTO bench.track VALUES
			('memory', 1, 'rss', :first_rss), ('memory', 1, 'contexts', :first_contexts),
			('memory', 1, 'rss_growth', :last_rss - :first_rss),
			('memory', 1, 'contexts_growth', :last_contexts - :first_contexts),
			('memory', 1, 'seconds', extract(epoch FROM clock_timestamp() - :'started'));
	SQL
}

memory_round()
{
	local flush_empty rollup_empty fallbacks

	clean
	memory_session | sql -f -
	read -r flush_empty rollup_empty < <(ask "CALL bench.backlog_gone($(date +%s.%N), $patience)")
	fallbacks=$(ask "SELECT fallbacks FROM meter.stats")
	note "$memory" 1 fallbacks "$fallbacks" flush_empty "$flush_empty" rollup_empty "$rollup_empty" \
		unlogged "$((memory_events - $(ask "SELECT count(*) FROM meter.event")))"
}

# --- tables of what was measured --------------------------------------------

report_latencies()
{
	sql -P title="Latency of a call in ms, medians of the rounds" -P footer=off \
		-v variants="$(printf '%s\n' "$@")" -f - <<-'SQL'
		WITH median AS (
			SELECT variant, measure, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS value
			FROM bench.track WHERE round > 0 GROUP BY variant, measure
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

# A backlog in seconds is what was called in so long a time.
report_backlog()
{
	sql -v sustained="$sustained" -v undrained="$undrained" -v per="$per" -f - <<-'SQL'
		CREATE TEMPORARY VIEW sustained AS
		SELECT round,
			max(value) FILTER (WHERE measure = 'calls') AS calls,
			max(value) FILTER (WHERE measure = 'logged') AS logged,
			max(value) FILTER (WHERE measure = 'rolled_up') AS rolled_up,
			max(value) FILTER (WHERE measure = 'fallbacks') AS fallbacks,
			max(value) FILTER (WHERE measure = 'errors') AS errors,
			max(value) FILTER (WHERE measure = 'flush_empty') AS flush_empty,
			max(value) FILTER (WHERE measure = 'rollup_empty') AS rollup_empty
		FROM bench.track WHERE variant = :'sustained' AND round > 0 GROUP BY round;

		CREATE TEMPORARY VIEW largest AS
		SELECT b.round,
			max(b.queue_bytes) AS queue_bytes,
			max(b.queue_bytes) / (u.bytes / u.calls) / s.speed AS queue_seconds,
			max(b.rollup_behind) AS rollup_behind,
			max(b.rollup_behind) / s.speed AS rollup_seconds,
			max(b.rollup_behind) FILTER (WHERE 2 * b.n < b.samples) AS rollup_first,
			max(b.rollup_behind) FILTER (WHERE 2 * b.n >= b.samples) AS rollup_second
		FROM (SELECT *, count(*) OVER (PARTITION BY round) AS samples FROM bench.backlog) AS b
		JOIN (SELECT round, max(value) FILTER (WHERE measure = 'queue_bytes') AS bytes,
				max(value) FILTER (WHERE measure = 'calls') AS calls
			FROM bench.track WHERE variant = :'undrained' GROUP BY round) AS u USING (round)
		JOIN (SELECT round, :per / seconds AS speed FROM bench.result
			WHERE figure = 'track' AND variant = :'sustained') AS s USING (round)
		WHERE b.round > 0
		GROUP BY b.round, u.bytes, u.calls, s.speed;

		INSERT INTO bench.track
		SELECT :'sustained', round, m.measure, m.value FROM largest
		CROSS JOIN LATERAL (VALUES ('queue_seconds', queue_seconds),
			('rollup_seconds', rollup_seconds)) AS m(measure, value);

		\pset footer off
		\pset title 'Largest backlog while flusher and roller work, looked at once a second'
		SELECT round,
			round(queue_bytes / 1024.0) AS "queue, kB",
			round(queue_seconds::numeric, 2) AS "queue, s of calls",
			rollup_behind AS "not rolled up, events",
			round(rollup_seconds::numeric, 2) AS "not rolled up, s of calls",
			format('%s, %s', rollup_first, rollup_second) AS "in the halves of the run"
		FROM largest ORDER BY round;
		\pset title 'Where the calls are, and when that was so'
		SELECT round, calls, fallbacks AS "past a full queue", errors AS "workers' errors",
			logged AS "in the log", rolled_up AS "rolled up",
			round(flush_empty::numeric, 2) AS "log complete after s",
			round(rollup_empty::numeric, 2) AS "rolled up after s"
		FROM sustained ORDER BY round;
	SQL
}

report_memory()
{
	sql -P title="A session that tracks $memory_events events" -P footer=off \
		-v after="kB after the first $memory_first" -f - <<-'SQL'
		SELECT what AS " ", round((value / 1024)::numeric) AS :"after",
			round((growth / 1024)::numeric) AS "kB more at the end"
		FROM (SELECT measure, value AS growth FROM bench.track WHERE variant = 'memory') AS g
		JOIN (VALUES ('rss_growth', 'memory of its own (RssAnon)', 'rss'),
			('contexts_growth', 'pg_backend_memory_contexts', 'contexts'))
			AS w(measure, what, first) USING (measure)
		JOIN (SELECT measure AS first, value FROM bench.track WHERE variant = 'memory') AS f USING (first)
		ORDER BY measure DESC;
	SQL
	say "It took $(ask "SELECT round(max(value)::numeric, 1) FROM bench.track
		WHERE variant = 'memory' AND measure = 'seconds'") s; $(ask "SELECT max(value)
		FROM bench.track WHERE variant = 'memory' AND measure = 'fallbacks'") events went past a full queue."
	say ""
}

# With a base, the ratio of the medians, and of the rounds one by one; without,
# what the worst of the rounds has.
report_targets()
{
	sql -v noop="$noop" -v undrained="$undrained" -v sustained="$sustained" \
		-v insert_on="$insert_on" -v insert_off="$insert_off" \
		-v flushed="$flushed" -v copied="$copied" \
		-P title="Ratios and targets" -P footer=off -f - <<-'SQL'
		WITH value AS (
			SELECT variant, round, measure, value FROM bench.track WHERE round > 0
			UNION ALL
			SELECT variant, round, 'speed', 1 / seconds FROM bench.result
			WHERE figure = 'track' AND round > 0
		), target AS (
			SELECT * FROM (VALUES
				(1, 'calls/s, not drained, of nothing''s', :'undrained', 'speed', :'noop', '>=', 0.90),
				(2, 'calls/s, flusher and roller, of nothing''s', :'sustained', 'speed', :'noop', '>=', 0.75),
				(3, 'p99, flusher and roller, of nothing''s', :'sustained', 'p99', :'noop', '<=', 2),
				(4, 'calls/s, flusher and roller, of INSERT''s, synchronous_commit on', :'sustained', 'speed', :'insert_on', '>=', 4),
				(5, 'the same, synchronous_commit off', :'sustained', 'speed', :'insert_off', '>=', 1.8),
				(6, 'not drained: calls that are not in the queue', :'undrained', 'unqueued', NULL, '=', 0),
				(7, 'not drained: calls that are not in the log after a flush', :'undrained', 'unlogged', NULL, '=', 0),
				(8, 'flusher and roller: calls that are not in the log', :'sustained', 'unlogged', NULL, '=', 0),
				(9, 'flusher and roller: calls that are not rolled up', :'sustained', 'not_rolled_up', NULL, '=', 0),
				(10, 'flusher and roller: events past a full queue', :'sustained', 'fallbacks', NULL, '=', 0),
				(11, 'largest backlog of the queue, s of calls', :'sustained', 'queue_seconds', NULL, '<=', 5),
				(12, 'largest backlog of the rollup, s of calls', :'sustained', 'rollup_seconds', NULL, '<=', 10),
				(13, 'seconds until the log is complete', :'sustained', 'flush_empty', NULL, '<=', 5),
				(14, 'seconds until all is rolled up', :'sustained', 'rollup_empty', NULL, '<=', 5),
				(15, 'events/s of meter_flush(), of COPY''s', :'flushed', 'speed', :'copied', '>=', 0.9),
				(16, 'memory of its own that a session gains, MB', 'memory', 'rss_growth', NULL, '<', 1),
				(17, 'memory contexts that it gains, MB', 'memory', 'contexts_growth', NULL, '<', 1),
				(18, 'its events that are not in the log', 'memory', 'unlogged', NULL, '=', 0)
			) AS t(position, title, variant, measure, base, sign, bound)
		), measured AS (
			SELECT t.position, t.title, t.sign, t.bound,
				CASE WHEN t.base IS NOT NULL
					THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY v.value) /
						percentile_cont(0.5) WITHIN GROUP (ORDER BY b.value)
					WHEN t.measure ~ '_growth$' THEN max(v.value) / 1048576
					WHEN t.sign = '=' THEN (array_agg(v.value ORDER BY abs(v.value) DESC))[1]
					ELSE max(v.value) END AS value,
				CASE WHEN t.base IS NOT NULL THEN format('%s to %s',
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
}

# --- the run ----------------------------------------------------------------

as_user mkdir "$files" "$files/noop"
as_user tee "$files/noop/noop.c" <"$bench/noop.c" >/dev/null
as_user make -s -C "$files/noop" -f "$("$PG_CONFIG" --pgxs)" \
	PGXS="$("$PG_CONFIG" --pgxs)" PG_CONFIG="$PG_CONFIG" MODULES=noop with_llvm=no noop.so
statement "$files/noop.sql" 1 "SELECT bench.noop($pgbench_event);"
statement "$files/track.sql" 1 "SELECT meter_track($pgbench_event);"
statement "$files/insert.sql" 1 "INSERT INTO bench.usage_log (tenant, service, endpoint, method, status, latency_ms, user_id) VALUES ('tenant-' || :tenant::text, 'api', '/v1/servers', 'GET', 200, :latency, 'user-' || :person::text);"

sql -v noop="$files/noop/noop" -f - <<-'SQL'
	SELECT format('CREATE FUNCTION bench.noop(%s) RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS %L, %L',
		pg_get_function_arguments('meter_track'::regproc), :'noop', 'noop') \gexec

	CREATE TABLE bench.usage_log (
		id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
		tenant text NOT NULL,
		user_id text,
		service text,
		endpoint text,
		method text,
		status integer,
		latency_ms double precision,
		cost numeric,
		metadata jsonb,
		created_at timestamptz NOT NULL DEFAULT now()
	);
	CREATE INDEX ON bench.usage_log (tenant, created_at);
	CREATE INDEX ON bench.usage_log (service, created_at);
	CREATE INDEX ON bench.usage_log (user_id, created_at);
	CREATE INDEX ON bench.usage_log (endpoint);

	-- what was measured besides the time
	CREATE TABLE bench.track (
		variant text NOT NULL,
		round integer NOT NULL,
		measure text NOT NULL,
		value double precision NOT NULL,
		PRIMARY KEY (variant, round, measure)
	);
	CREATE TABLE bench.backlog (
		round integer NOT NULL,
		n integer NOT NULL,
		queue_bytes bigint NOT NULL,
		rollup_behind bigint NOT NULL
	);

	-- Waits until nothing is left to do, and says how long after a time (in
	-- seconds since 1970) that was.
	CREATE PROCEDURE bench.backlog_gone(since double precision, patience double precision,
		INOUT flush_empty double precision DEFAULT NULL,
		INOUT rollup_empty double precision DEFAULT NULL)
	LANGUAGE plpgsql
	AS $$
	DECLARE
		passed double precision;
		behind bigint;
	BEGIN
		LOOP
			IF flush_empty IS NULL AND (SELECT queue_bytes FROM meter.stats) = 0
				AND NOT EXISTS (SELECT FROM meter.inbox) THEN
				flush_empty := extract(epoch FROM clock_timestamp()) - since;
			END IF;
			IF flush_empty IS NOT NULL THEN
				SELECT rollup_behind INTO behind FROM meter.stats;
				passed := extract(epoch FROM clock_timestamp()) - since;
				IF behind = 0 THEN
					rollup_empty := passed;
					RETURN;
				END IF;
			END IF;
			EXIT WHEN extract(epoch FROM clock_timestamp()) - since > patience;
			COMMIT;
			PERFORM pg_sleep(0.05);
		END LOOP;
		flush_empty := coalesce(flush_empty, 'Infinity');
		rollup_empty := 'Infinity';
	END $$;
SQL

for ((round = 0; round <= rounds; round++)); do
	serve_undrained
	clients_of "$noop" "$round" noop.sql
	undrained_round "$round"
	serve_sustained
	sustained_round "$round"
	clients_of "$insert_on" "$round" insert.sql
	clients_of "$insert_off" "$round" insert.sql "-c synchronous_commit=off"
done
serve_undrained
for ((round = 0; round <= rounds; round++)); do
	flush_round "$round"
done
serve_sustained
memory_round

report "$clients clients, one call or INSERT a transaction, $seconds s each: time of $per" "$per" \
	"$noop" speed "$noop" "$undrained" "$sustained" "$insert_on" "$insert_off"
report_latencies "$noop" "$undrained" "$sustained" "$insert_on" "$insert_off"
report_backlog
report "One flush of $flush_events queued events" "$flush_events" "$copied" speed \
	"$flushed" "$copied" "$copied_indexed"
report_memory
report_targets

serve
sql -c "CALL bench.reset()" -c "DROP FUNCTION bench.noop" -c "DROP PROCEDURE bench.backlog_gone" \
	-c "DROP TABLE bench.usage_log, bench.track, bench.backlog, bench.log, bench.log_indexed"
