# shellcheck shell=bash
#
# bench/rollup.sh: making hourly rows of raw events.
#
# meter_rollup() against plain SQL and against tdigest and hll, which make a
# table of the same groups and columns.  All read the same rows of meter.event.
# meter does more: it merges into tables that have indexes, and keeps
# meter.usage_user_daily.  Plain SQL leaves out the first and the last quantity
# in its fastest form; with them it is measured, too.

# shellcheck disable=SC2154		# from run.sh
events=$((2000000 / divisor))
# the memory that meter_rollup() has by default, and no compiling, as it does
tuned="SET work_mem = '256MB'; SET jit = off;"

columns="
	date_bin('1 hour', at, '2000-01-01 00:00:00+00') AS hour,
	tenant, metric, service, endpoint, method,
	count(*) AS events,
	count(*) FILTER (WHERE NOT COALESCE(status >= 400, error_message IS NOT NULL)) AS successes,
	count(*) FILTER (WHERE COALESCE(status >= 400, error_message IS NOT NULL)) AS errors,
	count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS errors_4xx,
	count(*) FILTER (WHERE status >= 500) AS errors_5xx,
	count(*) FILTER (WHERE status = 429) AS errors_429,
	min(at) AS first_at, max(at) AS last_at,
	sum(quantity) AS quantity, min(quantity) AS quantity_min, max(quantity) AS quantity_max,
	sum(cost) AS cost"
exact="
	percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) AS latency,
	count(DISTINCT user_id) AS users"
sketches="
	tdigest(latency_ms, 100) AS latency,
	hll_add_agg(hll_hash_text(user_id)) AS users"
ends="
	(array_agg(quantity ORDER BY at, seq))[1] AS quantity_first,
	(array_agg(quantity ORDER BY at DESC, seq DESC))[1] AS quantity_last"

# peer VARIANT ROUND SETTINGS COLUMNS: make a table of the groups
peer()
{
	sql -c "CHECKPOINT"
	measure "$1" "$2" <<-SQL
		$3
		CREATE TABLE bench.hourly AS SELECT $4
		FROM meter.event WHERE superseded_by IS NULL GROUP BY 1, 2, 3, 4, 5, 6;
	SQL
	sql -c "DROP TABLE bench.hourly"
}

# rollup_round SUFFIX ROUND
rollup_round()
{
	sql -c "TRUNCATE meter.usage_hourly, meter.usage_user_daily, meter.usage_late, meter.gauge_last" \
		-c "UPDATE meter.consumer SET last_seq = 0" -c "CHECKPOINT"
	measure "meter_rollup()$1" "$2" <<<"SELECT meter_rollup();"
	peer "plain SQL$1" "$2" "" "$columns, $exact"
	peer "plain SQL, tuned$1" "$2" "$tuned" "$columns, $exact"
	peer "plain SQL, tuned, first and last$1" "$2" "$tuned" "$columns, $exact, $ends"
	peer "tdigest + hll$1" "$2" "" "$columns, $sketches"
	peer "tdigest + hll, tuned$1" "$2" "$tuned" "$columns, $sketches"
}

# rollup_compare SUFFIX VARIED TITLE
rollup_compare()
{
	local round

	sql -c "CALL bench.reset()" -f - <<-SQL
		SELECT setseed(0.5) \\g /dev/null
		INSERT INTO meter.inbox (at, latency_ms, status, tenant, metric, quantity, service,
			endpoint, method, user_id, cost, request_id, error_message)
		SELECT * FROM bench.events($events, date_trunc('day', now(), 'UTC') - interval '16 hours',
			'4 hours', $((500 / divisor)), 20, 10, $2);
		SELECT meter_flush() \\g /dev/null
		TRUNCATE meter.inbox;
		INSERT INTO meter.consumer (name) VALUES ('rollup');
		VACUUM ANALYZE;
	SQL
	for ((round = 0; round <= rounds; round++)); do
		rollup_round "$1" "$round"
	done
	report "$3" "$events" "meter_rollup()$1" time "meter_rollup()$1" "plain SQL$1" \
		"plain SQL, tuned$1" "plain SQL, tuned, first and last$1" \
		"tdigest + hll$1" "tdigest + hll, tuned$1"
}

rollup_compare "" false "Rollup of $events events into $((40000 / divisor)) groups"
rollup_compare " (varied)" true "The same, every quantity and cost different"
