# shellcheck shell=bash
#
# bench/guard.sh: what isolation at run time costs.
#
# pgbench's own select-only and TPC-B-like transactions, in the schema of a
# tenant: on a server that does not load meter at all, and with meter.isolation
# = enforce and a tenant's context in each session.  Then the same with many
# tenants' schemas in the database, each client in one of its own.  The one server
# has a copy of the other's data, and they take turns all the time, see
# alternate.sh.  Two servers that are the same are not equally fast, as each has
# got other pages of the machine's memory; so both are started anew for each round.
#
# At last each of the many schemas gets twenty tables, and the time of an audit of all
# of them is measured.
#
# Both work as a role with rights on the tables, which is not exempt.  A client
# sets its search_path, or its context, before its first transaction.

# shellcheck disable=SC2034,SC2154		# for and from run.sh and clients.sh
files=$work/guard
scale=$((20 / (divisor > 1 ? 20 : 1)))		# of the one tenant
tenants=$((1000 / divisor))
[ "$tenants" -ge "$clients" ] || tenants=$clients
small_scale=2			# of each client's tenant of many

one="one tenant"
many="$(spaced "$tenants") tenants"
bare="meter not loaded"
bare_server=$work/bare
guarded="enforce, with a context"
audit="audit"

# restart SERVER: with all of the data in its buffers again
restart()
{
	as_user "$bindir/psql" -X -q -h "$1" -p "$port" -U postgres -d postgres -c "VACUUM"
	as_user "$bindir/pg_ctl" -s -w -D "$1/data" -l "$1/log" -m fast restart
	as_user "$bindir/psql" -X -q -h "$1" -p "$port" -U postgres -d postgres -o /dev/null \
		-c "SELECT count(pg_prewarm(oid)) FROM pg_class WHERE relname ~ '^pgbench_' AND relkind IN ('r', 'i')"
}

# fill TENANT SCALE: pgbench's tables in the tenant's schema
fill()
{
	as_user env PGDATABASE=postgres PGOPTIONS="-c search_path=bench_$1" "$bindir/pgbench" -q -i -s "$2" \
		-h "$server" -p "$port" -U postgres >"$install_log" 2>&1 ||
		{ cat "$install_log" >&2; die "pgbench cannot make its tables"; }
	sql -c "GRANT ALL ON ALL TABLES IN SCHEMA bench_$1 TO bench_application"
}

# transaction FILE KIND BEGINNING SCALE: a script for pgbench, with what a
# client does before its first transaction
transaction()
{
	{
		waiting "$3"
		printf '%s\n' "\\set aid random(1, 100000 * $4)"
		if [ "$2" = select ]; then
			say 'SELECT abalance FROM pgbench_accounts WHERE aid = :aid;'
		else
			cat <<-SQL
				\\set bid random(1, $4)
				\\set tid random(1, 10 * $4)
				\\set delta random(-5000, 5000)
				BEGIN;
				UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
				SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
				UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
				UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
				INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
				END;
			SQL
		fi
	} | as_user tee "$files/$1" >/dev/null
}

# Nothing waits for the disk, whose times differ by more than what is measured.
# An empty list of libraries would be that of the lines before; this one the server
# would load when it is used.
start_both()
{
	sql -c "VACUUM ANALYZE" -c "ALTER SYSTEM RESET ALL"
	as_user "$bindir/pg_ctl" -s -w -D "$server/data" -m fast stop
	as_user mkdir -m 0700 "$bare_server"
	as_user cp -a "$server/data" "$bare_server/data"
	{
		say "unix_socket_directories = '$bare_server'"
		say "shared_preload_libraries = 'plpgsql'"
		say "fsync = off"
	} | as_user tee -a "$bare_server/data/postgresql.conf" >/dev/null
	as_user "$bindir/pg_ctl" -s -w -D "$bare_server/data" -l "$bare_server/log" start
	as_user "$bindir/pg_ctl" -s -w -D "$server/data" -l "$server/log" start
	serve "fsync = off"
}

# pair KIND COLUMN ROUND: without and with
pair()
{
	local options="-c role=bench_application"

	contender "$1, ${!2}, $bare" "$1.$2.bare.sql" "$bare_server" "$options"
	contender "$1, ${!2}, $guarded" "$1.$2.guarded.sql" "$server" \
		"-c meter.isolation=enforce -c meter.isolation_require_context=on $options"
	compare "$3"
}

