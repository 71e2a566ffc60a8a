-- alert.sql: alerts, and how they come and go

CREATE TABLE meter.alert (
	alert_id uuid NOT NULL DEFAULT gen_random_uuid(),
	rule text COLLATE "C" NOT NULL,
	signal text COLLATE "C" NOT NULL,
	tenant text COLLATE "C",
	service text COLLATE "C",
	subject text COLLATE "C" NOT NULL DEFAULT '',
	severity text COLLATE "C" NOT NULL
		CONSTRAINT alert_severity_check CHECK (severity = ANY (ARRAY['info', 'warning', 'critical'])),
	state text COLLATE "C" NOT NULL
		CONSTRAINT alert_state_check CHECK (state = ANY (ARRAY['pending', 'firing', 'resolved'])),
	title text NOT NULL,
	value numeric NOT NULL,
	peak numeric NOT NULL,
	threshold numeric NOT NULL,
	period text,
	started_at timestamptz NOT NULL,
	measured_at timestamptz NOT NULL,
	fired_at timestamptz,
	resolved_at timestamptz,
	reason text COLLATE "C"
		CONSTRAINT alert_reason_check CHECK (reason = ANY (ARRAY['recovered', 'no data', 'period', 'rule'])),
	silenced boolean NOT NULL DEFAULT false,
	told text COLLATE "C"
		CONSTRAINT alert_told_check CHECK (told = ANY (ARRAY['firing', 'resolved'])),
	incident_id uuid,
	acknowledged_at timestamptz,
	acknowledged_by text,
	detail jsonb,
	PRIMARY KEY (alert_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE meter.alert IS
'What is wrong, and what was? One row for each time that a rule''s value has come to its threshold, written by meter_evaluate_alerts(). Those that are over are kept for meter.retention';
COMMENT ON COLUMN meter.alert.alert_id IS 'id';
COMMENT ON COLUMN meter.alert.rule IS 'meter.alert_rule.rule';
COMMENT ON COLUMN meter.alert.signal IS 'the rule''s signal';
COMMENT ON COLUMN meter.alert.tenant IS 'whose it is; null: of no single tenant';
COMMENT ON COLUMN meter.alert.service IS 'which service; null: of no single service';
COMMENT ON COLUMN meter.alert.subject IS
'which of several that a tenant and service can have of a rule, as a budget and its threshold; empty: there is one only';
COMMENT ON COLUMN meter.alert.severity IS 'info, warning or critical, when it began';
COMMENT ON COLUMN meter.alert.state IS 'pending: not as long as the rule''s for_duration yet; firing; resolved: it is over';
COMMENT ON COLUMN meter.alert.title IS 'what it is, for people, as when it fired';
COMMENT ON COLUMN meter.alert.value IS 'the last value, in the unit of the signal';
COMMENT ON COLUMN meter.alert.peak IS 'the highest value since it began';
COMMENT ON COLUMN meter.alert.threshold IS 'what the value was compared with last';
COMMENT ON COLUMN meter.alert.period IS
'the period, as a month of a budget, for which it holds; when another begins it is over; null: none';
COMMENT ON COLUMN meter.alert.started_at IS 'when the value was at the threshold first';
COMMENT ON COLUMN meter.alert.measured_at IS 'when there was a value last';
COMMENT ON COLUMN meter.alert.fired_at IS 'when it began to fire';
COMMENT ON COLUMN meter.alert.resolved_at IS 'when it was over';
COMMENT ON COLUMN meter.alert.reason IS
'why it is over: recovered, no data (for longer than the rule''s no_data_after), period (the next one has begun), rule (deleted, disabled or with another signal)';
COMMENT ON COLUMN meter.alert.silenced IS 'whether a row of meter.silence kept it quiet when it was last evaluated';
COMMENT ON COLUMN meter.alert.told IS 'what notifications have told of it: firing or resolved; null: nothing, as it is silenced or pending';
COMMENT ON COLUMN meter.alert.incident_id IS 'meter.incident that it belongs to; null: it has opened none';
COMMENT ON COLUMN meter.alert.acknowledged_at IS 'when somebody took care of it: meter_acknowledge()';
COMMENT ON COLUMN meter.alert.acknowledged_by IS 'who';
COMMENT ON COLUMN meter.alert.detail IS 'more about the last value, as of meter.alert_measure()';

-- At most one is open of the same thing.
CREATE UNIQUE INDEX alert_open_key ON meter.alert (rule, tenant, service, subject) NULLS NOT DISTINCT
	WHERE state <> 'resolved';
CREATE INDEX alert_untold_idx ON meter.alert (alert_id)
	WHERE state = 'firing' AND told IS NULL OR state = 'resolved' AND told = 'firing';
CREATE INDEX alert_tenant_idx ON meter.alert (tenant, started_at);
CREATE INDEX alert_incident_id_idx ON meter.alert (incident_id) WHERE incident_id IS NOT NULL;
CREATE INDEX alert_resolved_at_idx ON meter.alert (resolved_at) WHERE state = 'resolved';
SELECT pg_catalog.pg_extension_config_dump('meter.alert', '');

-- Rows without a tenant are everybody's elsewhere, see row_security.sql.  These
-- are the operator's, and so is who has tried to reach another tenant's objects.
CREATE POLICY own ON meter.alert AS RESTRICTIVE
USING (tenant IS NOT NULL AND signal <> 'isolation_violation' OR (SELECT meter.visible_tenants()) IS NULL);
COMMENT ON POLICY own ON meter.alert IS
'A tenant sees what is its own alone, and no attempts against isolation';

CREATE FUNCTION meter.severity_rank(severity text) RETURNS integer
LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
RETURN array_position(ARRAY['info', 'warning', 'critical'], severity);
COMMENT ON FUNCTION meter.severity_rank(text) IS 'Severities as numbers: 1 info, 2 warning, 3 critical';

CREATE FUNCTION meter.alert_title(signal text, of_tenant text, service text, value numeric, threshold numeric)
RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN (
	SELECT format('%s%s: %s%s (threshold %s)', s.label,
		COALESCE(' of ' || NULLIF(concat_ws('/', of_tenant, service), ''), ''),
		CASE WHEN abs(value) < 'Infinity' THEN trim_scale(round(value, 2)) ELSE value END,
		CASE WHEN s.unit IS NOT NULL THEN ' ' || s.unit ELSE '' END, trim_scale(threshold))
	FROM meter.alert_signal AS s WHERE s.signal = alert_title.signal);
COMMENT ON FUNCTION meter.alert_title(text, text, text, numeric, numeric) IS
'An alert in one line, for people: what is measured, of whom, its value and the threshold';

-- Most values are below their threshold and of no alert, so they leave first.
-- What detail says goes before the rule: subject (of several budgets of a tenant
-- each has its alerts), threshold, severity, title and period.
--
-- A row can be over and another one of the same thing begin: what ends is written
-- before what begins, which the count makes sure of.
CREATE FUNCTION meter.alert_judge(at timestamptz, OUT fired bigint, OUT resolved bigint) RETURNS record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	WITH open AS MATERIALIZED (
		SELECT a.alert_id, a.rule, a.signal, a.tenant, a.service, a.subject, a.state, a.period,
			a.started_at, a.measured_at
		FROM meter.alert AS a WHERE a.state <> 'resolved'
	), valued AS (
		SELECT r.rule, r.signal, NULLIF(m.tenant, '') COLLATE "C" AS tenant, NULLIF(m.service, '') COLLATE "C" AS service,
			m.value, m.detail,
			COALESCE((m.detail ->> 'threshold')::numeric, r.threshold) AS threshold, r.resolve_below,
			r.severity, r.for_duration
		FROM meter.alert_measure(at) AS m
		JOIN meter.alert_rule AS r ON r.rule = m.rule AND r.enabled
		-- NaN is no value
		WHERE m.value < 'NaN'
	), measured AS (
		SELECT DISTINCT ON (v.rule, v.tenant, v.service, d.subject)
			v.rule, v.signal, v.tenant, v.service, d.subject, v.value, v.detail, v.threshold, v.for_duration,
			LEAST(v.resolve_below, v.threshold) AS resolve_below,
			CASE WHEN meter.severity_rank(v.detail ->> 'severity') IS NULL THEN v.severity
				ELSE v.detail ->> 'severity' END AS severity,
			v.detail ->> 'title' AS title, v.detail ->> 'period' AS period
		FROM valued AS v
		CROSS JOIN LATERAL (
			SELECT CASE WHEN octet_length(v.detail ->> 'subject') > 200 THEN md5(v.detail ->> 'subject')
				ELSE COALESCE(v.detail ->> 'subject', '') END COLLATE "C" AS subject
		) AS d
		WHERE v.value >= v.threshold OR (v.rule, COALESCE(v.tenant, ''), COALESCE(v.service, '')) IN (
			SELECT o.rule, COALESCE(o.tenant, ''), COALESCE(o.service, '') FROM open AS o)
		ORDER BY v.rule, v.tenant, v.service, d.subject, v.value DESC
	), compared AS (
		SELECT o.alert_id, o.state, o.started_at, o.measured_at,
			r.rule IS NULL AS ruleless, r.no_data_after,
			m.period IS DISTINCT FROM o.period AS is_other_period,
			m.rule, m.signal, m.tenant, m.service, m.subject, m.value, m.detail, m.threshold, m.resolve_below,
			m.severity, m.title, m.period, m.for_duration,
			COALESCE(m.value >= m.threshold, false) AS is_reached
		FROM measured AS m
		FULL JOIN open AS o ON o.rule = m.rule AND o.subject = m.subject
			AND COALESCE(o.tenant, '') = COALESCE(m.tenant, '')
			AND COALESCE(o.service, '') = COALESCE(m.service, '')
		LEFT JOIN meter.alert_rule AS r ON r.rule = o.rule AND r.enabled AND r.signal = o.signal
	), judged AS MATERIALIZED (
		SELECT c.*,
			CASE
				WHEN c.alert_id IS NULL THEN NULL
				WHEN c.ruleless THEN 'rule'
				WHEN c.value IS NULL AND (c.state = 'pending' OR at - c.measured_at >= c.no_data_after) THEN 'no data'
				WHEN c.value IS NULL THEN NULL
				WHEN c.is_other_period THEN 'period'
				WHEN c.state = 'pending' AND NOT c.is_reached
					OR c.state = 'firing' AND c.value < COALESCE(c.resolve_below, c.threshold) THEN 'recovered'
			END AS ends,
			COALESCE(c.state = 'firing' OR at - COALESCE(c.started_at, at) >= c.for_duration, false) AS fires
		FROM compared AS c
		WHERE c.alert_id IS NOT NULL OR c.is_reached
	), dropped AS (
		-- what never fired has never been
		DELETE FROM meter.alert AS a USING judged AS j
		WHERE a.alert_id = j.alert_id AND j.state = 'pending' AND j.ends IS NOT NULL
		RETURNING 1
	), moved AS (
		UPDATE meter.alert AS a
		SET state = CASE WHEN j.ends IS NOT NULL THEN 'resolved' WHEN j.fires THEN 'firing' ELSE a.state END,
			fired_at = CASE WHEN j.fires THEN COALESCE(a.fired_at, at) ELSE a.fired_at END,
			resolved_at = CASE WHEN j.ends IS NOT NULL THEN at END,
			reason = j.ends,
			-- the value of another period is not that of this one
			value = CASE WHEN j.ends = ANY (ARRAY['period', 'rule']) THEN a.value ELSE COALESCE(j.value, a.value) END,
			peak = CASE WHEN j.ends = ANY (ARRAY['period', 'rule']) THEN a.peak ELSE GREATEST(a.peak, j.value) END,
			threshold = CASE WHEN j.ends = ANY (ARRAY['period', 'rule']) THEN a.threshold
				ELSE COALESCE(j.threshold, a.threshold) END,
			detail = CASE WHEN j.ends = ANY (ARRAY['period', 'rule']) OR j.value IS NULL THEN a.detail ELSE j.detail END,
			measured_at = CASE WHEN j.value IS NOT NULL THEN at ELSE a.measured_at END,
			title = CASE WHEN a.state = 'pending' AND j.fires AND j.ends IS NULL THEN COALESCE(j.title,
				meter.alert_title(a.signal, a.tenant, a.service, j.value, j.threshold)) ELSE a.title END,
			silenced = meter.is_silenced(a.rule, a.tenant, a.service, at)
		FROM judged AS j
		WHERE a.alert_id = j.alert_id AND NOT (j.state = 'pending' AND j.ends IS NOT NULL)
		RETURNING j.state AS was, a.state AS state
	), begun AS (
		INSERT INTO meter.alert AS a (rule, signal, tenant, service, subject, severity, state, title, value, peak, threshold,
			period, started_at, measured_at, fired_at, silenced, detail)
		SELECT j.rule, j.signal, j.tenant, j.service, j.subject, j.severity,
			CASE WHEN j.for_duration <= interval '0' THEN 'firing' ELSE 'pending' END,
			COALESCE(j.title, meter.alert_title(j.signal, j.tenant, j.service, j.value, j.threshold)),
			j.value, j.value, j.threshold, j.period, at, at,
			CASE WHEN j.for_duration <= interval '0' THEN at END,
			meter.is_silenced(j.rule, j.tenant, j.service, at), j.detail
		FROM judged AS j
		WHERE j.is_reached AND (j.alert_id IS NULL OR j.ends = ANY (ARRAY['period', 'rule']))
			AND (SELECT count(*) FROM dropped) + (SELECT count(*) FROM moved) >= 0
		RETURNING a.state AS state
	)
	SELECT (SELECT count(*) FROM moved AS m WHERE m.was = 'pending' AND m.state = 'firing')
			+ (SELECT count(*) FROM begun AS b WHERE b.state = 'firing'),
		(SELECT count(*) FROM moved AS m WHERE m.state = 'resolved')
	INTO fired, resolved;
END
$$;
COMMENT ON FUNCTION meter.alert_judge(timestamptz) IS
'Part of meter_evaluate_alerts(): begin, go on with and end the rows of meter.alert, by the values of meter.alert_measure() at that instant. Returns how many have begun to fire and how many are over';
