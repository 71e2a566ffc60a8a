-- openmetrics.sql: what a monitoring system scrapes
--
-- Counters must only grow, whatever is corrected, dropped or computed anew, and a
-- scrape must not read a month of hours.  So the rollup adds each event to running
-- totals of its own when it meets it for the first time, and nothing takes away
-- from them.
--
-- Each set of labels is a series, and series are dear: so only so many sets have
-- a total of their own (shown), and what is counted of the others goes to one
-- named (other).  A set that is shown from now on begins at what it had, and one
-- that is not any more leaves its total behind: no total ever becomes less.

CREATE TABLE meter.openmetrics_total (
	kind text COLLATE "C" NOT NULL
		CONSTRAINT openmetrics_total_kind_check CHECK (
			kind = ANY (ARRAY['service', 'usage', 'endpoint', 'model', 'limit'])),
	labels text[] COLLATE "C" NOT NULL,
	shown boolean NOT NULL,
	recent bigint NOT NULL,
	score double precision NOT NULL,
	counted_at timestamptz NOT NULL,
	calls bigint NOT NULL,
	errors_4xx bigint NOT NULL,
	errors_429 bigint NOT NULL,
	errors_5xx bigint NOT NULL,
	cost numeric NOT NULL,
	quantity numeric NOT NULL,
	tokens_input numeric NOT NULL,
	tokens_cached numeric NOT NULL,
	tokens_cache_creation numeric NOT NULL,
	tokens_output numeric NOT NULL,
	latency @extschema@.meter_sketch,
	PRIMARY KEY (kind, labels)
) WITH (fillfactor = 70);
COMMENT ON TABLE meter.openmetrics_total IS
'Running totals for a monitoring system, by kind and labels, written by meter_rollup(): each event is added once, and nothing is taken away again. They begin with the extension, or with the database that a dump was restored into';
COMMENT ON COLUMN meter.openmetrics_total.kind IS
'service (labels tenant, service), usage (tenant, metric), endpoint (service, endpoint, method), model (provider, model) or limit (rule, tenant, plan, resource, per)';
COMMENT ON COLUMN meter.openmetrics_total.labels IS 'values of the labels, empty for none; all (other): those that are not shown';
COMMENT ON COLUMN meter.openmetrics_total.shown IS 'whether it has series of its own; otherwise what is counted goes to (other)';
COMMENT ON COLUMN meter.openmetrics_total.recent IS 'events since the last ranking, by which it is decided what is shown';
COMMENT ON COLUMN meter.openmetrics_total.score IS 'events before that, halved with each ranking';
COMMENT ON COLUMN meter.openmetrics_total.counted_at IS 'when there was an event last';
COMMENT ON COLUMN meter.openmetrics_total.calls IS
'requests (metric api_requests); of a model its calls (metric llm_requests), of a limit the calls that it let through';
COMMENT ON COLUMN meter.openmetrics_total.errors_4xx IS 'of these, with status 400 to 499 but 429';
COMMENT ON COLUMN meter.openmetrics_total.errors_429 IS 'of these, with status 429; of a limit the calls that it refused';
COMMENT ON COLUMN meter.openmetrics_total.errors_5xx IS 'of these, other errors: status 500 and above, or none but an error message';
COMMENT ON COLUMN meter.openmetrics_total.cost IS 'costs that events carried, of all metrics';
COMMENT ON COLUMN meter.openmetrics_total.quantity IS 'of usage: the sum of quantities';
COMMENT ON COLUMN meter.openmetrics_total.tokens_input IS 'of a model: tokens of type input';
COMMENT ON COLUMN meter.openmetrics_total.tokens_cached IS 'of a model: tokens of type cached';
COMMENT ON COLUMN meter.openmetrics_total.tokens_cache_creation IS 'of a model: tokens of type cache_creation';
COMMENT ON COLUMN meter.openmetrics_total.tokens_output IS 'of a model: tokens of type output';
COMMENT ON COLUMN meter.openmetrics_total.latency IS 'latencies of the calls in milliseconds; of endpoints and models only';

-- They are about all tenants at once.
ALTER TABLE meter.openmetrics_total ENABLE ROW LEVEL SECURITY;
CREATE POLICY platform ON meter.openmetrics_total USING ((SELECT meter.visible_tenants()) IS NULL);
COMMENT ON POLICY platform ON meter.openmetrics_total IS
'For those who see all tenants: meter.visible_tenants() is null';

CREATE TABLE meter.openmetrics_position (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	last_seq bigint NOT NULL,
	ranked_at timestamptz NOT NULL
);
COMMENT ON TABLE meter.openmetrics_position IS
'One row: how far meter.openmetrics_total is. A rollup that begins before it, as one that computes all totals anew does, does not count';
COMMENT ON COLUMN meter.openmetrics_position.only_one IS 'always true';
COMMENT ON COLUMN meter.openmetrics_position.last_seq IS 'last event that was counted';
COMMENT ON COLUMN meter.openmetrics_position.ranked_at IS 'when it was decided last what is shown';

