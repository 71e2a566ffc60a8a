-- notification.sql: what people and programs are told of alerts

CREATE TABLE meter.notification (
	notification_id uuid NOT NULL DEFAULT gen_random_uuid(),
	tenant text COLLATE "C",
	severity text COLLATE "C" NOT NULL
		CONSTRAINT notification_severity_check CHECK (severity = ANY (ARRAY['info', 'warning', 'critical'])),
	kind text COLLATE "C" NOT NULL,
	signal text COLLATE "C" NOT NULL,
	title text NOT NULL,
	body jsonb NOT NULL,
	created_at timestamptz NOT NULL,
	read_at timestamptz,
	PRIMARY KEY (notification_id)
);
COMMENT ON TABLE meter.notification IS
'What is there to be shown to a tenant or the operator, and what was read of it? A row for each event of an alert. Kept for meter.retention';
COMMENT ON COLUMN meter.notification.notification_id IS 'id';
COMMENT ON COLUMN meter.notification.tenant IS 'who is to be shown it; null: the operator alone';
COMMENT ON COLUMN meter.notification.severity IS 'info, warning or critical; info where an alert is over';
COMMENT ON COLUMN meter.notification.kind IS 'the event, such as api.budget.warning';
COMMENT ON COLUMN meter.notification.signal IS 'what was measured, see meter.alert_rule';
COMMENT ON COLUMN meter.notification.title IS 'one line, for people';
COMMENT ON COLUMN meter.notification.body IS 'the event as it was sent on channel meter, with detail';
COMMENT ON COLUMN meter.notification.created_at IS 'when the alert was evaluated';
COMMENT ON COLUMN meter.notification.read_at IS 'when it was read: meter_mark_read(); null: not yet';
CREATE INDEX notification_tenant_idx ON meter.notification (tenant, created_at);
CREATE INDEX notification_unread_idx ON meter.notification (tenant, created_at) WHERE read_at IS NULL;
CREATE INDEX notification_created_at_idx ON meter.notification (created_at);
SELECT pg_catalog.pg_extension_config_dump('meter.notification', '');

CREATE POLICY own ON meter.notification AS RESTRICTIVE
USING (tenant IS NOT NULL AND signal <> 'isolation_violation' OR (SELECT meter.visible_tenants()) IS NULL);
COMMENT ON POLICY own ON meter.notification IS
'A tenant sees what is its own alone, and no attempts against isolation';

