-- budget_count.sql: keeping what was spent of budgets up to date
--
-- Costs are added by the rollup, in its transaction, as usage is: see budget.c.
-- The rollup notes its position here.  Where that is not the one it begins at,
-- as after a dump was restored, all is counted anew.  Charges need prices, and
-- steps of prices all usage of the period, so meter_refresh_budgets() has them
-- rated as for a bill, when there is new usage and at least once an hour, as
-- levels of gauges add up without any.

CREATE TABLE meter.budget_position (
	last_seq bigint NOT NULL
);
-- without one, a publication of all tables would turn every change into an error
ALTER TABLE meter.budget_position REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.budget_position IS
'Position in the log up to which costs are in meter.budget_spend: one row, or none if nothing was counted yet; not in dumps';
COMMENT ON COLUMN meter.budget_position.last_seq IS 'last event that was added';

-- Only added to by the rollup, so that it never waits for a rating.
CREATE TABLE meter.budget_stale (
	tenant text COLLATE "C" NOT NULL
);
-- without one, a publication of all tables would turn every change into an error
ALTER TABLE meter.budget_stale REPLICA IDENTITY FULL;
COMMENT ON TABLE meter.budget_stale IS
'Tenants with budgets of charges that have usage which is not rated yet';
COMMENT ON COLUMN meter.budget_stale.tenant IS 'the tenant; may be there more than once';