CREATE TABLE meter.openmetrics_rule (
	rule_id integer PRIMARY KEY,
	allowed bigint NOT NULL,
	refused bigint NOT NULL
);
COMMENT ON TABLE meter.openmetrics_rule IS
'What shared memory had of each rule when it was looked at last; what is more the next time is counted';
COMMENT ON COLUMN meter.openmetrics_rule.rule_id IS 'meter.rate_limit.id';
COMMENT ON COLUMN meter.openmetrics_rule.allowed IS 'sum of meter.rate_limit_status.allowed';
COMMENT ON COLUMN meter.openmetrics_rule.refused IS 'sum of meter.rate_limit_status.refused';

-- --- counting ----------------------------------------------------------------

CREATE FUNCTION meter.openmetrics_other(labels text[]) RETURNS text[]
LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
RETURN array_fill('(other)'::text, ARRAY[cardinality(labels)]);
COMMENT ON FUNCTION meter.openmetrics_other(text[]) IS
'The labels under which what is counted of these goes when they are not shown';

CREATE FUNCTION meter.openmetrics_count(batch meter.openmetrics_total[], label_sets integer, at timestamptz) RETURNS void
LANGUAGE SQL VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO meter.openmetrics_total AS t (kind, labels, shown, recent, score, counted_at, calls, errors_4xx, errors_429,
		errors_5xx, cost, quantity, tokens_input, tokens_cached, tokens_cache_creation, tokens_output, latency)
	WITH room AS (
		SELECT k.kind, count(*) AS taken
		FROM meter.openmetrics_total AS k
		WHERE k.shown AND k.labels <> meter.openmetrics_other(k.labels)
		GROUP BY k.kind
	), placed AS (
		-- who is new is shown while there is room, the busiest first
		SELECT b.*, COALESCE(k.shown, row_number() OVER (PARTITION BY b.kind, k.shown IS NULL
			ORDER BY b.recent DESC, b.labels) + COALESCE(r.taken, 0) <= openmetrics_count.label_sets) AS own
		FROM unnest(openmetrics_count.batch) AS b
		LEFT JOIN meter.openmetrics_total AS k ON k.kind = b.kind AND k.labels = b.labels
		LEFT JOIN room AS r ON r.kind = b.kind
	)
	SELECT p.kind, o.labels, bool_or(o.shown), sum(o.recent), 0, openmetrics_count.at,
		COALESCE(sum(p.calls) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.errors_4xx) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.errors_429) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.errors_5xx) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.cost) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.quantity) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.tokens_input) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.tokens_cached) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.tokens_cache_creation) FILTER (WHERE o.shown), 0),
		COALESCE(sum(p.tokens_output) FILTER (WHERE o.shown), 0),
		@extschema@.meter_sketch_merge(p.latency) FILTER (WHERE o.shown)
	FROM placed AS p
	CROSS JOIN LATERAL (
		SELECT p.labels, p.own AS shown, p.recent
		UNION ALL
		SELECT meter.openmetrics_other(p.labels), true, 0 WHERE NOT p.own
	) AS o
	GROUP BY p.kind, o.labels
	ON CONFLICT (kind, labels) DO UPDATE SET
		shown = t.shown OR EXCLUDED.shown, recent = t.recent + EXCLUDED.recent, counted_at = EXCLUDED.counted_at,
		calls = t.calls + EXCLUDED.calls, errors_4xx = t.errors_4xx + EXCLUDED.errors_4xx,
		errors_429 = t.errors_429 + EXCLUDED.errors_429, errors_5xx = t.errors_5xx + EXCLUDED.errors_5xx,
		cost = t.cost + EXCLUDED.cost, quantity = t.quantity + EXCLUDED.quantity,
		tokens_input = t.tokens_input + EXCLUDED.tokens_input,
		tokens_cached = t.tokens_cached + EXCLUDED.tokens_cached,
		tokens_cache_creation = t.tokens_cache_creation + EXCLUDED.tokens_cache_creation,
		tokens_output = t.tokens_output + EXCLUDED.tokens_output,
		latency = @extschema@.meter_sketch_union(t.latency, EXCLUDED.latency);
END;
COMMENT ON FUNCTION meter.openmetrics_count(meter.openmetrics_total[], integer, timestamptz) IS
'Part of meter_rollup(): add rows, each of other labels, to the totals, so many sets of labels of each kind to one of their own';

