-- incident.sql: what alerts of a tenant and service come to, for who takes care of it

CREATE TABLE meter.incident (
	incident_id uuid NOT NULL DEFAULT gen_random_uuid(),
	tenant text COLLATE "C",
	service text COLLATE "C",
	severity text COLLATE "C" NOT NULL
		CONSTRAINT incident_severity_check CHECK (severity = ANY (ARRAY['warning', 'critical'])),
	status text COLLATE "C" NOT NULL DEFAULT 'open'
		CONSTRAINT incident_status_check CHECK (status = ANY (ARRAY['open', 'acknowledged', 'resolved'])),
	title text NOT NULL,
	opened_at timestamptz NOT NULL,
	acknowledged_at timestamptz,
	acknowledged_by text,
	resolved_at timestamptz,
	PRIMARY KEY (incident_id)
);
COMMENT ON TABLE meter.incident IS
'What has somebody to look at, and what was there? One row for the alerts, but those of severity info, that a tenant and service have from the first one that fires until none fires any more. Kept for meter.retention after that';
COMMENT ON COLUMN meter.incident.incident_id IS 'id';
COMMENT ON COLUMN meter.incident.tenant IS 'whose it is; null: of no single tenant';
COMMENT ON COLUMN meter.incident.service IS 'which service; null: of no single service';
COMMENT ON COLUMN meter.incident.severity IS 'warning or critical: that of its worst alert so far';
COMMENT ON COLUMN meter.incident.status IS
'open; acknowledged: somebody takes care of it, and no other alert has fired since; resolved: none of its alerts fires any more';
COMMENT ON COLUMN meter.incident.title IS 'that of its worst alert so far';
COMMENT ON COLUMN meter.incident.opened_at IS 'when its first alert fired';
COMMENT ON COLUMN meter.incident.acknowledged_at IS 'when somebody took care of it last: meter_acknowledge()';
COMMENT ON COLUMN meter.incident.acknowledged_by IS 'who';
COMMENT ON COLUMN meter.incident.resolved_at IS 'when the last of its alerts was over';
-- At most one is open for each tenant and service.
CREATE UNIQUE INDEX incident_open_key ON meter.incident (tenant, service) NULLS NOT DISTINCT
	WHERE status <> 'resolved';
CREATE INDEX incident_opened_at_idx ON meter.incident (opened_at);
SELECT pg_catalog.pg_extension_config_dump('meter.incident', '');

CREATE TABLE meter.incident_update (
	incident_id uuid NOT NULL
		CONSTRAINT incident_update_incident_id_fkey REFERENCES meter.incident ON DELETE CASCADE,
	n integer NOT NULL,
	tenant text COLLATE "C",
	at timestamptz NOT NULL,
	kind text COLLATE "C" NOT NULL
		CONSTRAINT incident_update_kind_check CHECK (
			kind = ANY (ARRAY['fired', 'recovered', 'acknowledged', 'note', 'resolved'])),
	alert_id uuid,
	severity text COLLATE "C"
		CONSTRAINT incident_update_severity_check CHECK (severity = ANY (ARRAY['warning', 'critical'])),
	message text,
	"by" text,
	PRIMARY KEY (incident_id, n)
);
COMMENT ON TABLE meter.incident_update IS 'What has happened in each incident, in order';
COMMENT ON COLUMN meter.incident_update.incident_id IS 'meter.incident';
COMMENT ON COLUMN meter.incident_update.n IS 'number within the incident, from 1';
COMMENT ON COLUMN meter.incident_update.tenant IS 'the incident''s tenant';
COMMENT ON COLUMN meter.incident_update.at IS 'when';
COMMENT ON COLUMN meter.incident_update.kind IS
'fired and recovered: an alert; acknowledged and note: by a person; resolved: the incident';
COMMENT ON COLUMN meter.incident_update.alert_id IS 'the alert; null: it is about the incident';
COMMENT ON COLUMN meter.incident_update.severity IS 'the alert''s severity';
COMMENT ON COLUMN meter.incident_update.message IS 'what there is to say';
COMMENT ON COLUMN meter.incident_update."by" IS 'which person; null: meter_evaluate_alerts()';
SELECT pg_catalog.pg_extension_config_dump('meter.incident_update', '');

