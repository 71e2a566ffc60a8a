-- alert_evaluate.sql: looking at all alerts, exactly once for each crossing

CREATE TABLE meter.alert_evaluation (
	only_row boolean NOT NULL DEFAULT true
		CONSTRAINT alert_evaluation_only_row_check CHECK (only_row),
	evaluated_at timestamptz NOT NULL,
	PRIMARY KEY (only_row)
);
COMMENT ON TABLE meter.alert_evaluation IS
'When were alerts evaluated last? At most one row; who evaluates them locks it until the end of the transaction';
COMMENT ON COLUMN meter.alert_evaluation.only_row IS 'always true: there is one row';
COMMENT ON COLUMN meter.alert_evaluation.evaluated_at IS 'the instant as of which alerts were evaluated last';

-- All that it writes is one transaction with what it has sent, and the row is
-- locked to its end.  So another evaluation begins when this one has ended, and
-- sees what it has written, or nothing of it.  That needs a new snapshot after
-- waiting, which READ COMMITTED alone gives.
CREATE FUNCTION meter.alert_evaluate(at timestamptz,
	OUT fired bigint, OUT resolved bigint, OUT pending bigint, OUT firing bigint)
RETURNS record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	last_at timestamptz;
	-- how far clocks may be apart, and be set back
	skew CONSTANT interval := '5 minutes';
BEGIN
	IF at IS NULL OR NOT isfinite(at) OR at > clock_timestamp() + skew THEN
		RAISE EXCEPTION 'alerts cannot be evaluated as of %', COALESCE(at::text, 'null')
			USING ERRCODE = 'invalid_parameter_value', DETAIL = 'It must be an instant that is not in the future.';
	END IF;
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'alerts cannot be evaluated in a transaction that is %', current_setting('transaction_isolation')
			USING ERRCODE = 'feature_not_supported', HINT = 'Use READ COMMITTED.';
	END IF;
	INSERT INTO meter.alert_evaluation AS e (evaluated_at) VALUES (at) ON CONFLICT (only_row) DO NOTHING;
	SELECT e.evaluated_at INTO STRICT last_at FROM meter.alert_evaluation AS e FOR UPDATE;
	-- a clock that was set back must not stop it until it has caught up
	IF at < last_at AND last_at <= clock_timestamp() + skew THEN
		IF at < now() THEN
			RAISE EXCEPTION 'alerts were evaluated as of % already', last_at
				USING ERRCODE = 'object_not_in_prerequisite_state',
					DETAIL = format('They cannot be evaluated as of %s after that.', at),
					HINT = 'To evaluate the past anew, delete the rows of meter.alert and meter.alert_evaluation.';
		END IF;
		-- by another session, which we have waited for
		at := last_at;
	END IF;

	SELECT j.fired, j.resolved INTO fired, resolved FROM meter.alert_judge(at) AS j;
	PERFORM meter.incident_follow(at);
	PERFORM meter.notification_send(at);
	UPDATE meter.alert_evaluation AS e SET evaluated_at = at WHERE e.evaluated_at <> at;
	SELECT count(*) FILTER (WHERE a.state = 'pending'), count(*) FILTER (WHERE a.state = 'firing')
	INTO pending, firing
	FROM meter.alert AS a WHERE a.state <> 'resolved';
END
$$;
COMMENT ON FUNCTION meter.alert_evaluate(timestamptz) IS
'Part of meter_evaluate_alerts(), which does it with the rights of the extension''s owner';

CREATE FUNCTION @extschema@.meter_evaluate_alerts(at timestamptz DEFAULT now(),
	OUT fired bigint, OUT resolved bigint, OUT pending bigint, OUT firing bigint)
RETURNS record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_evaluate_alerts(timestamptz) IS
'Compare all signals with the rules in meter.alert_rule as of an instant: begin, go on with and end alerts, open and resolve incidents, and notify, each once however many sessions do it at the same time. Returns how many have begun to fire and how many are over, by this call, and how many are pending and firing now. Run it every minute. Errors: 22023 for an instant in the future, 55000 for one before the last time, 42501 in a session that does not see all tenants, 0A000 unless in READ COMMITTED';

-- The rules that were made so far have come with the extension.
UPDATE meter.alert_rule SET builtin = true;