-- What shared memory has of a tenant goes when its room is needed: then the sum
-- falls, and what was counted meanwhile is not known.
CREATE FUNCTION meter.openmetrics_count_limits(label_sets integer, at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	batch meter.openmetrics_total[];
BEGIN
	IF NOT EXISTS (SELECT FROM meter.rate_limit) THEN
		RETURN;
	END IF;
	WITH current AS MATERIALIZED (
		SELECT s.rule_id, sum(s.allowed)::bigint AS allowed, sum(s.refused)::bigint AS refused
		FROM meter.limit_state() AS s
		GROUP BY s.rule_id
	), old AS MATERIALIZED (
		SELECT o.* FROM meter.openmetrics_rule AS o
	), noted AS (
		INSERT INTO meter.openmetrics_rule AS o (rule_id, allowed, refused)
		SELECT c.rule_id, c.allowed, c.refused FROM current AS c
		ON CONFLICT (rule_id) DO UPDATE SET allowed = EXCLUDED.allowed, refused = EXCLUDED.refused
			WHERE (o.allowed, o.refused) <> (EXCLUDED.allowed, EXCLUDED.refused)
	), gone AS (
		DELETE FROM meter.openmetrics_rule AS o
		WHERE NOT EXISTS (SELECT FROM meter.rate_limit AS r WHERE r.id = o.rule_id)
	)
	SELECT array_agg(ROW('limit', ARRAY[r.id::text, COALESCE(r.tenant, ''), COALESCE(r.plan, ''), r.resource, r.per],
		false, d.allowed + d.refused, 0, at, d.allowed, 0, d.refused, 0, 0, 0, 0, 0, 0, 0, NULL)::meter.openmetrics_total)
	INTO batch
	FROM (
		SELECT c.rule_id, greatest(c.allowed - COALESCE(o.allowed, 0), 0) AS allowed,
			greatest(c.refused - COALESCE(o.refused, 0), 0) AS refused
		FROM current AS c LEFT JOIN old AS o ON o.rule_id = c.rule_id
	) AS d
	JOIN meter.rate_limit AS r ON r.id = d.rule_id
	WHERE d.allowed + d.refused > 0;
	PERFORM meter.openmetrics_count(batch, label_sets, at);
END
$$;
COMMENT ON FUNCTION meter.openmetrics_count_limits(integer, timestamptz) IS
'Part of meter_rollup(): count what limits have let through and refused since the last time, by rule';

-- Who keeps its place and who gets one is decided by the last hours' events, of
-- which those of the hour before count half.
CREATE FUNCTION meter.openmetrics_rank(label_sets integer, at timestamptz) RETURNS void
LANGUAGE SQL VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	DELETE FROM meter.openmetrics_total AS t
	WHERE t.labels <> meter.openmetrics_other(t.labels)
		AND (NOT t.shown AND t.recent = 0 AND t.score < 1
			OR t.counted_at < openmetrics_rank.at - interval '30 days');
	UPDATE meter.openmetrics_total AS t
	SET score = r.score, recent = 0, shown = r.shown
	FROM (
		SELECT k.kind, k.labels, k.other, k.score, k.other OR row_number() OVER (PARTITION BY k.kind, k.other
			ORDER BY k.score DESC, k.labels) <= openmetrics_rank.label_sets AS shown
		FROM (
			SELECT c.kind, c.labels, c.score / 2 + c.recent AS score,
				c.labels = meter.openmetrics_other(c.labels) AS other
			FROM meter.openmetrics_total AS c
		) AS k
	) AS r
	WHERE t.kind = r.kind AND t.labels = r.labels;
END;
COMMENT ON FUNCTION meter.openmetrics_rank(integer, timestamptz) IS
'Part of meter_rollup(), once an hour: decide which sets of labels are shown, so many of each kind, and forget those that are idle: of the others, with nothing for some hours, of the shown ones, for 30 days';

CREATE FUNCTION meter.openmetrics_finish(upto bigint, label_sets integer, at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	hour CONSTANT timestamptz := date_trunc('hour', at, 'UTC');
	ranked timestamptz := (SELECT p.ranked_at FROM meter.openmetrics_position AS p);
BEGIN
	PERFORM meter.openmetrics_count_limits(label_sets, at);
	IF ranked < hour THEN
		PERFORM meter.openmetrics_rank(label_sets, at);
	END IF;
	INSERT INTO meter.openmetrics_position AS p (last_seq, ranked_at) VALUES (upto, hour)
	ON CONFLICT (only_one) DO UPDATE SET last_seq = greatest(p.last_seq, EXCLUDED.last_seq),
		ranked_at = greatest(p.ranked_at, EXCLUDED.ranked_at);
END
$$;
COMMENT ON FUNCTION meter.openmetrics_finish(bigint, integer, timestamptz) IS
'Part of meter_rollup(): count limits, rank once an hour, and note up to which position of the log is counted';
