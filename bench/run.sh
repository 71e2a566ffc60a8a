#!/usr/bin/env bash
#
# bench/run.sh: "make bench".
#
# Installs what is missing, builds and installs meter, starts a throw-away
# server (socket only, no other PostgreSQL is touched) and measures each figure
# of doc/benchmarks.md: what is compared takes turns on the same server, round
# by round, and the medians are printed.  A first round warms up and does not
# count.
#
#	SCALE=small		a fiftieth of the data, to see that the scripts work
#	FIGURES=...		only these (rollup month ingest track limit bill guard forecast alert detect dashboard)
#	ROUNDS=n		rounds that count, 3 unless given
#	DURATION=n		seconds that the clients of track, limit and guard run, 60 unless given
#	SEED=x			of what detect plants, -1 to 1, 0.42 unless given
#	TMPDIR			where the server's data go; allow 20 GB
#
# Each figure is a script of its own, bench/FIGURE.sh, sourced here; those of
# several clients have bench/clients.sh in common, and what is compared closely
# bench/alternate.sh.

# shellcheck source=test/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test/env.sh"

bench=$top/bench
figures=${FIGURES:-rollup month ingest track limit bill guard forecast alert detect dashboard}
exec </dev/null

# shellcheck disable=SC2034		# for the figures' scripts
case ${SCALE:-full} in
	full) divisor=1 ;;
	small) divisor=50 ;;
	*) die "SCALE is small or full" ;;
esac
rounds=${ROUNDS:-3}

# The server's settings; all others are PostgreSQL's own.  Events go straight
# to meter.inbox and nothing works in the background, so that a figure measures
# what it calls and no more; track changes that for itself.
server_settings()
{
	say "shared_preload_libraries = 'meter'"
	say "meter.durability = commit"
	say "meter.flush_interval = 0"
	say "meter.rollup_interval = 0"
	say "shared_buffers = 1GB"
	say "max_wal_size = 8GB"
}

# --- for the figures' scripts -----------------------------------------------

# sql ARGUMENT...: psql as superuser
sql()
{
	as_user "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$server" -p "$port" -U postgres \
		-d postgres "$@"
}

# CPU seconds of all processes of the server so far, also of those that ended:
# what these have used is counted with the postmaster once it has noticed.  So
# it is read while no process comes or goes.
server_cpu()
{
	local postmaster child before after='' stats

	postmaster=$(as_user head -n 1 "$server/data/postmaster.pid")
	while
		before=$after
		stats=$(cat "/proc/$postmaster/stat")
		for child in $(pgrep -P "$postmaster"); do
			stats+=$'\n'$(cat "/proc/$child/stat" 2>/dev/null || true)
		done
		after=$(pgrep -P "$postmaster")
		[ "$before" != "$after" ]
	do
		sleep 0.02
	done
	awk -v hz="$(getconf CLK_TCK)" '
		{ sub(/.*\) /, ""); ticks += $12 + $13 }
		NR == 1 { ticks += $14 + $15 }
		END { print ticks / hz }' <<<"$stats"
}

# spaced NUMBER: with blanks between thousands
spaced()
{
	sed -E ':again; s/([0-9])([0-9]{3})( |$)/\1 \2\3/; t again' <<<"$1"
}

# measure VARIANT ROUND: in a new session, time what psql gets from stdin
measure()
{
	local cpu

	cpu=$(server_cpu)
	{
		printf '%s\n' '\o /dev/null' 'SELECT clock_timestamp() AS started \gset'
		cat
		say "INSERT INTO bench.result (figure, variant, round, seconds)" \
			"VALUES (:'figure', :'variant', :round," \
			"extract(epoch FROM clock_timestamp() - :'started'));"
	} | sql -v figure="$figure" -v variant="$1" -v round="$2" -f - >/dev/null
	sql -v figure="$figure" -v variant="$1" -v round="$2" -v cpu="$(server_cpu) - $cpu" -f - <<-'SQL'
		UPDATE bench.result SET cpu = :cpu
		WHERE figure = :'figure' AND variant = :'variant' AND round = :round;
	SQL
}

# record VARIANT ROUND SECONDS [CPU]: what was timed by other means
record()
{
	sql -v figure="$figure" -v variant="$1" -v round="$2" -v seconds="$3" -v cpu="${4:-NULL}" -f - <<-'SQL'
		INSERT INTO bench.result (figure, variant, round, seconds, cpu)
		VALUES (:'figure', :'variant', :round, :seconds, :cpu);
	SQL
}

