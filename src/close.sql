-- close.sql: closing a month
--
-- A month is closed in slices of a thousand tenants, each a transaction of its
-- own, so that what a crash undoes is one slice, and calling it again goes on
-- with what is left.  Nothing about a run is stored: what is to be done follows
-- from the bills that are there.
--
-- Who makes or voids a tenant's bill locks the tenant's row first, in the order
-- of names.  So two sessions never work on the same tenant, also if they close
-- different months: credits, and what was billed for late usage, are shared by
-- all bills of a tenant.

CREATE FUNCTION meter.close_grace() RETURNS interval
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN GREATEST(COALESCE(current_setting('meter.bill_grace', true)::interval, interval '3 days'),
	interval '3 hours');
COMMENT ON FUNCTION meter.close_grace() IS
'How long after the end of its period a bill stays a draft: meter.bill_grace, but 3 hours at least, as only what comes an hour after its time is noted to be late';

-- A run without a month makes no bill in the place of one that was voided: who
-- wants that says so.
CREATE FUNCTION meter.close_due(of_month date, of_tenants text[], started timestamptz, by_itself boolean)
RETURNS SETOF text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT p.tenant
	FROM meter.billing_period(of_month, of_tenants) AS p
	LEFT JOIN meter.bill AS b ON b.tenant = p.tenant AND b.month = of_month AND b.status <> 'void'
	WHERE p.period_to <= now() AND CASE
		WHEN b.tenant IS NOT NULL THEN b.status = 'draft'
			AND (b.rated_at < started OR b.period_to + meter.close_grace() <= now())
		WHEN NOT by_itself THEN true
		ELSE NOT EXISTS (SELECT FROM meter.bill AS v WHERE v.tenant = p.tenant AND v.month = of_month)
			AND (EXISTS (SELECT FROM meter.bill AS e WHERE e.tenant = p.tenant AND e.month < of_month)
				-- whoever sets up plans and prices is given the grace to do it
				OR (p.period_to + interval '1 month' > now() AND EXISTS (
					SELECT FROM meter.tenant AS t
					WHERE t.tenant = p.tenant AND t.created_at + meter.close_grace() <= now())))
		END
	ORDER BY p.tenant;
END
$$;
COMMENT ON FUNCTION meter.close_due(date, text[], timestamptz, boolean) IS
'Which tenants have a period that is over and no bill of that month, or a draft that was not rated since a run has started or is to become final; for a run that nobody has given a month to, only those who have had bills before, or whose last period it is and who were added longer ago than the grace';