CREATE FUNCTION meter.budget_count(budget_ids uuid[], from_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	DELETE FROM meter.budget_spend AS s
	USING meter.budget_period AS w, meter.budget AS b
	WHERE s.budget_id = ANY (budget_ids) AND s.period_from >= from_at
		AND w.budget_id = s.budget_id AND w.period_from = s.period_from
		AND b.budget_id = s.budget_id AND b.basis = 'cost';
	INSERT INTO meter.budget_spend (budget_id, tenant, period_from, metric, quantity, spent)
	WITH counted AS MATERIALIZED (
		SELECT b.budget_id, b.tenant, b.service, w.period_from, w.period_to
		FROM meter.budget AS b
		JOIN meter.budget_period AS w ON w.budget_id = b.budget_id
		WHERE b.budget_id = ANY (budget_ids) AND b.basis = 'cost' AND w.period_from >= from_at
	), used AS (
		SELECT w.budget_id, w.tenant, w.period_from, u.metric, u.quantity, u.cost
		FROM counted AS w
		JOIN meter.usage_hourly AS u ON u.tenant = w.tenant AND u.hour >= w.period_from AND u.hour < w.period_to
			AND (u.service = w.service OR w.service IS NULL)
		WHERE u.cost IS NOT NULL
			AND u.hour >= (SELECT min(c.period_from) FROM counted AS c)
			AND u.hour < (SELECT max(c.period_to) FROM counted AS c)
		UNION ALL
		SELECT w.budget_id, NULL, w.period_from, u.metric, u.quantity, u.cost
		FROM counted AS w
		JOIN meter.usage_hourly AS u ON u.service = w.service AND u.hour >= w.period_from AND u.hour < w.period_to
		WHERE w.tenant IS NULL AND u.cost IS NOT NULL
			AND u.hour >= (SELECT min(c.period_from) FROM counted AS c)
			AND u.hour < (SELECT max(c.period_to) FROM counted AS c)
	)
	SELECT u.budget_id, u.tenant, u.period_from, u.metric, sum(u.quantity), sum(u.cost)
	FROM used AS u
	GROUP BY u.budget_id, u.tenant, u.period_from, u.metric;
	UPDATE meter.budget_period AS w SET counted_at = now()
	FROM meter.budget AS b
	WHERE w.budget_id = ANY (budget_ids) AND w.period_from >= from_at
		AND b.budget_id = w.budget_id AND b.basis = 'cost';
END
$$;
COMMENT ON FUNCTION meter.budget_count(uuid[], timestamptz) IS
'Count what was spent of budgets of costs, from meter.usage_hourly, in their known periods that begin at an instant or later';

CREATE FUNCTION meter.budget_open() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	opened uuid[];
	earliest timestamptz;
BEGIN
	WITH new AS (
		INSERT INTO meter.budget_period AS w (budget_id, tenant, period_from, period_to, counted_at)
		SELECT b.budget_id, b.tenant, b.period_from, b.period_to, now()
		FROM meter.budget_now AS b
		WHERE NOT EXISTS (
			SELECT FROM meter.budget_period AS w
			WHERE w.budget_id = b.budget_id AND w.period_from = b.period_from AND w.period_to = b.period_to)
		ON CONFLICT (budget_id, period_from) DO UPDATE SET period_to = EXCLUDED.period_to
		RETURNING w.budget_id, w.tenant, w.period_from
	), charged AS (
		INSERT INTO meter.budget_stale (tenant)
		SELECT b.tenant FROM new AS n JOIN meter.budget AS b ON b.budget_id = n.budget_id
		WHERE b.basis = 'charge'
	)
	SELECT array_agg(n.budget_id), min(n.period_from) INTO opened, earliest FROM new AS n;
	IF opened IS NOT NULL THEN
		PERFORM meter.budget_count(opened, earliest);
	END IF;
END
$$;
COMMENT ON FUNCTION meter.budget_open() IS
'Begin the current period of each budget where that is not done yet: count what was spent in it so far';

-- Whoever judges, or begins periods, has the lock of meter_rollup(): what another
-- one has just found would be undone by an older snapshot, and usage that is being
-- added would be missed in a new period.
CREATE FUNCTION meter.budget_lock() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM FROM meter.consumer AS c WHERE c.name = 'rollup' FOR UPDATE;
END
$$;
COMMENT ON FUNCTION meter.budget_lock() IS
'Keep meter_rollup() and others that follow budgets away, to the end of the transaction';

-- Statement triggers fire for no rows, too, and that one has all sessions read
-- blocks again; so it is looked first whether there is anything to change.
CREATE FUNCTION meter.budget_judge() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted uuid[];
BEGIN
	INSERT INTO meter.budget_crossing (budget_id, tenant, period_from, threshold, crossed_at, spent, amount)
	SELECT b.budget_id, b.tenant, s.period_from, u.threshold, now(), trim_scale(s.spent), b.amount
	FROM (
		SELECT w.budget_id, w.period_from, sum(m.spent) AS spent
		FROM meter.budget_period AS w
		JOIN meter.budget_spend AS m ON m.budget_id = w.budget_id AND m.period_from = w.period_from
		-- what comes late may still cross one of the period before
		WHERE w.period_to > now() - interval '1 day'
		GROUP BY w.budget_id, w.period_from
	) AS s
	JOIN meter.budget AS b ON b.budget_id = s.budget_id
	CROSS JOIN LATERAL unnest(b.thresholds) AS u(threshold)
	WHERE s.spent * 100 >= b.amount * u.threshold
	ON CONFLICT (budget_id, period_from, threshold) DO NOTHING;

	wanted := ARRAY(
		SELECT b.budget_id
		FROM meter.budget_now AS b
		WHERE b.hard_limit AND b.amount <= (
			SELECT sum(m.spent) FROM meter.budget_spend AS m
			WHERE m.budget_id = b.budget_id AND m.period_from = b.period_from));
	IF EXISTS (SELECT FROM meter.budget_block AS k WHERE k.budget_id <> ALL (wanted)) THEN
		DELETE FROM meter.budget_block AS k WHERE k.budget_id <> ALL (wanted);
	END IF;
	IF EXISTS (
		SELECT FROM meter.budget_now AS b
		WHERE b.budget_id = ANY (wanted) AND NOT EXISTS (
			SELECT FROM meter.budget_block AS k
			WHERE k.budget_id = b.budget_id AND k.until = b.period_to
				AND (k.tenant, k.service) IS NOT DISTINCT FROM (b.tenant, b.service)))
	THEN
		INSERT INTO meter.budget_block AS k (budget_id, tenant, service, until)
		SELECT b.budget_id, b.tenant, b.service, b.period_to
		FROM meter.budget_now AS b WHERE b.budget_id = ANY (wanted)
		ON CONFLICT (budget_id) DO UPDATE
		SET tenant = EXCLUDED.tenant, service = EXCLUDED.service, until = EXCLUDED.until;
	END IF;
END
$$;
COMMENT ON FUNCTION meter.budget_judge() IS
'Note the thresholds of budgets that were reached, and block or unblock those with a hard limit';

CREATE FUNCTION meter.budget_rolled_up(upto bigint, anew boolean, dirty_tenants text[], dirty_from timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM meter.budget) THEN
		IF anew THEN
			PERFORM meter.budget_count(ARRAY(SELECT b.budget_id FROM meter.budget AS b), '-infinity');
			INSERT INTO meter.budget_stale (tenant)
			SELECT b.tenant FROM meter.budget AS b WHERE b.basis = 'charge';
		ELSIF dirty_tenants IS NOT NULL THEN
			PERFORM meter.budget_count(ARRAY(
				SELECT w.budget_id FROM meter.budget_period AS w
				WHERE (w.tenant = ANY (dirty_tenants) OR w.tenant IS NULL) AND w.period_to > dirty_from),
				COALESCE((
					SELECT min(w.period_from) FROM meter.budget_period AS w
					WHERE (w.tenant = ANY (dirty_tenants) OR w.tenant IS NULL) AND w.period_to > dirty_from),
					'infinity'));
		END IF;
		PERFORM meter.budget_open();
		PERFORM meter.budget_judge();
	END IF;
	UPDATE meter.budget_position SET last_seq = upto;
	IF NOT FOUND THEN
		INSERT INTO meter.budget_position (last_seq) VALUES (upto);
	END IF;
END
$$;
COMMENT ON FUNCTION meter.budget_rolled_up(bigint, boolean, text[], timestamptz) IS
'Part of meter_rollup(): after costs were added up to a position in the log, count periods anew, all or those of tenants of whom hours from an instant on were computed anew; begin new periods, and judge';

CREATE FUNCTION meter.budget_rate(of_month date, tenants text[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	periods CONSTANT meter.bill_period[] := meter.bill_periods(of_month, tenants);
BEGIN
	DELETE FROM meter.budget_spend AS s
	USING meter.budget_now AS b
	WHERE b.basis = 'charge' AND b.tenant = ANY (tenants) AND b.month = of_month
		AND s.budget_id = b.budget_id AND s.period_from = b.period_from;
	INSERT INTO meter.budget_spend (budget_id, tenant, period_from, metric, quantity, spent)
	WITH charged AS (
		SELECT l.tenant, c.plan, COALESCE(l.metric, l.price) AS metric, COALESCE(l.dims, '{}') AS dims,
			CASE WHEN c.model <> 'dynamic' THEN c.aggregation END AS aggregation, c.percentile,
			sum(COALESCE(l.quantity, 0)) AS quantity, sum(l.amount_exact) AS amount
		FROM meter.bill_usage(of_month, periods) AS l
		LEFT JOIN meter.price AS c ON c.price_id = l.price_id
		GROUP BY l.tenant, c.plan, COALESCE(l.metric, l.price), l.price, COALESCE(l.dims, '{}'),
			CASE WHEN c.model <> 'dynamic' THEN c.aggregation END, c.percentile
	), used AS (
		-- several prices may charge the same usage, which was used once all the same:
		-- with the dimensions of some it is a part of what is without
		SELECT u.tenant, u.plan, u.metric, u.aggregation, u.percentile, sum(u.amount) AS amount,
			COALESCE(max(u.quantity) FILTER (WHERE u.dims = '{}'), sum(u.quantity)) AS quantity
		FROM (
			SELECT c.tenant, c.plan, c.metric, c.dims, c.aggregation, c.percentile,
				max(c.quantity) AS quantity, sum(c.amount) AS amount
			FROM charged AS c
			GROUP BY c.tenant, c.plan, c.metric, c.dims, c.aggregation, c.percentile
		) AS u
		GROUP BY u.tenant, u.plan, u.metric, u.aggregation, u.percentile
	), whole AS (
		-- plans hold one after the other, what is of no plan beside them
		SELECT u.tenant, u.metric, u.aggregation, sum(u.amount) AS amount,
			GREATEST(sum(u.quantity) FILTER (WHERE u.plan IS NOT NULL), max(u.quantity) FILTER (WHERE u.plan IS NULL)) AS quantity
		FROM used AS u
		GROUP BY u.tenant, u.metric, u.aggregation, u.percentile
	)
	SELECT b.budget_id, b.tenant, b.period_from, l.metric, l.quantity,
		l.amount * CASE WHEN p.currency = b.currency THEN 1
			ELSE meter.fx(p.currency, b.currency, LEAST(p.last_day, (now() AT TIME ZONE 'UTC')::date),
				'the budget of tenant', b.tenant) END
	FROM (
		-- how much it is says the sum, or the levels times the hours, best
		SELECT u.tenant, u.metric, sum(u.amount) AS amount,
			(array_agg(u.quantity ORDER BY array_position('{sum,time_weighted,weighted_avg,count}', u.aggregation), u.quantity DESC))[1] AS quantity
		FROM whole AS u
		GROUP BY u.tenant, u.metric
	) AS l
	JOIN unnest(periods) AS p ON p.tenant = l.tenant
	JOIN meter.budget_now AS b ON b.tenant = l.tenant AND b.basis = 'charge' AND b.month = of_month;
	UPDATE meter.budget_period AS w SET counted_at = now(), error = NULL
	FROM meter.budget_now AS b
	WHERE b.basis = 'charge' AND b.tenant = ANY (tenants) AND b.month = of_month
		AND w.budget_id = b.budget_id AND w.period_from = b.period_from;
END
$$;
COMMENT ON FUNCTION meter.budget_rate(date, text[]) IS
'Reckon what tenants'' prices make of their usage in a month, for their budgets of charges';

CREATE FUNCTION meter.budget_refresh() RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	stale text[];
	chunk record;
	first integer;
	size integer;
	message text;
	detail text;
	refreshed bigint := 0;
BEGIN
	IF NOT EXISTS (SELECT FROM meter.budget) THEN
		RETURN 0;
	END IF;
	-- so that two do not rate the same; who rolls up does not wait for it
	LOCK TABLE meter.budget_stale IN SHARE UPDATE EXCLUSIVE MODE;
	-- where nothing is rolled up, nobody else begins periods; rating, which takes
	-- longer, is for the next time, without that lock
	IF EXISTS (
		SELECT FROM meter.budget_now AS b
		WHERE NOT EXISTS (
			SELECT FROM meter.budget_period AS w
			WHERE w.budget_id = b.budget_id AND w.period_from = b.period_from AND w.period_to = b.period_to))
	THEN
		PERFORM meter.budget_lock();
		PERFORM meter.budget_open();
		PERFORM meter.budget_judge();
		RETURN 0;
	END IF;
	WITH gone AS (DELETE FROM meter.budget_stale AS s RETURNING s.tenant)
	SELECT array_agg(DISTINCT g.tenant) INTO stale FROM gone AS g;
	FOR chunk IN
		SELECT d.month, array_agg(d.tenant ORDER BY d.failed, d.tenant) AS tenants,
			count(*) FILTER (WHERE NOT d.failed)::integer AS sound
		FROM (
			SELECT b.month, b.tenant, w.error IS NOT NULL AS failed,
				(row_number() OVER (PARTITION BY b.month ORDER BY w.error IS NOT NULL, b.tenant) - 1) / 1000 AS n
			FROM meter.budget_now AS b
			JOIN meter.budget_period AS w ON w.budget_id = b.budget_id AND w.period_from = b.period_from
			WHERE b.basis = 'charge'
				AND (b.tenant = ANY (stale) OR w.counted_at < now() - interval '1 hour')
		) AS d
		GROUP BY d.month, d.n
	LOOP
		first := 1;
		size := chunk.sound;
		-- one that cannot be rated shall not keep others from it: new ones are searched for by halves
		WHILE first <= cardinality(chunk.tenants) LOOP
			size := LEAST(GREATEST(size, 1), cardinality(chunk.tenants) - first + 1);
			BEGIN
				PERFORM meter.budget_rate(chunk.month, chunk.tenants[first : first + size - 1]);
				first := first + size;
				size := size * 2;
			EXCEPTION WHEN data_exception OR integrity_constraint_violation OR raise_exception
					OR object_not_in_prerequisite_state THEN
				IF size = 1 THEN
					GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
					message := concat_ws('. ', message, NULLIF(detail, ''));
					UPDATE meter.budget_period AS w SET counted_at = now(), error = message
					FROM meter.budget_now AS b
					WHERE b.basis = 'charge' AND b.tenant = chunk.tenants[first] AND w.budget_id = b.budget_id
						AND w.period_from = b.period_from;
					RAISE WARNING 'charges of tenant "%" could not be reckoned for its budget', chunk.tenants[first]
						USING DETAIL = message;
					first := first + 1;
				END IF;
				size := size / 2;
			END;
		END LOOP;
		refreshed := refreshed + cardinality(chunk.tenants);
	END LOOP;
	PERFORM meter.budget_lock();
	PERFORM meter.budget_judge();
	RETURN refreshed;
END
$$;
COMMENT ON FUNCTION meter.budget_refresh() IS
'Part of meter_refresh_budgets(), which does it with the rights of the extension''s owner';

CREATE FUNCTION @extschema@.meter_refresh_budgets() RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_refresh_budgets() IS
'Have the usage of tenants with budgets of charges (meter.budget.basis) rated anew, of those that have new usage or were rated more than an hour ago, begin new periods of all budgets, and judge them. Returns how many tenants were rated. Run it each minute: meter_schedule() and the background worker do. Where charges cannot be reckoned, as for want of an exchange rate, there is a WARNING, and meter.budget_status.error says why';

-- --- changes -----------------------------------------------------------------

-- Who rolls up reads the budgets when it begins, so it must not be on its way.
CREATE FUNCTION meter.budget_follow(gone uuid[], changed uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- after a dump was restored the rollup counts all
	IF NOT EXISTS (SELECT FROM meter.budget_position) THEN
		RETURN;
	END IF;
	-- what is being rated must not be for budgets that are gone then; as in
	-- meter.budget_refresh() this lock comes first
	IF cardinality(gone) > 0 THEN
		LOCK TABLE meter.budget_stale IN SHARE UPDATE EXCLUSIVE MODE;
	END IF;
	PERFORM meter.budget_lock();
	IF cardinality(gone) > 0 THEN
		DELETE FROM meter.budget_period AS w WHERE w.budget_id = ANY (gone);
		DELETE FROM meter.budget_spend AS s WHERE s.budget_id = ANY (gone);
		DELETE FROM meter.budget_crossing AS c WHERE c.budget_id = ANY (gone);
	END IF;
	IF cardinality(changed) > 0 THEN
		DELETE FROM meter.budget_crossing AS c
		USING meter.budget_now AS b
		WHERE c.budget_id = ANY (changed) AND b.budget_id = c.budget_id AND b.period_from = c.period_from
			AND b.amount * c.threshold > 100 * (
				SELECT COALESCE(sum(m.spent), 0) FROM meter.budget_spend AS m
				WHERE m.budget_id = c.budget_id AND m.period_from = c.period_from);
	END IF;
	PERFORM meter.budget_open();
	PERFORM meter.budget_judge();
END
$$;
COMMENT ON FUNCTION meter.budget_follow(uuid[], uuid[]) IS
'Part of the triggers of meter.budget: forgets what was spent of budgets that are gone or are of something else now, counts what was of new ones, and judges them; thresholds of changed ones that are not reached any more can be reached again';

CREATE FUNCTION meter.budget_changed() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'meter_budget_changed';
COMMENT ON FUNCTION meter.budget_changed() IS
'Statement trigger of meter.budget: has meter.budget_follow() follow what has changed, with the rights of the extension''s owner';

CREATE TRIGGER budget_inserted
AFTER INSERT ON meter.budget
FOR EACH STATEMENT EXECUTE FUNCTION meter.budget_changed();
CREATE TRIGGER budget_updated
AFTER UPDATE ON meter.budget REFERENCING OLD TABLE AS old_budget NEW TABLE AS new_budget
FOR EACH STATEMENT EXECUTE FUNCTION meter.budget_changed();
CREATE TRIGGER budget_deleted
AFTER DELETE ON meter.budget REFERENCING OLD TABLE AS old_budget
FOR EACH STATEMENT EXECUTE FUNCTION meter.budget_changed();
CREATE TRIGGER budget_truncated
AFTER TRUNCATE ON meter.budget
FOR EACH STATEMENT EXECUTE FUNCTION meter.budget_changed();