CREATE FUNCTION @extschema@.meter_mark_read(notification_id uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	UPDATE meter.notification AS n SET read_at = clock_timestamp()
	WHERE n.notification_id = meter_mark_read.notification_id AND n.read_at IS NULL;
	IF FOUND THEN
		RETURN true;
	END IF;
	IF NOT EXISTS (SELECT FROM meter.notification AS n WHERE n.notification_id = meter_mark_read.notification_id) THEN
		RAISE EXCEPTION 'notification % does not exist', COALESCE(meter_mark_read.notification_id::text, 'null')
			USING ERRCODE = 'undefined_object', HINT = 'Notifications are rows of meter.notification.';
	END IF;
	RETURN false;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_mark_read(uuid) IS
'Note that a notification was read. Returns true, or false if it had been before. Errors: 42704 for an unknown one, and for one of another tenant';

-- A notification of 8000 bytes is too long for the server.  The names of a rule,
-- a tenant, a service and a subject can make a fraction of that, and so what is
-- left out is the detail, which the table has, or else long texts in it.
CREATE FUNCTION meter.event_payload(event jsonb) RETURNS text
LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN octet_length(event::text) < 7900 THEN event::text
	WHEN octet_length((event - 'detail')::text) < 7900 THEN (event - 'detail')::text
	ELSE (event - 'detail' - 'title' - 'subject')::text END;
COMMENT ON FUNCTION meter.event_payload(jsonb) IS
'An event as text for NOTIFY, below 8000 bytes: without detail if it is longer, and then without title and subject';

-- The first time that an alert fires without being silenced, and the end of what
-- was told, are told, each once: "told" says how far that is.  When a period ends
-- it is over for all tenants at once, which is no news.
--
-- A tenant and service have recovered when no alert of health that was told
-- fires any more; the last one says so, of several the worst.
CREATE FUNCTION meter.notification_send(at timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
	sent bigint;
BEGIN
	WITH due AS MATERIALIZED (
		SELECT a.*, s.unit, s.of_health,
			CASE WHEN COALESCE(a.threshold >= s.worse_from, a.severity = 'critical')
				THEN s.worse_event ELSE s.event END AS event,
			row_number() OVER (PARTITION BY a.state, s.of_health, a.tenant, a.service
				ORDER BY meter.severity_rank(a.severity) DESC, a.rule, a.subject) AS place
		FROM meter.alert AS a
		JOIN meter.alert_signal AS s ON s.signal = a.signal
		WHERE a.state = 'firing' AND a.told IS NULL AND NOT a.silenced
			OR a.state = 'resolved' AND a.told = 'firing'
	), sick AS (
		SELECT a.tenant, a.service
		FROM meter.alert AS a
		JOIN meter.alert_signal AS s ON s.signal = a.signal AND s.of_health
		WHERE a.state = 'firing' AND (a.told IS NOT NULL OR NOT a.silenced)
	), named AS (
		SELECT d.*, CASE
				WHEN d.state = 'firing' THEN d.event
				WHEN d.of_health AND d.place = 1 AND NOT EXISTS (
					SELECT FROM sick AS h WHERE COALESCE(h.tenant, '') = COALESCE(d.tenant, '')
						AND COALESCE(h.service, '') = COALESCE(d.service, '')) THEN 'api.health.recovered'
				ELSE 'api.alert.resolved' END AS kind
		FROM due AS d
		WHERE d.reason IS DISTINCT FROM 'period'
	), made AS MATERIALIZED (
		SELECT n.*, jsonb_strip_nulls(jsonb_build_object(
				'event', n.kind, 'at', at, 'alert_id', n.alert_id, 'incident_id', n.incident_id,
				'rule', n.rule, 'signal', n.signal, 'tenant', n.tenant, 'service', n.service,
				'subject', NULLIF(n.subject, ''), 'period', n.period, 'severity', n.severity, 'state', n.state,
				'reason', n.reason, 'value', n.value, 'threshold', n.threshold, 'unit', n.unit,
				'title', n.title))
				|| CASE WHEN m.more <> '{}' THEN jsonb_build_object('detail', m.more) ELSE '{}' END AS body
		FROM named AS n
		CROSS JOIN LATERAL (
			SELECT COALESCE(n.detail - ARRAY['subject', 'period', 'severity', 'threshold', 'title'], '{}') AS more
		) AS m
	), stored AS (
		INSERT INTO meter.notification (tenant, severity, kind, signal, title, body, created_at)
		SELECT m.tenant, CASE m.state WHEN 'firing' THEN m.severity ELSE 'info' END, m.kind, m.signal,
			CASE m.state WHEN 'firing' THEN m.title ELSE 'over: ' || m.title END, m.body, at
		FROM made AS m
	), marked AS (
		UPDATE meter.alert AS a SET told = a.state FROM due AS d WHERE a.alert_id = d.alert_id
	)
	SELECT count(pg_notify('meter', meter.event_payload(m.body))) INTO sent
	FROM (
		SELECT m.body FROM made AS m
		ORDER BY m.state DESC, m.tenant, m.service, m.rule, m.subject
		OFFSET 0
	) AS m;
	RETURN sent;
END
$$;
COMMENT ON FUNCTION meter.notification_send(timestamptz) IS
'Part of meter_evaluate_alerts(): tell of alerts that have begun to fire and of those that are over, by rows of meter.notification and on channel meter; returns how many';
