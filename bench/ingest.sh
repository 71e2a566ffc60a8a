# shellcheck shell=bash
#
# bench/ingest.sh: taking in events.
#
# Each way into meter against COPY or INSERT of the same events into a bare
# table: the same columns, no indexes, no checks.  The client is psql or
# pgbench on the same machine.

# shellcheck disable=SC2154		# from run.sh
events=$((1000000 / divisor))
columns="at, latency_ms, status, tenant, metric, quantity, service, endpoint, method, user_id, cost, request_id, error_message"
files=$work/ingest
as_user mkdir "$files"

sql -f - <<-SQL
	CREATE TABLE bench.source AS SELECT * FROM bench.events(0, now(), '0', 0, 0, 0, false);
	SELECT setseed(0.5) \\g /dev/null
	INSERT INTO bench.source SELECT * FROM bench.events($events,
		date_trunc('day', now(), 'UTC') - interval '36 hours', '24 hours', 500, 20, 10, false);
	COPY bench.source TO '$files/events.csv' (FORMAT csv);

	CREATE TABLE bench.bare (LIKE meter.inbox INCLUDING DEFAULTS);
	CREATE TABLE bench.bare_by_day (LIKE meter.inbox INCLUDING DEFAULTS) PARTITION BY RANGE (at);
	SELECT format('CREATE TABLE bench.bare_by_day_%s PARTITION OF bench.bare_by_day FOR VALUES FROM (%L) TO (%L)',
		n, date_trunc('day', now(), 'UTC') - n * interval '1 day',
		date_trunc('day', now(), 'UTC') - (n - 1) * interval '1 day')
	FROM generate_series(0, 2) AS n \\gexec
SQL

# One call for each 1 000 events, as an application sends them: no nulls.
# batch_calls FIELDS: what to add to each element
batch_calls()
{
	sql -At -f - <<-SQL
		SELECT format('SELECT count(*) FROM meter_track_batch(%L);',
			jsonb_agg(jsonb_strip_nulls(to_jsonb(s)) || $1 ORDER BY at))
		FROM bench.source AS s GROUP BY request_id::bigint / 1000;
	SQL
}

# The same elements for plain SQL.
recordset_calls()
{
	sql -At -f - <<-SQL
		SELECT format('INSERT INTO bench.bare ($columns) SELECT $columns FROM jsonb_to_recordset(%L)'
			' AS e(at timestamptz, latency_ms double precision, status integer, tenant text,'
			' metric text, quantity numeric, service text, endpoint text, method text,'
			' user_id text, cost numeric, request_id text, error_message text);',
			jsonb_agg(jsonb_strip_nulls(to_jsonb(s)) ORDER BY at))
		FROM bench.source AS s GROUP BY request_id::bigint / 1000;
	SQL
}

recordset_calls | as_user tee "$files/recordset.sql" >/dev/null
batch_calls "'{}'" | as_user tee "$files/batch.sql" >/dev/null
batch_calls "jsonb_build_object('idempotency_key', 'key-' || md5(request_id))" |
	as_user tee "$files/batch_keys.sql" >/dev/null

track="SELECT meter_track($pgbench_event);"
insert="INSERT INTO bench.bare (tenant, service, endpoint, method, status, latency_ms, user_id) VALUES ('tenant-' || :tenant::text, 'api', '/v1/servers', 'GET', 200, :latency, 'user-' || :person::text);"
statement "$files/track_1.sql" 1 "$track"
statement "$files/track_1000.sql" 1000 "$track"
statement "$files/insert_1.sql" 1 "$insert"
statement "$files/insert_1000.sql" 1000 "$insert"

# single VARIANT ROUND FILE TRANSACTIONS: seconds for that many of one client
single()
{
	local tps

	tps=$(as_user env PGDATABASE=postgres "$bindir/pgbench" -h "$server" -p "$port" -U postgres -n -M prepared \
		-c 1 -t "$4" -f "$files/$3" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')
	record "$1" "$2" "$(awk -v tps="$tps" -v n="$4" 'BEGIN { print n / tps }')"
}

# together VARIANT ROUND FIRST SECOND: the sum of two variants
together()
{
	sql -c "INSERT INTO bench.result SELECT '$figure', '$1', $2, sum(seconds), sum(cpu)
		FROM bench.result WHERE figure = '$figure' AND round = $2 AND variant IN ('$3', '$4')"
}

clean()
{
	sql -c "CALL bench.reset()" -c "TRUNCATE bench.bare, bench.bare_by_day" -c CHECKPOINT
}

flush="SELECT meter_flush();"
singles=$((50000 / divisor))
commits=$((5000 / divisor))

for ((round = 0; round <= rounds; round++)); do
	clean
	measure "COPY, bare table" "$round" <<<"\\copy bench.bare ($columns) FROM '$files/events.csv' (FORMAT csv)"
	clean
	measure "COPY, bare table by day" "$round" <<<"\\copy bench.bare_by_day ($columns) FROM '$files/events.csv' (FORMAT csv)"
	clean
	measure "COPY meter.inbox" "$round" <<<"\\copy meter.inbox ($columns) FROM '$files/events.csv' (FORMAT csv)"
	measure "meter_flush() of these" "$round" <<<"$flush"
	together "COPY meter.inbox + meter_flush()" "$round" "COPY meter.inbox" "meter_flush() of these"
	clean
	measure "INSERT from jsonb_to_recordset(), bare table" "$round" <<<"\\i $files/recordset.sql"
	clean
	measure "meter_track_batch(), 1000 a call" "$round" <<<"\\i $files/batch.sql"
	measure "meter_flush() of batches" "$round" <<<"$flush"
	together "meter_track_batch() + meter_flush()" "$round" "meter_track_batch(), 1000 a call" "meter_flush() of batches"
	clean
	measure "meter_track_batch(), with idempotency keys" "$round" <<<"\\i $files/batch_keys.sql"
	clean
	single "INSERT, bare table, 1000 a transaction" "$round" insert_1000.sql $((singles / 1000))
	single "meter_track(), 1000 a transaction" "$round" track_1000.sql $((singles / 1000))
	single "INSERT, bare table, autocommit" "$round" insert_1.sql "$commits"
	single "meter_track(), autocommit" "$round" track_1.sql "$commits"
done

report "Batch ingest of $events events" "$events" "COPY, bare table" speed \
	"COPY, bare table" "COPY, bare table by day" \
	"COPY meter.inbox" "meter_flush() of these" "COPY meter.inbox + meter_flush()" \
	"INSERT from jsonb_to_recordset(), bare table" \
	"meter_track_batch(), 1000 a call" "meter_flush() of batches" "meter_track_batch() + meter_flush()" \
	"meter_track_batch(), with idempotency keys"
report "One statement an event, $singles events, 1000 a transaction" "$singles" \
	"INSERT, bare table, 1000 a transaction" speed \
	"INSERT, bare table, 1000 a transaction" "meter_track(), 1000 a transaction"
report "One statement and one commit an event, $commits events, synchronous_commit on" "$commits" \
	"INSERT, bare table, autocommit" speed \
	"INSERT, bare table, autocommit" "meter_track(), autocommit"
sql -c "DROP TABLE bench.source, bench.bare, bench.bare_by_day"
