# shellcheck shell=bash
#
# bench/limit.sh: deciding whether a call may go through.
#
# Several clients call meter_allow(), as often as they can: on many keys and on
# a single one, and for comparison a C function that does nothing and a token bucket
# in a local Redis, in turns that are as short as can be (alternate.sh).  Then the same
# in turns of some seconds, with latencies, and a token bucket in a table, which
# may write to the disk after its turn.  Then the time of a call within one session, with up to a
# million keys that are live, and the memory that these take.
#
# Nothing may be refused, and all calls have to be in meter.rate_limit_status.

# shellcheck disable=SC2154		# from run.sh and clients.sh
files=$work/limit
many=10000				# keys
live=$((1000000 / divisor))
live_bound=$(awk -v n="$divisor" 'BEGIN { print 160 / n }')	# MB for these
live_memory=$((150 * 1024 / divisor))	# meter.limit_memory for these, in kB
single_rounds=7			# of one session, however many the others are
single_calls=$((5000000 / divisor))
trial=5					# seconds, in which it shows how fast Redis is
[ "$divisor" -eq 1 ] || trial=1

# The same limit for all.  What is taken comes back so slowly that each key has
# something taken from it to the end, and the burst is never used up.
burst=1000000000
per_minute=60

# Keys are numbers of twelve digits, which is what redis-benchmark makes: a call
# gets its key as a parameter, as the script does.
first_key=100000000000

many_keys="$(spaced "$many") keys"
live_keys="$(spaced "$live") keys"
small_label="$live_keys, small pages"
noop_many="a function that does nothing, $many_keys"
noop_hot="a function that does nothing, one key"
allow_many="meter_allow(), $many_keys"
allow_hot="meter_allow(), one key"
in_turns="in short turns"
update="UPDATE ... RETURNING, $many_keys"
redis="Redis, $many_keys"
memory="memory"
all="all calls"

clean()
{
	sql -c "VACUUM bench.bucket" -c CHECKPOINT
}

# --- what was counted -------------------------------------------------------

checked=0		# calls
uncounted=0
refused=0
unmetered=0

counted()
{
	ask "SELECT coalesce(sum(allowed), 0), coalesce(sum(refused), 0),
		(SELECT unmetered + refused_full FROM meter.limit_stats) FROM meter.rate_limit_status"
}

begin_count()
{
	read -r allowed_before refused_before unmetered_before < <(counted)
}