# An event, as pgbench sends it: arguments of meter_track().  Its variables are
# those that statement sets.
# shellcheck disable=SC2034		# for the figures' scripts
pgbench_event="'tenant-' || :tenant::text, service => 'api', endpoint => '/v1/servers', method => 'GET', status => 200, latency_ms => :latency, user_id => 'user-' || :person::text"

# statement FILE CALLS SQL: a script for pgbench, with that many calls in a
# transaction
statement()
{
	{
		printf '%s\n' '\set tenant random(1, 500)' '\set person random(1, 10)' '\set latency random(1, 500)'
		[ "$2" -eq 1 ] || say 'BEGIN;'
		local i
		for ((i = 0; i < $2; i++)); do
			say "$3"
		done
		[ "$2" -eq 1 ] || say 'COMMIT;'
	} | as_user tee "$1" >/dev/null
}

# report TITLE EVENTS BASE RATIO VARIANT...: medians of the variants, and how
# they compare with the variant BASE: RATIO is "time" or "speed"
report()
{
	local title=$1 events=$2 base=$3 ratio=$4

	shift 4
	sql -v figure="$figure" -v events="$events" -v base="$base" -v ratio="$ratio" \
		-v variants="$(printf '%s\n' "$@")" -P title="$title" -P footer=off -f - <<-'SQL'
		WITH median AS (
			SELECT variant,
				percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds,
				percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu) AS cpu,
				min(seconds) AS fastest, max(seconds) AS slowest
			FROM bench.result WHERE figure = :'figure' AND round > 0 GROUP BY variant
		)
		SELECT m.variant AS " ",
			round(m.seconds::numeric, 3) AS "median s",
			format('%s to %s', round(m.fastest::numeric, 3), round(m.slowest::numeric, 3)) AS "range s",
			round(m.cpu::numeric, 2) AS "CPU s",
			round((:events / m.seconds)::numeric) AS "events/s",
			round((CASE WHEN :'ratio' = 'time' THEN m.seconds / b.seconds
				ELSE b.seconds / m.seconds END)::numeric, 2) AS :"ratio"
		FROM string_to_table(:'variants', E'\n') WITH ORDINALITY AS v(variant, position)
		JOIN median AS m USING (variant)
		CROSS JOIN (SELECT seconds FROM median WHERE variant = :'base') AS b
		ORDER BY v.position;
	SQL
}

# shellcheck source=bench/clients.sh
. "$bench/clients.sh"
# shellcheck source=bench/alternate.sh
. "$bench/alternate.sh"

# --- the run ----------------------------------------------------------------

machine()
{
	say "Machine"
	say "  date        $(date -u '+%Y-%m-%d %H:%M UTC')"
	say "  CPU         $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), $(nproc) cores"
	say "  memory      $(awk '/^MemTotal/ { printf "%.1f GB", $2 / 1048576 }' /proc/meminfo)"
	say "  disk        $(findmnt -no FSTYPE -T "$work" || stat -f -c %T "$work")"
	say "  system      $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), Linux $(uname -r)"
	say "  load        $(cut -d' ' -f1-3 /proc/loadavg)"
	say "  PostgreSQL  $(sql -At -c 'SHOW server_version')"
	say "  extensions  $(sql -At -c "SELECT string_agg(extname || ' ' || extversion, ', ' ORDER BY extname)
		FROM pg_extension WHERE extname <> 'plpgsql'")"
	say "  settings    $(server_settings | paste -sd, | sed 's/,/, /g')"
	say "  scale       ${SCALE:-full}, medians of $rounds rounds"
}

install_packages demo
! command -v dpkg-query >/dev/null || install_missing procps
[ -z "${major:-}" ] || install_missing "postgresql-$major-tdigest"
if [[ " $figures " == *" limit "* ]] && command -v dpkg-query >/dev/null; then
	install_missing redis-tools		# which has the server, too; see limit.sh
fi
choose_server
[ -f "$("$PG_CONFIG" --sharedir)/extension/tdigest.control" ] ||
	die "the extension tdigest is not installed for $PG_CONFIG"
choose_user
build_and_install
make_work
server=$work/server
start_server "$server" < <(server_settings)
sql -c "SET client_min_messages = warning" -c "CREATE EXTENSION meter CASCADE" -c "CREATE EXTENSION tdigest"
sql -f - <"$bench/data.sql"

machine
for figure in $figures; do
	[ -f "$bench/$figure.sh" ] || die "there is no figure $figure"
	say ""
	# shellcheck source=/dev/null
	. "$bench/$figure.sh"
done
say ""
say "Load at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