CREATE FUNCTION meter.close_tenants(of_month date, of_tenants text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	bills integer;
	detail text;
	hint text;
BEGIN
	IF cardinality(of_tenants) = 0 THEN
		RETURN 0;
	END IF;
	DELETE FROM meter.credit_use AS u WHERE u.tenant = ANY (of_tenants) AND u.month = of_month;
	DELETE FROM meter.bill_line AS l USING meter.bill AS b
	WHERE b.tenant = ANY (of_tenants) AND b.month = of_month AND b.status = 'draft'
		AND l.tenant = b.tenant AND l.month = b.month AND l.revision = b.revision;

	-- One statement, so that usage, position and all else are of one moment.
	WITH rated AS MATERIALIZED (
		SELECT l.* FROM meter.bill_rate(of_month, of_tenants) AS l
	), period AS MATERIALIZED (
		SELECT p.* FROM unnest(meter.bill_periods(of_month, of_tenants)) AS p
	), total AS (
		SELECT l.tenant, count(*) AS lines, sum(l.amount) AS total,
			sum(l.amount) FILTER (WHERE l.kind = ANY (ARRAY['base', 'usage', 'minimum', 'delta'])) AS subtotal,
			sum(l.amount) FILTER (WHERE l.kind = ANY (ARRAY['coupon', 'maximum'])) AS discount,
			sum(l.amount) FILTER (WHERE l.kind = 'credit') AS credit,
			sum(l.amount) FILTER (WHERE l.kind = 'tax') AS tax
		FROM rated AS l GROUP BY l.tenant
	), made AS (
		INSERT INTO meter.bill AS b (tenant, month, revision, status, period_from, period_to, currency,
			subtotal, discount, credit, tax, total, lines, steps, position, rated_at, finalized_at)
		SELECT p.tenant, of_month, COALESCE(r.draft, r.last + 1, 1), f.status, p.period_from, p.period_to, p.currency,
			round(COALESCE(t.subtotal, 0), p.digits), round(COALESCE(t.discount, 0), p.digits),
			round(COALESCE(t.credit, 0), p.digits), round(COALESCE(t.tax, 0), p.digits),
			round(COALESCE(t.total, 0), p.digits), COALESCE(t.lines, 0), COALESCE(s.steps, '[]'), o.position, now(),
			CASE WHEN f.status = 'final' THEN now() END
		FROM period AS p
		LEFT JOIN meter.bill_steps(of_month, ARRAY(SELECT ROW(q.*)::meter.bill_period FROM period AS q)) AS s
			ON s.tenant = p.tenant
		LEFT JOIN total AS t ON t.tenant = p.tenant
		LEFT JOIN (
			SELECT v.tenant, max(v.revision) FILTER (WHERE v.status = 'draft') AS draft, max(v.revision) AS last
			FROM meter.bill AS v
			WHERE v.tenant = ANY (of_tenants) AND v.month = of_month
			GROUP BY v.tenant
		) AS r ON r.tenant = p.tenant
		CROSS JOIN (SELECT meter.usage_position() AS position, meter.close_grace() AS grace) AS o
		CROSS JOIN LATERAL (
			SELECT CASE WHEN p.period_to + o.grace <= now() THEN 'final' ELSE 'draft' END AS status
		) AS f
		ON CONFLICT (tenant, month, revision) DO UPDATE SET
			status = EXCLUDED.status, period_from = EXCLUDED.period_from, period_to = EXCLUDED.period_to,
			currency = EXCLUDED.currency, subtotal = EXCLUDED.subtotal, discount = EXCLUDED.discount,
			credit = EXCLUDED.credit, tax = EXCLUDED.tax, total = EXCLUDED.total, lines = EXCLUDED.lines,
			steps = EXCLUDED.steps, position = EXCLUDED.position, rated_at = EXCLUDED.rated_at,
			finalized_at = EXCLUDED.finalized_at
		RETURNING b.tenant, b.revision
	), paid AS (
		INSERT INTO meter.credit_use (tenant, credit_id, month, revision, amount)
		SELECT l.tenant, (l.details ->> 'credit_id')::uuid, of_month, m.revision, (l.details ->> 'used')::numeric
		FROM rated AS l JOIN made AS m ON m.tenant = l.tenant
		WHERE l.kind = 'credit'
	), written AS (
		INSERT INTO meter.bill_line (tenant, month, revision, line, kind, price, price_id, metric, dims, from_at, to_at,
			for_month, quantity, billed_quantity, unit, amount_exact, amount, details)
		SELECT l.tenant, l.month, m.revision, l.line, l.kind, l.price, l.price_id, l.metric, l.dims, l.from_at, l.to_at,
			l.for_month, l.quantity, l.billed_quantity, l.unit, l.amount_exact, l.amount, l.details
		FROM rated AS l JOIN made AS m ON m.tenant = l.tenant
	)
	SELECT count(*) INTO bills FROM made AS m;
	RETURN bills;
EXCEPTION WHEN data_exception OR object_not_in_prerequisite_state THEN
	-- One tenant's missing rate of exchange must not keep all others from having
	-- their bills: halves of the slice are tried, down to who it is.
	IF cardinality(of_tenants) = 1 THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		RAISE WARNING 'could not make the bill of tenant "%" for %: %',
			of_tenants[1], to_char(of_month, 'YYYY-MM'), SQLERRM
			USING ERRCODE = SQLSTATE,
				DETAIL = concat_ws(' ', NULLIF(detail, ''), 'The bills of other tenants are made.'),
				HINT = concat_ws(' ', NULLIF(hint, ''), 'Then call meter_close_month() again.');
		RETURN 0;
	END IF;
	RETURN meter.close_tenants(of_month, of_tenants[: cardinality(of_tenants) / 2])
		+ meter.close_tenants(of_month, of_tenants[cardinality(of_tenants) / 2 + 1 :]);
END
$$;
COMMENT ON FUNCTION meter.close_tenants(date, text[]) IS
'Make the bills of tenants for a month, or rate their drafts anew, and return how many; they are final if the grace has passed. The tenants must be locked and have no final bill. Who cannot be billed is left out, with a warning';

CREATE FUNCTION meter.close_slice(run jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	of_month CONSTANT date := (run #>> '{months,0}')::date;
	started CONSTANT timestamptz := (run ->> 'started')::timestamptz;
	by_itself CONSTANT boolean := (run ->> 'by_itself')::boolean;
	slice text[];
	more boolean;
	due text[];
	bills integer;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'a month cannot be closed in a transaction that is %', current_setting('transaction_isolation')
			USING ERRCODE = 'feature_not_supported', HINT = 'Use READ COMMITTED.';
	END IF;
	slice := ARRAY(
		SELECT t.tenant FROM meter.tenant AS t
		WHERE t.tenant > COALESCE(run ->> 'after', '')
		ORDER BY t.tenant LIMIT 1001);
	more := cardinality(slice) > 1000;
	slice := slice[: 1000];
	due := ARRAY(SELECT d FROM meter.close_due(of_month, slice, started, by_itself) AS d);
	-- whoever holds a lock has perhaps just made the bill, so look again
	PERFORM FROM meter.tenant AS t WHERE t.tenant = ANY (due) ORDER BY t.tenant FOR NO KEY UPDATE;
	due := ARRAY(SELECT d FROM meter.close_due(of_month, due, started, by_itself) AS d);
	bills := meter.close_tenants(of_month, due);

	run := run || jsonb_build_object('after', slice[cardinality(slice)],
		'tenants', (run ->> 'tenants')::bigint + cardinality(slice), 'bills', (run ->> 'bills')::bigint + bills);
	RAISE NOTICE 'closing %: % tenants, % bills', to_char(of_month, 'YYYY-MM'), run ->> 'tenants', run ->> 'bills';
	IF more THEN
		RETURN run;
	ELSIF jsonb_array_length(run -> 'months') > 1 THEN
		RETURN run || jsonb_build_object('months', (run -> 'months') - 0, 'after', '', 'tenants', 0, 'bills', 0);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.close_slice(jsonb) IS
'The work of meter.close_next(), done with the rights of the extension''s owner';

CREATE FUNCTION meter.close_next(run jsonb) RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'meter_close_next';
COMMENT ON FUNCTION meter.close_next(jsonb) IS
'Close the month for the next thousand tenants and return what to call this with next, null at the end. Commit in between';

CREATE FUNCTION meter.close_begin(month date) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	of_month CONSTANT date := date_trunc('month', close_begin.month::timestamp)::date;
	this_month CONSTANT date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
	months date[];
BEGIN
	IF of_month IS NULL THEN
		-- without prices nobody has asked for bills
		IF NOT EXISTS (SELECT FROM meter.price) AND NOT EXISTS (SELECT FROM meter.plan_version) THEN
			RETURN NULL;
		END IF;
		months := ARRAY(
			SELECT b.month FROM meter.bill AS b WHERE b.status = 'draft'
			UNION
			SELECT (this_month - n.n * interval '1 month')::date FROM generate_series(1, 2) AS n(n)
			ORDER BY 1);
	ELSE
		IF NOT isfinite(of_month) THEN
			RAISE EXCEPTION 'month must be finite' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		-- where the new year begins first, it does so 14 hours before UTC's
		IF (of_month + interval '1 month') AT TIME ZONE 'UTC' - interval '14 hours' > now() THEN
			RAISE EXCEPTION 'month % is not over', to_char(of_month, 'YYYY-MM')
				USING ERRCODE = 'invalid_parameter_value',
					HINT = 'meter_bill() shows what a bill would be.';
		END IF;
		months := ARRAY[of_month];
	END IF;
	RETURN jsonb_build_object('months', months, 'by_itself', of_month IS NULL, 'started', clock_timestamp(),
		'after', '', 'tenants', 0, 'bills', 0);
END
$$;
COMMENT ON FUNCTION meter.close_begin(date) IS
'What to call meter.close_next() with to close a month or, with null, whatever is due: the last period that is over of each tenant, and drafts. Null if nothing can be, as there are no prices and plans. Errors: 22023 if the month is not over';

CREATE FUNCTION meter.close_can_commit() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'meter_close_can_commit';
COMMENT ON FUNCTION meter.close_can_commit() IS
'Part of meter_close_month(): the error that it cannot commit where it was called. Errors: 25001 within a transaction block, a function or a block with EXCEPTION';

-- Commits, and so can have no SET of its own: it calls nothing but functions that
-- do, and has no operator that a search_path could change.
CREATE PROCEDURE @extschema@.meter_close_month(month date DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
	run pg_catalog.jsonb;
BEGIN
	PERFORM meter.close_can_commit();
	PERFORM meter.subscription_apply();
	COMMIT;
	run := meter.close_begin(month);
	WHILE run IS NOT NULL LOOP
		run := meter.close_next(run);
		COMMIT;
	END LOOP;
END
$$;
COMMENT ON PROCEDURE @extschema@.meter_close_month(date) IS
'Make the bills of the month that the date is in, of all tenants whose period that began in it is over; with null, of each tenant the last period that is over, and what are drafts still; a tenant that was added within meter.bill_grace and has no bill yet is left out of that. A bill is a draft, which is rated anew by each call, until meter.bill_grace has passed since the end of its period; then it is final. Commits after each thousand tenants and tells so; what was done stays when it is interrupted, and calling it again goes on. Several calls at once share the work. Errors: 22023 if the month is not over, 25001 within a transaction block or a function';

CREATE VIEW meter.close_progress AS
SELECT m.month, p.tenants, p.ended, COALESCE(b.drafts, 0) AS drafts, COALESCE(b.final, 0) AS final,
	COALESCE(b.void, 0) AS void, p.ended - COALESCE(b.billed, 0) AS missing, b.total_by_currency, b.rated_at
FROM (
	SELECT b.month FROM meter.bill AS b
	UNION
	SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date
) AS m
CROSS JOIN LATERAL (
	SELECT count(*) AS tenants, count(*) FILTER (WHERE t.period_to <= now()) AS ended
	FROM meter.billing_period(m.month, NULL) AS t
) AS p
LEFT JOIN LATERAL (
	SELECT sum(c.drafts)::bigint AS drafts, sum(c.final)::bigint AS final, sum(c.void)::bigint AS void,
		sum(c.drafts + c.final)::bigint AS billed, max(c.rated_at) AS rated_at,
		jsonb_object_agg(c.currency, c.total ORDER BY c.currency) AS total_by_currency
	FROM (
		SELECT b.currency, count(*) FILTER (WHERE b.status = 'draft') AS drafts,
			count(*) FILTER (WHERE b.status = 'final') AS final,
			count(*) FILTER (WHERE b.status = 'void') AS void,
			COALESCE(sum(b.total) FILTER (WHERE b.status <> 'void'), 0) AS total, max(b.rated_at) AS rated_at
		FROM meter.bill AS b
		WHERE b.month = m.month
		GROUP BY b.currency
	) AS c
) AS b ON true;
COMMENT ON VIEW meter.close_progress IS
'How far is the closing of a month? By month with bills, and the last one: tenants that are billed for it, of how many their period is over (ended), how many bills are draft, final and void, how many of the periods that are over have no bill yet (missing), what the bills come to in each currency, and when one was last rated. It moves with each thousand tenants';
