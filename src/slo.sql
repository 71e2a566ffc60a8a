-- slo.sql: service level objectives

CREATE TABLE meter.slo (
	slo text COLLATE "C" PRIMARY KEY
		CONSTRAINT slo_slo_check CHECK (octet_length(slo) BETWEEN 1 AND 64
			AND slo !~ '[[:cntrl:]]' AND slo ~ '[^ ]'),
	tenant text COLLATE "C"
		CONSTRAINT slo_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 255
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	service text COLLATE "C"
		CONSTRAINT slo_service_check CHECK (octet_length(service) BETWEEN 1 AND 255
			AND service !~ '[[:cntrl:]]' AND service ~ '[^ ]'),
	kind text COLLATE "C" NOT NULL DEFAULT 'availability'
		CONSTRAINT slo_kind_check CHECK (
			meter.word_check(kind, 'slo_kind_check', ARRAY['availability', 'latency'])),
	target numeric NOT NULL
		CONSTRAINT slo_target_check CHECK (target > 0 AND target < 100),
	latency_ms numeric
		CONSTRAINT slo_latency_ms_check CHECK (latency_ms > 0 AND latency_ms < 'Infinity'),
	days integer NOT NULL DEFAULT 30
		CONSTRAINT slo_days_check CHECK (days BETWEEN 1 AND 90),
	description text,
	CONSTRAINT slo_latency_check CHECK ((kind = 'latency') = (latency_ms IS NOT NULL))
);
COMMENT ON TABLE meter.slo IS
'Service level objectives: how many percent of requests are to be good. What is left of 100 is the error budget; the alerts with signal burn_rate tell how fast it is used up';
COMMENT ON COLUMN meter.slo.slo IS 'name, at most 64 bytes';
COMMENT ON COLUMN meter.slo.tenant IS 'whose requests; null: those of all tenants together';
COMMENT ON COLUMN meter.slo.service IS 'requests of which service; null: of all together';
COMMENT ON COLUMN meter.slo.kind IS
'which requests are good. availability: those that are no errors, or errors of the client (status 400 to 499); latency: those that took at most latency_ms, of those with a latency';
COMMENT ON COLUMN meter.slo.target IS 'percentage that is to be good, above 0 and below 100, such as 99.9';
COMMENT ON COLUMN meter.slo.latency_ms IS 'of kind latency: how long a good request takes at most, in milliseconds, within 1 %';
COMMENT ON COLUMN meter.slo.days IS 'over how many days the error budget is reckoned, 1 to 90';
COMMENT ON COLUMN meter.slo.description IS 'what it is for, for people';
SELECT pg_catalog.pg_extension_config_dump('meter.slo', '');

CREATE VIEW meter.slo_status AS
SELECT o.slo, o.tenant, o.service, o.kind, o.target, o.days, u.requests, u.bad,
	round(100.0 * (u.requests - u.bad) / NULLIF(u.requests, 0), 4) AS good_percent,
	round(100 - 100.0 * u.bad / NULLIF(u.requests * (1 - o.target / 100), 0), 2) AS error_budget_left,
	CASE WHEN u.requests > 0 THEN u.bad <= u.requests * (1 - o.target / 100) END AS met
FROM meter.slo AS o
CROSS JOIN LATERAL (
	SELECT COALESCE(sum(r.requests), 0)::bigint AS requests, COALESCE(sum(r.bad), 0)::bigint AS bad
	FROM (
		SELECT CASE WHEN o.kind = 'latency' THEN @extschema@.meter_sketch_count(h.latency) ELSE h.events END AS requests,
			CASE WHEN o.kind = 'latency' THEN @extschema@.meter_sketch_count(h.latency)
					- @extschema@.meter_sketch_count_below(h.latency, o.latency_ms::double precision)
				ELSE h.errors - h.errors_4xx END AS bad
		FROM (
			-- of one tenant, by the index
			SELECT h.* FROM meter.usage_hourly AS h
			WHERE h.tenant = o.tenant AND h.metric = 'api_requests' AND h.hour > now() - make_interval(days => o.days)
			UNION ALL
			SELECT h.* FROM meter.usage_hourly AS h
			WHERE o.tenant IS NULL AND h.metric = 'api_requests' AND h.hour > now() - make_interval(days => o.days)
		) AS h
		WHERE h.service = o.service OR o.service IS NULL
	) AS r
) AS u;
COMMENT ON VIEW meter.slo_status IS
'Are the objectives met? One row per objective, over its days up to now: requests, bad ones, good_percent, error_budget_left in percent (100: untouched, 0: used up, below 0: the objective is missed) and met; without requests these are null';
