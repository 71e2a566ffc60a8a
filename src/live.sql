-- live.sql: usage that is always current

CREATE FUNCTION meter.usage_tail(
	of_tenant text DEFAULT NULL,
	OUT replaces boolean,
	OUT usage meter.usage_hourly)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'meter_usage_tail';
COMMENT ON FUNCTION meter.usage_tail(text) IS
'Usage of the events, of one tenant or with null of all that the user may see, that meter_rollup() has not added yet, also of those still in meter.inbox that were checked at the call. Rows with replaces are the whole usage of a tenant''s hour, in the place of what meter.usage_hourly has; one without events marks each such hour';

-- hll is in whatever schema it was installed in, see usage.sql
SELECT pg_catalog.set_config('search_path',
	pg_catalog.format('pg_catalog, %s', extnamespace::regnamespace), true)
FROM pg_catalog.pg_extension WHERE extname = 'hll';

CREATE VIEW meter.live AS
WITH tail AS MATERIALIZED (
	SELECT t.replaces, (t.usage).* FROM meter.usage_tail() AS t
)
SELECT h.*
FROM meter.usage_hourly AS h
WHERE NOT EXISTS (SELECT FROM tail AS t WHERE t.tenant = h.tenant AND t.hour = h.hour)
UNION ALL
SELECT hour, tenant, metric, service, endpoint, method, dims,
	sum(events)::bigint, sum(successes)::bigint, sum(errors)::bigint,
	sum(errors_4xx)::bigint, sum(errors_5xx)::bigint, sum(errors_429)::bigint,
	sum(folded)::bigint,
	min(first_at), max(last_at),
	(array_agg(last_seq ORDER BY last_at DESC, in_tail DESC))[1],
	sum(quantity), min(quantity_min), max(quantity_max),
	(array_agg(quantity_first ORDER BY first_at, in_tail))[1],
	(array_agg(quantity_last ORDER BY last_at DESC, in_tail DESC))[1],
	sum(quantity_seconds) + COALESCE(
		min(quantity_last) FILTER (WHERE NOT in_tail)
		* extract(epoch FROM min(first_at) FILTER (WHERE in_tail) - max(last_at) FILTER (WHERE NOT in_tail)), 0),
	sum(cost),
	@extschema@.meter_sketch_merge(latency),
	hll_union_agg(users)
FROM (
	SELECT false AS in_tail, h.*
	FROM meter.usage_hourly AS h
	WHERE EXISTS (SELECT FROM tail AS t WHERE t.tenant = h.tenant AND t.hour = h.hour AND NOT t.replaces)
	UNION ALL
	SELECT true, t.hour, t.tenant, t.metric, t.service, t.endpoint, t.method, t.dims,
		t.events, t.successes, t.errors, t.errors_4xx, t.errors_5xx, t.errors_429, t.folded,
		t.first_at, t.last_at, t.last_seq,
		t.quantity, t.quantity_min, t.quantity_max, t.quantity_first, t.quantity_last,
		t.quantity_seconds, t.cost, t.latency, t.users
	FROM tail AS t
	WHERE t.events > 0
) AS part
GROUP BY hour, tenant, metric, service, endpoint, method, dims;
COMMENT ON VIEW meter.live IS
'What has happened up to now? meter.usage_hourly together with the events that are not rolled up yet; the same columns, but last_seq is null where the last event is not in the log yet. Events that wait in the queue appear with the flush that brings them into the log (within meter.flush_interval), rows of COPY meter.inbox with the flush that checks them, corrections with the flush that applies them';

SET LOCAL search_path TO pg_catalog, pg_temp;
