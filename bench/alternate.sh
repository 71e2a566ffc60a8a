# shellcheck shell=bash
#
# bench/alternate.sh: comparing what differs by a few percent.
#
# A machine's speed changes by more than that from one second to the next, and
# so does what two runs of the same reach if the kernel puts their processes on
# other processors.  So the contenders' clients are all connected at the same
# time, each with its session on one processor for good, and all contenders but
# one are stopped (SIGSTOP).  Every fiftieth of a second it is another's turn.
# What counts is how many transactions each has made in the time it had; a
# transaction that is stopped and continued is one of so many that it makes no
# difference.
#
# Latencies are not kept: they would be those of the stops.

# shellcheck disable=SC2034,SC2154		# for and from run.sh and clients.sh
turn=0.02				# seconds
comparisons=$((turns < 10 ? turns : 10))	# rounds of compare(): more would tell no more
pause=0.001				# after a turn, for the sessions to end what they do
asleep=3				# seconds that a client waits for the others, see waiting()

# of each contender, by number: what contender() was told, and what compare() has
# of it
contenders=()			# variants
contender_file=()
contender_server=()
contender_options=()
contender_begin=()		# functions
contender_end=()
contender_pids=()		# of its programs, stopped or not
compared=()				# calls

exec {never}<> <(:)		# nobody writes to it

# wait_for SECONDS: without a process that would take part of the time
wait_for()
{
	read -r -t "$1" -u "$never" || true
}

end_contenders()
{
	# shellcheck disable=SC2068		# lists
	[ "${#contender_pids[@]}" -eq 0 ] || kill -KILL ${contender_pids[@]} 2>/dev/null || true
	contender_pids=()
}
at_exit end_contenders

# The processors that may be used, one a line.
processors()
{
	taskset -pc $$ | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (i = $1; i <= $NF; i++) print i }'
}

# waiting [STATEMENT]: what a client does before its first transaction, for the
# beginning of its script.  It sleeps in the server, as what pgbench itself still
# had to sleep when it is stopped it would make up for later.  Clients are numbered
# from 0: "client".
waiting()
{
	printf '%s\n' '\if :ready = 0' '\set client :first + :client_id' "$@" "SELECT pg_sleep($asleep);" '\set ready 1' '\endif'
}

# contender VARIANT FILE SERVER OPTIONS: pgbench, for the next compare().  The server
# is the directory of its socket.
contender()
{
	contender_file[${#contenders[@]}]=$2
	contender_server[${#contenders[@]}]=$3
	contender_options[${#contenders[@]}]=$4
	contender_of "$1" begin_pgbench end_pgbench
}

# contender_of VARIANT BEGIN END: another one.  BEGIN NUMBER SECONDS, a function,
# starts programs for so many seconds at least, puts their process IDs into
# contender_pids[NUMBER] and stops them; END NUMBER sets compared[NUMBER] after they
# were continued when their time was over, and ends them if they have not.
contender_of()
{
	contenders+=("$1")
	contender_begin+=("$2")
	contender_end+=("$3")
}

# sessions_of CONTENDER: process ID and processor
sessions_of()
{
	as_user "$bindir/psql" -X -q -At -F ' ' -h "${contender_server[$1]}" -p "$port" -U postgres -d postgres \
		-c "SELECT pid, split_part(application_name, ' ', 3) FROM pg_stat_activity
			WHERE application_name LIKE 'contender $1 %'"
}

begin_pgbench()
{
	local cpu first=0 share sessions pid began=$SECONDS left=$threads name=$files/contender.$1

	rm -f "$name".*
	for cpu in $cpus; do
		share=$(((clients - first + left - 1) / left))
		# shellcheck disable=SC2016		# for the shell that it is given to
		as_user env PGDATABASE=postgres PGOPTIONS="${contender_options[$1]}" PGAPPNAME="contender $1 $cpu" \
			sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$name.$cpu.pid" taskset -c "$cpu" \
			"$bindir/pgbench" -h "${contender_server[$1]}" -p "$port" -U postgres -n -M prepared \
			-c "$share" -j 1 -T "$2" -D ready=0 -D first="$first" -f "$files/${contender_file[$1]}" \
			>"$name.$cpu.out" 2>&1 &
		first=$((first + share))
		left=$((left - 1))
	done
	until sessions=$(sessions_of "$1") && [ "$(wc -l <<<"$sessions")" -eq "$clients" ]; do
		[ $((SECONDS - began)) -lt "$asleep" ] ||
			{ cat "$name".*.out >&2; die "clients of pgbench do not connect"; }
		wait_for 0.05
	done
	while read -r pid cpu; do
		as_user taskset -pc "$cpu" "$pid" >/dev/null
	done <<<"$sessions"
	contender_pids[$1]=$(cat "$name".*.pid)
	# shellcheck disable=SC2086		# it is a list
	kill -STOP ${contender_pids[$1]}
	[ $((SECONDS - began)) -lt "$asleep" ] || die "pgbench took too long to connect"
}

end_pgbench()
{
	local pid

	for pid in ${contender_pids[$1]}; do
		kill -CONT "$pid"
	done
	for pid in ${contender_pids[$1]}; do
		while kill -0 "$pid" 2>/dev/null; do
			wait_for 0.01
		done
	done
	compared[$1]=$(cat "$files/contender.$1".*.out | awk '
		/^number of transactions actually processed:/ { n += $6 } END { print n + 0 }')
	[ "${compared[$1]}" -gt 0 ] || { cat "$files/contender.$1".*.out >&2; die "pgbench failed"; }
}

# compare ROUND: all contenders, for as many seconds each; sets compared, the calls
# of each, and then there are none any more.  What is noted as "paired" can only be
# compared within a round.  Who is first may have it easier, so each is so in another
# round.
compare()
{
	local each=$lasts n=${#contenders[@]} order=() used=() cpus total started last i began now speed

	[ "$1" -gt 0 ] || each=$warm_up
	cpus=$(processors | head -n "$threads")
	total=$(((n + 1) * asleep + n * each * 5 / 4 + 2))
	started=$SECONDS
	for ((i = 0; i < n; i++)); do
		order+=($((($1 + i) % n)))
		used+=(0)
	done
	for i in "${order[@]}"; do
		"${contender_begin[i]}" "$i" "$total"
	done
	last=$SECONDS
	wait_for "$asleep"

	while [ "${used[${order[n - 1]}]}" -lt $((each * 1000000)) ]; do
		for i in "${order[@]}"; do
			began=${EPOCHREALTIME/./}
			# shellcheck disable=SC2086		# it is a list
			kill -CONT ${contender_pids[i]}
			wait_for "$turn"
			# shellcheck disable=SC2086
			kill -STOP ${contender_pids[i]}
			now=${EPOCHREALTIME/./}
			used[i]=$((used[i] + now - began))
			wait_for "$pause"
		done
	done
	[ $((SECONDS - started)) -lt "$total" ] || die "pgbench has ended before its time"

	# whose time is over ends when it is continued
	wait_for "$((total + last - SECONDS + 1))"
	compared=()
	for ((i = 0; i < n; i++)); do
		"${contender_end[i]}" "$i"
		speed=$(awk -v us="${used[i]}" -v calls="${compared[i]}" 'BEGIN { print calls / us * 1e6 }')
		record "${contenders[i]}" "$1" "$(awk -v per="$per" -v speed="$speed" 'BEGIN { print per / speed }')"
		note "${contenders[i]}" "$1" calls "${compared[i]}" paired "$speed"
	done
	contender_pids=()
	contenders=()
	contender_begin=()
	contender_end=()
}