-- Incidents are the operator's: they may have notes about more than one tenant.
CREATE POLICY own ON meter.incident AS RESTRICTIVE
USING (tenant IS NOT NULL OR (SELECT meter.visible_tenants()) IS NULL);
COMMENT ON POLICY own ON meter.incident IS 'A tenant sees what is its own alone';
CREATE POLICY own ON meter.incident_update AS RESTRICTIVE
USING (tenant IS NOT NULL OR (SELECT meter.visible_tenants()) IS NULL);
COMMENT ON POLICY own ON meter.incident_update IS 'A tenant sees what is its own alone';

-- Who calls this has locked meter.alert_evaluation, so that numbers are not given
-- twice.  What has begun and is not told yet has to come into an incident, what
-- is over and was told has to be noted in its own.
CREATE FUNCTION meter.incident_follow(at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
BEGIN
	INSERT INTO meter.incident (tenant, service, severity, title, opened_at)
	SELECT DISTINCT ON (a.tenant, a.service) a.tenant, a.service, a.severity, a.title, at
	FROM meter.alert AS a
	WHERE a.state = 'firing' AND a.told IS NULL AND NOT a.silenced AND a.severity <> 'info'
		AND NOT EXISTS (
			SELECT FROM meter.incident AS i
			WHERE i.status <> 'resolved' AND COALESCE(i.tenant, '') = COALESCE(a.tenant, '')
				AND COALESCE(i.service, '') = COALESCE(a.service, ''))
	ORDER BY a.tenant, a.service, meter.severity_rank(a.severity) DESC, a.rule, a.subject;

	WITH joined AS (
		UPDATE meter.alert AS a
		SET incident_id = i.incident_id
		FROM meter.incident AS i
		WHERE a.state = 'firing' AND a.told IS NULL AND NOT a.silenced AND a.severity <> 'info'
			AND i.status <> 'resolved' AND COALESCE(i.tenant, '') = COALESCE(a.tenant, '')
			AND COALESCE(i.service, '') = COALESCE(a.service, '')
		RETURNING a.alert_id, a.incident_id, a.tenant, a.severity, a.title, a.rule, a.subject
	), worst AS (
		SELECT DISTINCT ON (j.incident_id) j.incident_id, j.severity, j.title
		FROM joined AS j
		ORDER BY j.incident_id, meter.severity_rank(j.severity) DESC, j.rule, j.subject
	), changed AS (
		-- somebody has to look at it again
		UPDATE meter.incident AS i
		SET status = 'open',
			title = CASE WHEN meter.severity_rank(w.severity) > meter.severity_rank(i.severity)
				THEN w.title ELSE i.title END,
			severity = CASE WHEN meter.severity_rank(w.severity) > meter.severity_rank(i.severity)
				THEN w.severity ELSE i.severity END
		FROM worst AS w
		WHERE i.incident_id = w.incident_id
	)
	INSERT INTO meter.incident_update (incident_id, n, tenant, at, kind, alert_id, severity, message)
	SELECT j.incident_id, u.n + row_number() OVER (PARTITION BY j.incident_id
			ORDER BY meter.severity_rank(j.severity) DESC, j.rule, j.subject),
		j.tenant, at, 'fired', j.alert_id, j.severity, j.title
	FROM joined AS j
	CROSS JOIN LATERAL (
		SELECT COALESCE(max(u.n), 0) AS n FROM meter.incident_update AS u WHERE u.incident_id = j.incident_id
	) AS u;

	WITH ended AS MATERIALIZED (
		SELECT a.alert_id, a.incident_id, a.tenant, a.severity, a.title, a.rule, a.subject,
			CASE a.reason WHEN 'recovered' THEN '' ELSE ' (' || a.reason || ')' END AS why, u.n
		FROM meter.alert AS a
		CROSS JOIN LATERAL (
			SELECT COALESCE(max(u.n), 0) AS n FROM meter.incident_update AS u WHERE u.incident_id = a.incident_id
		) AS u
		WHERE a.state = 'resolved' AND a.told = 'firing' AND a.incident_id IS NOT NULL
	), resolved AS (
		UPDATE meter.incident AS i
		SET status = 'resolved', resolved_at = at
		WHERE i.status <> 'resolved' AND i.incident_id IN (SELECT o.incident_id FROM ended AS o)
			AND NOT EXISTS (
				SELECT FROM meter.alert AS a WHERE a.incident_id = i.incident_id AND a.state = 'firing')
		RETURNING i.incident_id, i.tenant
	)
	INSERT INTO meter.incident_update (incident_id, n, tenant, at, kind, alert_id, severity, message)
	SELECT l.incident_id, l.n + row_number() OVER (PARTITION BY l.incident_id
			ORDER BY l.alert_id IS NULL, meter.severity_rank(l.severity) DESC, l.rule, l.subject),
		l.tenant, at, l.kind, l.alert_id, l.severity, l.message
	FROM (
		SELECT o.incident_id, o.n, o.tenant, 'recovered' AS kind, o.alert_id, o.severity, o.title || o.why AS message,
			o.rule, o.subject
		FROM ended AS o
		UNION ALL
		SELECT r.incident_id, (SELECT max(o.n) FROM ended AS o WHERE o.incident_id = r.incident_id), r.tenant,
			'resolved', NULL, NULL, NULL, NULL, NULL
		FROM resolved AS r
	) AS l;
END
$$;
COMMENT ON FUNCTION meter.incident_follow(timestamptz) IS
'Part of meter_evaluate_alerts(): open incidents for alerts that have begun to fire, note in them which are over, and resolve those of which none fires';

-- Waits for an evaluation, which may be ending the alert.
CREATE FUNCTION @extschema@.meter_acknowledge(alert_id uuid, "by" text DEFAULT session_user,
	note text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	who CONSTANT text := COALESCE("by", session_user);
	found_alert meter.alert;
	is_new boolean;
BEGIN
	PERFORM FROM meter.alert_evaluation AS e FOR UPDATE;
	SELECT a.* INTO found_alert FROM meter.alert AS a
	WHERE a.alert_id = meter_acknowledge.alert_id FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'alert % does not exist', COALESCE(meter_acknowledge.alert_id::text, 'null')
			USING ERRCODE = 'undefined_object', HINT = 'Alerts are rows of meter.alert.';
	END IF;
	IF found_alert.state <> 'firing' THEN
		RAISE EXCEPTION 'alert % is %', meter_acknowledge.alert_id, found_alert.state
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = CASE found_alert.state WHEN 'resolved' THEN
					format('It has been over since %s.', found_alert.resolved_at)
					ELSE 'It has not fired yet.' END;
	END IF;
	is_new := found_alert.acknowledged_at IS NULL;
	IF is_new THEN
		UPDATE meter.alert AS a SET acknowledged_at = clock_timestamp(), acknowledged_by = who
		WHERE a.alert_id = found_alert.alert_id;
		UPDATE meter.incident AS i
		SET status = 'acknowledged', acknowledged_at = clock_timestamp(), acknowledged_by = who
		WHERE i.incident_id = found_alert.incident_id AND i.status <> 'resolved';
	END IF;
	INSERT INTO meter.incident_update (incident_id, n, tenant, at, kind, alert_id, severity, message, "by")
	SELECT found_alert.incident_id, u.n + 1, found_alert.tenant, clock_timestamp(),
		CASE WHEN is_new THEN 'acknowledged' ELSE 'note' END, found_alert.alert_id, found_alert.severity,
		meter_acknowledge.note, who
	FROM (
		SELECT COALESCE(max(u.n), 0) AS n FROM meter.incident_update AS u
		WHERE u.incident_id = found_alert.incident_id
	) AS u
	WHERE found_alert.incident_id IS NOT NULL AND (is_new OR meter_acknowledge.note IS NOT NULL);
	RETURN is_new;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_acknowledge(uuid, text, text) IS
'Say that somebody takes care of an alert that fires, and of its incident, with a note for the timeline. Returns true, or false if somebody did before; then only the note is added. Errors: 42704 for an unknown alert, 55000 for one that does not fire';
