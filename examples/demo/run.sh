#!/usr/bin/env bash
#
# examples/demo/run.sh: "make demo" and "make demo-stop".
#
# From a bare machine to reports in one command: installs what is missing,
# builds and installs meter, starts a PostgreSQL of its own (socket only, no
# TCP port, no other PostgreSQL is touched), fills it with thirty days of
# traffic, prints what an operator would look at, lets limits meet a burst of
# calls, sets budgets, and writes the dashboard beside the server.  The server stays up to be looked at; running the demo again starts
# afresh.
#
#	CSV=file	replay real requests instead, see replay.sql
#	stop		(argument) stop the server and remove it

# shellcheck source=test/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../test/env.sh"

here=$top/examples/demo
csv_columns=at,tenant,user_id,request_id,method,endpoint,status,bytes,latency_ms

# Where the server lives: in the checkout if run_user may write there.
places=("$top/demo" "${TMPDIR:-/tmp}/meter-demo")

# The file that tells a directory of ours, and which PostgreSQL runs in it.
mark=meter-demo

# step TEXT COMMAND...: says what is done, and how long it took if that was long
step()
{
	local start=$SECONDS

	printf '%s ... ' "$1"
	shift
	"$@"
	if [ $((SECONDS - start)) -ge 1 ]; then
		say "$((SECONDS - start)) s"
	else
		say "done"
	fi
}

psql_demo()
{
	as_user "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$dir" -p "$port" -U postgres "$@"
}

# stop_place DIRECTORY OWNER: as its owner and with its PostgreSQL, which may
# not be those of this run
stop_place()
{
	local run_user=$2 bindir

	bindir=$(head -n 1 "$1/$mark")
	stop_servers "$1"
	rm -rf "$1"
	say "stopped and removed the demo in $1"
}

# Stops and removes what an earlier demo left.
remove_demo()
{
	local place owner

	for place in "${places[@]}"; do
		if [ ! -f "$place/$mark" ] || [ -L "$place" ]; then
			continue
		fi
		owner=$(stat -c %U "$place")
		if ! is_root && [ "$owner" != "$(id -un)" ]; then
			die "$place belongs to $owner: stop that demo as root or as $owner"
		fi
		stop_place "$place" "$owner"
	done
}

make_place()
{
	for dir in "${places[@]}"; do
		# the socket's path has to be below 108 bytes
		if [ ${#dir} -gt 85 ] || [ -e "$dir" ] || ! mkdir -m 0700 "$dir" 2>/dev/null; then
			continue
		fi
		! is_root || chown "$run_user:" "$dir"
		if as_user test -w "$dir"; then
			say "$bindir" >"$dir/$mark"
			return
		fi
		rmdir "$dir"
	done
	die "neither ${places[0]} nor ${places[1]} can be made for $run_user"
}

# The CSV file with the columns we know, or an end with a clear message.
check_csv()
{
	local header

	[[ $CSV == /* ]] || CSV=$caller_dir/$CSV
	if [ ! -f "$CSV" ] || [ ! -r "$CSV" ]; then
		die "CSV: there is no readable file $CSV"
	fi
	IFS= read -r header <"$CSV" || true
	header=${header#$'\xef\xbb\xbf'}
	header=${header%$'\r'}
	[ "$header" = "$csv_columns" ] ||
		die "CSV: the first line of $CSV must be
  $csv_columns
but it is
  ${header:-(empty)}"
}

make_server()
{
	# jobs of pg_cron run in workers, because there is no TCP port to connect to
	start_server "$dir" <<-'END'
		shared_preload_libraries = 'meter,pg_cron'
		cron.database_name = 'demo'
		cron.use_background_workers = on
		max_worker_processes = 20
		timezone = 'UTC'
		log_timezone = 'UTC'
		datestyle = 'iso, ymd'
		shared_buffers = '256MB'
		max_wal_size = '2GB'
	END
	psql_demo -d postgres -c 'CREATE DATABASE demo'
	# what is older than the retention would be refused; the background worker
	# has to know before it starts there
	[ -z "${CSV:-}" ] || psql_demo -d postgres -c 'ALTER DATABASE demo SET meter.retention = 0'
	psql_demo -d demo -c 'SET client_min_messages = warning' \
		-c 'CREATE EXTENSION pg_cron' -c 'CREATE EXTENSION meter CASCADE'
}

make_traffic()
{
	psql_demo -d demo -f - <"$here/traffic.sql"
}

# replay.sql copies from psql's stdin, so the file need not be readable for run_user.
replay_csv()
{
	psql_demo -d demo -f "$work/replay.sql" <"$CSV"
}

call()
{
	psql_demo -d demo -A -t -c "$1" >"$install_log"
}

write_dashboard()
{
	page=$dir/dashboard.html
	# of the last seven days of what was replayed
	psql_demo -d demo -A -t -c 'SELECT meter_dashboard("to" => least(now(), max(hour) + make_interval(hours => 1))) FROM meter.usage_hourly' |
		as_user tee "$page" >/dev/null
}

if [ "${1:-}" = stop ]; then
	choose_user
	remove_demo
	exit
fi

[ -z "${CSV:-}" ] || check_csv
step "packages" install_packages demo
choose_server
choose_user
step "building and installing meter for $("$PG_CONFIG" --version)" build_and_install
remove_demo
make_place
make_work
cp "$here/replay.sql" "$work/"
chmod 0644 "$work/replay.sql"

step "starting a server in $dir" make_server
if [ -n "${CSV:-}" ]; then
	step "replaying $(($(wc -l <"$CSV") - 1)) requests of $CSV" replay_csv
else
	step "making thirty days of traffic" make_traffic
fi
# the background worker has begun already; these return when all is done
step "SELECT meter_flush()    queue and inbox to log" call 'SELECT meter_flush()'
step "SELECT meter_rollup()   log to hourly usage" call 'SELECT meter_rollup()'
psql_demo -d demo -f - <"$here/report.sql"
psql_demo -d demo -f - <"$here/limit.sql"
psql_demo -d demo -f - <"$here/watch.sql"
say ""
step "SELECT meter_dashboard()" write_dashboard

psql=psql
command -v psql >/dev/null || psql=$bindir/psql
cat <<END

The dashboard of all this is
  file://$page

The server keeps running, and its background worker brings what is tracked into
the log within 200 ms and into the reports within a minute; look around with
  $psql -h $dir -p $port -U postgres demo
and stop and remove it with
  make demo-stop
END