# report_pair TITLE KIND COLUMN
report_pair()
{
	report "$1, ${!3}" "$per" "$2, ${!3}, $bare" speed "$2, ${!3}, $bare" "$2, ${!3}, $guarded"
}

# The first round warms up.
time_audit()
{
	local i

	sql -f - <<-'SQL'
		SELECT format('CREATE TABLE %I.item_%s (id bigint PRIMARY KEY, note text)', schema_name, n)
		FROM meter.tenant, generate_series(2, 20) AS n WHERE schema_name IS NOT NULL \gexec
		VACUUM ANALYZE;
	SQL
	for ((i = 0; i <= rounds; i++)); do
		measure "$audit" "$i" <<<'SELECT * FROM meter_isolation_audit();'
		note "$audit" "$i" seconds "$(ask "SELECT seconds FROM bench.result
			WHERE figure = '$figure' AND variant = '$audit' AND round = $i")"
	done
}

targets()
{
	report_targets -v audit="$audit" -v one="$one" -v many="$many" -v bare="$bare" -v guarded="$guarded" <<-'SQL'
		(1, 'select-only, one tenant', 'select, ' || :'one' || ', ' || :'guarded', 'paired', 'select, ' || :'one' || ', ' || :'bare', '>=', 0.97),
		(2, 'TPC-B, one tenant', 'tpcb, ' || :'one' || ', ' || :'guarded', 'paired', 'tpcb, ' || :'one' || ', ' || :'bare', '>=', 0.98),
		(3, 'select-only, many tenants', 'select, ' || :'many' || ', ' || :'guarded', 'paired', 'select, ' || :'many' || ', ' || :'bare', '>=', 0.97),
		(4, 'TPC-B, many tenants', 'tpcb, ' || :'many' || ', ' || :'guarded', 'paired', 'tpcb, ' || :'many' || ', ' || :'bare', '>=', 0.98),
		(5, 'audit of all tenants with 20 tables each, s', :'audit', 'seconds', NULL, '<=', 10)
	SQL
}

# --- the run ----------------------------------------------------------------

as_user mkdir "$files"
serve "meter.isolation = off"
sql -v tenants="$tenants" -v app=bench_application -f - <<-'SQL'
	SET client_min_messages = warning;
	SELECT meter_create_tenant('one', schema_name => 'bench_one') \g /dev/null
	SELECT meter_create_tenant(n::text, schema_name => ('bench_' || n)::name)
	FROM generate_series(0, :tenants - 1) AS n \g /dev/null
	CREATE EXTENSION pg_prewarm;
	CREATE ROLE :app;
	SELECT meter_grant(:'app', 'app') \g /dev/null
	-- a role of the platform: it works for all tenants
	SELECT format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, :'app') FROM meter.tenant
	WHERE schema_name IS NOT NULL \gexec
	-- so that there is something in every schema
	SELECT format('CREATE TABLE %I.item (id bigint PRIMARY KEY)', schema_name) FROM meter.tenant
	WHERE schema_name IS NOT NULL \gexec
SQL
fill one "$scale"
for ((client = 0; client < clients; client++)); do
	fill "$client" "$small_scale"
done
for kind in select tpcb; do
	transaction "$kind.one.bare.sql" "$kind" 'SET search_path = bench_one;' "$scale"
	transaction "$kind.one.guarded.sql" "$kind" "SELECT meter_set_tenant('one');" "$scale"
	transaction "$kind.many.bare.sql" "$kind" \
		"SELECT set_config('search_path', 'bench_' || :client, false);" "$small_scale"
	transaction "$kind.many.guarded.sql" "$kind" "SELECT meter_set_tenant((:client)::text);" "$small_scale"
done
start_both

for ((round = 0; round <= comparisons; round++)); do
	restart "$bare_server"
	restart "$server"
	for column in one many; do
		for kind in select tpcb; do
			pair "$kind" "$column" "$round"
		done
	done
done

time_audit
for column in one many; do
	report_pair "pgbench, select-only" select "$column"
	report_pair "pgbench, TPC-B" tpcb "$column"
done
targets

as_user "$bindir/pg_ctl" -s -w -D "$bare_server/data" -m fast stop
serve
