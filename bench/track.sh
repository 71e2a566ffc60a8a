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

# shellcheck disable=SC2034,SC2154		# for and from run.sh and clients.sh
files=$work/track
flush_events=$((2000000 / divisor))
memory_events=$((10000000 / divisor))
memory_step=10000		# events a statement
memory_first=100000		# events after which the session has what it needs
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

# --- several clients --------------------------------------------------------

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

# undrained_turn TURN: who comes second may find the machine as the first has
# left it
undrained_turn()
{
	if [ $(($1 % 2)) -eq 0 ]; then
		clients_of "$noop" "$1" noop.sql
		undrained_round "$1"
	else
		undrained_round "$1"
		clients_of "$noop" "$1" noop.sql
	fi
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
		INSERT INTO bench.detail VALUES
			('track', 'memory', 1, 'rss', :first_rss), ('track', 'memory', 1, 'contexts', :first_contexts),
			('track', 'memory', 1, 'rss_growth', :last_rss - :first_rss),
			('track', 'memory', 1, 'contexts_growth', :last_contexts - :first_contexts),
			('track', 'memory', 1, 'seconds', extract(epoch FROM clock_timestamp() - :'started'));
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
		FROM bench.detail
		WHERE figure = 'track' AND variant = :'sustained' AND round > 0 GROUP BY round;

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
			FROM bench.detail
			WHERE figure = 'track' AND variant = :'undrained' GROUP BY round) AS u USING (round)
		JOIN (SELECT round, :per / seconds AS speed FROM bench.result
			WHERE figure = 'track' AND variant = :'sustained') AS s USING (round)
		WHERE b.round > 0
		GROUP BY b.round, u.bytes, u.calls, s.speed;

		INSERT INTO bench.detail
		SELECT 'track', :'sustained', round, m.measure, m.value FROM largest
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
		FROM (SELECT measure, value AS growth FROM bench.detail
			WHERE figure = 'track' AND variant = 'memory') AS g
		JOIN (VALUES ('rss_growth', 'memory of its own (RssAnon)', 'rss'),
			('contexts_growth', 'pg_backend_memory_contexts', 'contexts'))
			AS w(measure, what, first) USING (measure)
		JOIN (SELECT measure AS first, value FROM bench.detail
			WHERE figure = 'track' AND variant = 'memory') AS f USING (first)
		ORDER BY measure DESC;
	SQL
	say "It took $(ask "SELECT round(max(value)::numeric, 1) FROM bench.detail
		WHERE figure = 'track' AND variant = 'memory' AND measure = 'seconds'") s; $(ask "SELECT max(value)
		FROM bench.detail WHERE figure = 'track' AND variant = 'memory' AND measure = 'fallbacks'") events went past a full queue."
	say ""
}

targets()
{
	report_targets -v noop="$noop" -v undrained="$undrained" -v sustained="$sustained" \
		-v insert_on="$insert_on" -v insert_off="$insert_off" \
		-v flushed="$flushed" -v copied="$copied" <<-'SQL'
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
	SQL
}

# --- the run ----------------------------------------------------------------

as_user mkdir "$files"
make_noop noop meter_track
statement "$files/noop.sql" 1 "SELECT bench.noop($pgbench_event);"
statement "$files/track.sql" 1 "SELECT meter_track($pgbench_event);"
statement "$files/insert.sql" 1 "INSERT INTO bench.usage_log (tenant, service, endpoint, method, status, latency_ms, user_id) VALUES ('tenant-' || :tenant::text, 'api', '/v1/servers', 'GET', 200, :latency, 'user-' || :person::text);"

sql -f - <<-'SQL'
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
	lasts=$slice
	for ((turn = round > 0 ? (round - 1) * slices + 1 : 0; turn <= round * slices; turn++)); do
		undrained_turn "$turn"
	done
	serve_sustained
	lasts=$seconds
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
targets

serve
sql -c "CALL bench.reset()" -c "DROP FUNCTION bench.noop" -c "DROP PROCEDURE bench.backlog_gone" \
	-c "DROP TABLE bench.usage_log, bench.backlog, bench.log, bench.log_indexed"