# end_count CALLS: that there were since begin_count
end_count()
{
	local allowed refused_now unmetered_now missing

	read -r allowed refused_now unmetered_now < <(counted)
	missing=$(($1 - (allowed - allowed_before)))
	checked=$((checked + $1))
	uncounted=$((uncounted + ${missing#-}))
	refused=$((refused + refused_now - refused_before))
	unmetered=$((unmetered + unmetered_now - unmetered_before))
}

# --- several clients --------------------------------------------------------

# allow_round VARIANT ROUND FILE
allow_round()
{
	begin_count
	clients_of "$@"
	end_count "$calls"
}

# short_turns ROUND: meter_allow(), a function that does nothing, and Redis
short_turns()
{
	local name

	for name in noop_many allow_many noop_hot allow_hot; do
		contender "${!name}, $in_turns" "$name.waiting.sql" "$server" ''
	done
	contender_of "$redis, $in_turns" begin_redis end_redis
	begin_count
	compare "$1"
	end_count "$((compared[1] + compared[3]))"
}

# The usual token bucket, with room on each page for the next versions of its
# rows.  A tenant who has nothing left gets no row.
make_buckets()
{
	local left="least($burst, tokens + $per_minute / 60.0::double precision * date_part('epoch', now() - updated_at))"

	sql -f - <<-SQL
		CREATE TABLE bench.bucket (
			tenant text COLLATE "C" PRIMARY KEY,
			tokens double precision NOT NULL,
			updated_at timestamptz NOT NULL
		) WITH (fillfactor = 75);
		INSERT INTO bench.bucket
		SELECT $first_key + i, $burst, now() FROM generate_series(0, $many - 1) AS i;
	SQL
	script update "UPDATE bench.bucket SET tokens = $left - 1, updated_at = now() WHERE tenant = :tenant::text AND $left >= 1 RETURNING tokens;"
}

check_buckets()
{
	[ "$(ask "SELECT min(tokens) BETWEEN 1 AND $burst - 1 FROM bench.bucket")" = t ] ||
		die "the calls have not taken from bench.bucket as they should"
}

# script NAME SQL: for pgbench, with a tenant at random if the SQL names one; and
# one that is for compare()
script()
{
	{
		[[ $2 != *:tenant* ]] || printf '%s\n' "\\set tenant random($first_key, $((first_key + many - 1)))"
		say "$2"
	} | as_user tee "$files/$1.sql" >/dev/null
	{
		waiting
		cat "$files/$1.sql"
	} | as_user tee "$files/$1.waiting.sql" >/dev/null
}

# --- Redis ------------------------------------------------------------------

# Debian's package redis-tools has the server under another name, to which the
# package redis-server adds a link, a system user and a service.
redis_benchmark=(redis-benchmark)

start_redis()
{
	local program dir=$files/redis i

	as_user mkdir "$dir"
	redis_socket=$dir/socket
	if ! program=$(command -v redis-server); then
		program=$dir/redis-server
		as_user ln -s "$(command -v redis-check-rdb)" "$program" || die "there is no Redis"
	fi
	as_user tee "$dir/redis.conf" >/dev/null <<-CONF
		port 0
		unixsocket $redis_socket
		unixsocketperm 700
		daemonize yes
		pidfile $dir/pid
		logfile $dir/log
		dir $dir
		save ""
		appendonly no
	CONF
	at_exit stop_redis
	as_user "$program" "$dir/redis.conf"
	for ((i = 0; i < 100; i++)); do
		[ "$(redis_cli ping 2>/dev/null)" != PONG ] || break
		sleep 0.1
	done
	redis_pid=$(cat "$dir/pid")

	# what calls it keeps off its processor, as pgbench's clients each have theirs
	if [ "$(processors | wc -l)" -gt 1 ]; then
		taskset -apc "$(processors | tail -n 1)" "$redis_pid" >/dev/null
		redis_benchmark=(taskset -c "$(processors | head -n -1 | paste -sd,)" redis-benchmark)
	fi

	# the bucket of make_buckets()
	redis_script=$(redis_cli -x script load <<-'LUA'
		local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'updated_at')
		local time = redis.call('TIME')
		local now = time[1] + time[2] / 1000000
		local burst = tonumber(ARGV[1])
		local tokens = tonumber(bucket[1]) or burst
		local updated_at = tonumber(bucket[2]) or now
		tokens = math.min(burst, tokens + tonumber(ARGV[2]) * (now - updated_at))
		if tokens < 1 then
			return 0
		end
		redis.call('HSET', KEYS[1], 'tokens', tokens - 1, 'updated_at', now)
		return 1
	LUA
	)
	redis_call=(EVALSHA "$redis_script" 1 __rand_int__ "$burst" "$((per_minute / 60))")
	[ "$(redis_cli "${redis_call[@]}")" = 1 ] || die "Redis does not let a call through"
}

stop_redis()
{
	local pid i

	pid=$(cat "$files/redis/pid" 2>/dev/null) || return 0
	kill "$pid"
	for ((i = 0; i < 100; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
}

redis_cli()
{
	as_user redis-cli -s "$redis_socket" "$@"
}

redis_cpu()
{
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$redis_pid/stat"
}

# Of the script, since the last reset; nothing if any has failed.
redis_calls()
{
	redis_cli info commandstats | tr -d '\r' |
		sed -n 's/^cmdstat_evalsha:calls=\([0-9]*\),.*,rejected_calls=0,failed_calls=0$/\1/p'
}

# redis_options THREADS CALLS: of redis-benchmark
redis_options()
{
	options=(-s "$redis_socket" -c "$clients" -P 1 -r "$many" -n "$2" --csv)
	[ "$1" -eq 1 ] || options+=(--threads "$1")
}

# run_redis THREADS CALLS: sets tps and redis_times, latencies in ms
run_redis()
{
	local average p50 p95 p99 highest done_calls options

	redis_options "$@"
	redis_cli config resetstat >/dev/null
	as_user "${redis_benchmark[@]}" "${options[@]}" "${redis_call[@]}" >"$install_log" 2>&1 ||
		{ cat "$install_log" >&2; die "redis-benchmark failed"; }
	read -r tps average p50 p95 p99 highest < <(tail -n 1 "$install_log" |
		tr -d '"' | awk -F, '{ print $(NF-6), $(NF-5), $(NF-3), $(NF-2), $(NF-1), $NF }')
	redis_times=(average "$average" p50 "$p50" p95 "$p95" p99 "$p99" max "$highest")
	done_calls=$(redis_calls)
	[ "${done_calls:-0}" -ge "$2" ] || die "calls of Redis have failed"
}

# calls_for SECONDS CALLS_PER_SECOND
calls_for()
{
	awk -v seconds="$1" -v tps="$2" 'BEGIN { printf "%d", tps * seconds }'
}

# As many threads as pgbench has, if that is faster than one.
try_redis()
{
	local i n one=0 several=0

	run_redis 1 20000
	n=$(calls_for "$trial" "$tps")
	for i in 1 2; do
		run_redis 1 "$n"
		one=$((one + ${tps%.*} / 2))
		run_redis "$threads" "$n"
		several=$((several + ${tps%.*} / 2))
	done
	redis_threads=1
	redis_tps=$one
	if [ "$several" -gt "$one" ]; then
		redis_threads=$threads
		redis_tps=$several
	fi
	say "Redis $(redis_cli info server | tr -d '\r' | sed -n 's/^redis_version://p'): $one calls/s of redis-benchmark with 1 thread, $several with $threads; it gets $redis_threads"
}

# begin_redis CONTENDER SECONDS, end_redis CONTENDER: for compare(), with more calls
# than there can be in that time
begin_redis()
{
	local options before

	redis_options "$redis_threads" "$(calls_for "$(($2 * 10))" "$redis_tps")"
	redis_cli config resetstat >/dev/null
	# shellcheck disable=SC2016		# for the shell that it is given to
	as_user sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$files/redis.pid" \
		"${redis_benchmark[@]}" "${options[@]}" "${redis_call[@]}" >"$install_log" 2>&1 &
	until before=$(redis_calls) && [ "${before:-0}" -ge "$clients" ]; do
		wait_for 0.01
	done
	contender_pids[$1]=$(cat "$files/redis.pid")
	kill -STOP "${contender_pids[$1]}"
	wait_for "$turn"
	redis_cli config resetstat >/dev/null
}

end_redis()
{
	compared[$1]=$(redis_calls)
	[ "${compared[$1]:-0}" -gt 0 ] || die "calls of Redis have failed"
	kill -KILL "${contender_pids[$1]}"
}

redis_round()
{
	local duration=$lasts before n

	[ "$1" -gt 0 ] || duration=$warm_up
	clean
	n=$(calls_for "$duration" "$redis_tps")
	before=$(redis_cpu)
	run_redis "$redis_threads" "$n"
	record_speed "$redis" "$1" "$n" "$tps" \
		"$(awk -v before="$before" -v after="$(redis_cpu)" 'BEGIN { print after - before }')"
	note "$redis" "$1" calls "$n" "${redis_times[@]}"
	redis_tps=$tps
}

# --- one session ------------------------------------------------------------

# time_calls VARIANT ROUND FUNCTION KEYS: statements that do
time_calls()
{
	printf '%s\n' 'SELECT clock_timestamp() AS started \gset'
	printf '%s\n' "SELECT count($3(($first_key + i * 7919 % $4)::text)) FROM (SELECT generate_series(1, $single_calls::bigint) AS i) AS s \\g /dev/null"
	say "INSERT INTO bench.result (figure, variant, round, seconds) VALUES ('$figure', '$1', $2," \
		"extract(epoch FROM clock_timestamp() - :'started'));"
}

# single_session LABEL KEYS [LABEL KEYS]...: what psql is to do in one session
single_session()
{
	local round pair=("$@") i

	say "SET jit = off;"
	for ((round = 0; round <= single_rounds; round++)); do
		for ((i = 0; i < $#; i += 2)); do
			time_calls "nothing, ${pair[i]}" "$round" bench.noop_allow "${pair[i + 1]}"
			time_calls "allow, ${pair[i]}" "$round" meter_allow "${pair[i + 1]}"
		done
	done
}

# single LABEL KEYS [LABEL KEYS]...
single()
{
	begin_count
	single_session "$@" | sql -f -
	end_count "$((($# / 2) * ((single_rounds + 1) * single_calls)))"
}

# make_live KEYS: each once, in no order that the calls to come have, as memory
# that is visited in even steps is faster
make_live()
{
	begin_count
	sql -o /dev/null -c "SELECT count(meter_allow(($first_key + i)::text))
		FROM (SELECT i FROM generate_series(0, $1 - 1) AS i ORDER BY hashint4(i)) AS s"
	end_count "$1"
}

# --- huge pages -------------------------------------------------------------

# Memory that kernels have in huge pages without having been told to put some
# aside, in kB: the server's launcher joins those of the table, if they can.
joined()
{
	awk '$1 == "ShmemHugePages:" { print $2 }' /proc/meminfo
}

# Wait until the launcher has seen what came into use last.
await_joined()
{
	local before=-1

	while [ "$(joined)" -gt "$before" ]; do
		before=$(joined)
		sleep 12
	done
}

memory_settings()
{
	say "meter.limit_memory = $(ask "SHOW meter.limit_memory"), huge_pages = $(ask "SHOW huge_pages"), $(($(joined) / 1024)) MB joined into huge pages; $(ask "SELECT blocks_used FROM meter.limit_stats") blocks in use"
}

# serve_live HUGE_PAGES
serve_live()
{
	serve "meter.limit_memory = '${live_memory}kB'" "huge_pages = $1"
}

# The accounts are saved and read again at the restart.
without_huge_pages()
{
	serve_live off
	say "The same again: $(memory_settings)"
	single "$small_label" "$live"
}

# --- tables of what was measured --------------------------------------------

# report_single LABEL...: also keeps, for the targets, how much a call takes
# more than nothing
report_single()
{
	sql -v figure="$figure" -v calls="$single_calls" -v labels="$(printf '%s\n' "$@")" -P footer=off \
		-P title="One session, jit off: ns a call, $(spaced "$single_calls") calls, medians of $single_rounds rounds" \
		-f - <<-'SQL'
		CREATE TEMPORARY TABLE single AS
		SELECT l.position, l.label,
			percentile_cont(0.5) WITHIN GROUP (ORDER BY n.ns) AS nothing,
			percentile_cont(0.5) WITHIN GROUP (ORDER BY a.ns) AS allow,
			min(a.ns - n.ns) AS lowest, max(a.ns - n.ns) AS highest
		FROM string_to_table(:'labels', E'\n') WITH ORDINALITY AS l(label, position)
		CROSS JOIN LATERAL (SELECT round, seconds / :calls * 1e9 AS ns FROM bench.result
			WHERE figure = :'figure' AND round > 0 AND variant = 'nothing, ' || l.label) AS n
		JOIN LATERAL (SELECT round, seconds / :calls * 1e9 AS ns FROM bench.result
			WHERE figure = :'figure' AND round > 0 AND variant = 'allow, ' || l.label) AS a USING (round)
		GROUP BY l.position, l.label;

		INSERT INTO bench.detail
		SELECT :'figure', 'allow, ' || label, 1, 'ns', allow - nothing FROM single;

		SELECT label AS " ", round(nothing::numeric) AS "nothing",
			round(allow::numeric) AS "meter_allow()",
			round((allow - nothing)::numeric) AS "above nothing",
			format('%s to %s', round(lowest::numeric), round(highest::numeric)) AS "in the rounds"
		FROM single ORDER BY position;
	SQL
}

report_memory()
{
	sql -P title="Memory of $live_keys, one bucket each" -P footer=off \
		-v figure="$figure" -v keys="$live" -f - <<-'SQL'
		SELECT what AS " ", m.value AS "bytes", round((m.value / 1048576)::numeric, 2) AS "MB",
			round((m.value / :keys)::numeric, 1) AS "bytes for each key"
		FROM (VALUES (1, 'used_bytes', 'blocks in use'), (2, 'table_bytes', 'the whole table'))
			AS w(position, measure, what)
		JOIN bench.detail AS m USING (measure)
		WHERE m.figure = :'figure'
		ORDER BY position;
	SQL
}

targets()
{
	report_targets -v noop_many="$noop_many" -v noop_hot="$noop_hot" \
		-v allow_many="$allow_many" -v allow_hot="$allow_hot" -v in_turns=", $in_turns" -v update="$update" -v redis="$redis" \
		-v many_keys="$many_keys" -v live_keys="$live_keys" -v bound="$live_bound" <<-'SQL'
		(1, 'calls/s, ' || :'many_keys' || ', of nothing''s', :'allow_many' || :'in_turns', 'paired', :'noop_many' || :'in_turns', '>=', 0.93),
		(2, 'calls/s, one key, of nothing''s', :'allow_hot' || :'in_turns', 'paired', :'noop_hot' || :'in_turns', '>=', 0.93),
		(3, 'calls/s, ' || :'many_keys' || ', of UPDATE''s', :'allow_many', 'speed', :'update', '>=', 3),
		(4, 'calls/s, ' || :'many_keys' || ', of Redis''', :'allow_many' || :'in_turns', 'paired', :'redis' || :'in_turns', '>=', 1.5),
		(5, 'one session: ns above nothing, one key', 'allow, one key', 'ns', NULL, '<=', 300),
		(6, 'one session: ns above nothing, ' || :'many_keys', 'allow, ' || :'many_keys', 'ns', NULL, '<=', 300),
		(7, 'one session: ns above nothing, ' || :'live_keys', 'allow, ' || :'live_keys', 'ns', NULL, '<=', 300),
		(8, 'table with ' || :'live_keys' || ', MB', 'memory', 'table_bytes', NULL, '<', :bound),
		(9, 'its blocks in use, beyond one for each key', 'memory', 'blocks_beyond', NULL, '=', 0),
		(10, 'calls that are not in meter.rate_limit_status', 'all calls', 'uncounted', NULL, '=', 0),
		(11, 'calls refused', 'all calls', 'refused', NULL, '=', 0),
		(12, 'calls that there was no room for', 'all calls', 'unmetered', NULL, '=', 0)
	SQL
}

# --- the run ----------------------------------------------------------------

as_user mkdir "$files"
make_noop noop_allow meter_allow
make_buckets
script noop_many "SELECT bench.noop_allow(:tenant);"
script noop_hot "SELECT bench.noop_allow('$first_key');"
script allow_many "SELECT meter_allow(:tenant);"
script allow_hot "SELECT meter_allow('$first_key');"
sql -c "INSERT INTO meter.rate_limit (per, max, burst, name) VALUES ('minute', $per_minute, $burst, 'base')"
make_live "$many"

await_joined
say "Several clients: $(memory_settings)"
start_redis
try_redis

for ((round = 0; round <= turns; round++)); do
	[ "$round" -gt "$comparisons" ] || short_turns "$round"
	# who comes second may find the machine as the first has left it
	if [ $((round % 2)) -eq 0 ]; then
		clients_of "$noop_many" "$round" noop_many.sql
		allow_round "$allow_many" "$round" allow_many.sql
	else
		allow_round "$allow_many" "$round" allow_many.sql
		clients_of "$noop_many" "$round" noop_many.sql
	fi
	clients_of "$update" "$round" update.sql "-c synchronous_commit=on"
	redis_round "$round"
done
check_buckets
stop_redis

serve_live try
make_live "$live"
read -r blocks_used table_bytes < <(ask "SELECT blocks_used, bytes FROM meter.limit_stats")
note "$memory" 1 used_bytes "$((blocks_used * 128))" table_bytes "$table_bytes" \
	blocks_beyond "$((blocks_used - live))"
await_joined
say "One session: $(memory_settings)"
single "one key" 1 "$many_keys" "$many" "$live_keys" "$live"
without_huge_pages
note "$all" 1 uncounted "$uncounted" refused "$refused" unmetered "$unmetered"
say ""

report "$clients clients, one call or UPDATE a transaction, $seconds s each: time of $per" "$per" \
	"$noop_many" speed "$noop_many" "$allow_many" "$update" "$redis" \
	"$noop_many, $in_turns" "$allow_many, $in_turns" "$noop_hot, $in_turns" "$allow_hot, $in_turns" "$redis, $in_turns"
report_latencies "$noop_many" "$allow_many" "$update" "$redis"
report_single "one key" "$many_keys" "$live_keys" "$small_label"
report_memory
say "Of all $(spaced "$checked") calls of meter_allow(), $(spaced "$uncounted") are not in meter.rate_limit_status."
say ""
targets

# without what the server has kept of the keys
sql -c "DELETE FROM meter.rate_limit WHERE name = 'base'" -c "DROP FUNCTION bench.noop_allow" \
	-c "DROP TABLE bench.bucket" -c "ALTER SYSTEM RESET ALL"
as_user "$bindir/pg_ctl" -s -w -D "$server/data" -m fast stop
as_user rm -f "$server/data/pg_meter/limits"
as_user "$bindir/pg_ctl" -s -w -D "$server/data" -l "$server/log" start
