#!/usr/bin/env bash
#
# worker.sh: sends the rows of meter.billing_outbox to a payment provider, as
# Stripe's meter events.
#
#	worker.sh			works until it gets SIGTERM or SIGINT
#	worker.sh --once	ends when there is nothing to send
#
# Run as many as you like.  Rows are claimed, sent and acknowledged in
# transactions of their own, so a worker that dies leaves its rows to the others
# when its lease ends; they may then be sent again, with the same identifier, by
# which the provider drops repeats.
#
# The database is that of PGHOST, PGDATABASE and so on.  Other settings:
#
#	METER_OUTBOX_URL	where events are sent to (POST, as a form)
#	METER_OUTBOX_KEY	the provider's secret key
#	METER_OUTBOX_SEND	a command to call instead of that, with the arguments
#						IDENTIFIER EVENT_NAME TIMESTAMP KEY=VALUE...; it exits
#						with 0 if the event was taken, 75 to try again later
#	METER_OUTBOX_WORKER	a name, which claimed rows show
#	METER_OUTBOX_BATCH	rows to claim at a time
#	METER_OUTBOX_LEASE	seconds for which they are ours
#	METER_OUTBOX_RETRY	seconds to wait after a failure; by default longer each time
#	METER_OUTBOX_PAUSE	seconds to wait when there is nothing to send

set -uo pipefail

url=${METER_OUTBOX_URL:-https://api.example.com/v1/billing/meter_events}
key=${METER_OUTBOX_KEY:-}
command=${METER_OUTBOX_SEND:-}
worker=${METER_OUTBOX_WORKER:-$(hostname)-$$}
batch=${METER_OUTBOX_BATCH:-50}
lease=${METER_OUTBOX_LEASE:-300}
retry=${METER_OUTBOX_RETRY:-}
pause=${METER_OUTBOX_PAUSE:-10}

# An event may take so long; who has less of the lease left sends no more.
timeout=$((lease < 60 ? lease / 2 : 30))

stopping=
trap 'stopping=1' TERM INT

# query SQL NAME=VALUE...: run SQL, in which :'NAME' is the value
query()
{
	local sql=$1 options=() value
	shift
	for value; do
		options+=(-v "$value")
	done
	psql -XAtq -v ON_ERROR_STOP=1 "${options[@]}" <<<"$sql"
}

# The fields of an event are separated by a control character, which no name has.
claim()
{
	query "SELECT concat_ws(chr(31), c.identifier, c.event_name, c.\"timestamp\",
			(SELECT string_agg(p.key || '=' || p.value, chr(31)) FROM jsonb_each_text(c.payload) AS p))
		FROM meter_outbox_claim(:'batch', make_interval(secs => :'lease'), :'worker') AS c" \
		"batch=$batch" "lease=$lease" "worker=$worker"
}

# acknowledge IDENTIFIER...
acknowledge()
{
	local IFS=,

	[ $# -eq 0 ] || query "SELECT meter_outbox_ack(:'ids')" "ids={$*}" >/dev/null
}

# fail IDENTIFIER ERROR SECONDS
fail()
{
	query "SELECT meter_outbox_fail(:'id', :'error', make_interval(secs => NULLIF(:'seconds', '')::int), :'worker')" \
		"id=$1" "error=$2" "seconds=$3" "worker=$worker" >/dev/null
}

# post IDENTIFIER EVENT_NAME TIMESTAMP KEY=VALUE...: sets status and wait_for.
# The key is given to curl on its standard input, so that nobody sees it in a
# list of processes.
post()
{
	local fields=(--data-urlencode "identifier=$1" --data-urlencode "event_name=$2"
		--data-urlencode "timestamp=$3") answer
	shift 3
	for field; do
		fields+=(--data-urlencode "payload[${field%%=*}]=${field#*=}")
	done
	answer=$(curl --silent --config - --max-time "$timeout" --output /dev/null \
		--write-out '%{http_code} %header{retry-after}' "${fields[@]}" "$url" <<<"user = \"$key:\"")
	status=${answer%% *}
	wait_for=${answer#* }
	[[ $wait_for =~ ^[0-9]{1,5}$ ]] || wait_for=
	[[ $status == 2?? ]]
}

# send IDENTIFIER EVENT_NAME TIMESTAMP KEY=VALUE...
send()
{
	status=
	wait_for=
	if [ -n "$command" ]; then
		"$command" "$@" </dev/null
		status=$?
		[ "$status" -eq 0 ]
	else
		post "$@"
	fi
}

while [ -z "$stopping" ]; do
	start=$SECONDS
	if ! events=$(claim); then
		sleep "$pause"
		continue
	fi
	if [ -z "$events" ]; then
		[ "${1:-}" != --once ] || break
		sleep "$pause" &
		wait $!
		continue
	fi
	sent=()
	while IFS=$'\037' read -r -a event; do
		# what is left can be claimed again when the lease ends
		if [ -n "$stopping" ] || [ $((SECONDS - start)) -ge $((lease - timeout)) ]; then
			break
		fi
		if send "${event[@]}"; then
			sent+=("${event[0]}")
		else
			fail "${event[0]}" "status ${status:-unknown}" "${wait_for:-$retry}"
		fi
	done <<<"$events"
	acknowledge "${sent[@]}"
done
