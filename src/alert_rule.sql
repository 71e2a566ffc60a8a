-- alert_rule.sql: when there is to be an alert

CREATE TABLE meter.alert_rule (
	rule text COLLATE "C" NOT NULL
		CONSTRAINT alert_rule_rule_check CHECK (octet_length(rule) BETWEEN 1 AND 64
			AND rule !~ '[[:cntrl:]]' AND rule ~ '[^ ]' AND right(rule, 1) <> '*'),
	signal text COLLATE "C" NOT NULL,
	severity text COLLATE "C" NOT NULL DEFAULT 'warning'
		CONSTRAINT alert_rule_severity_check CHECK (
			meter.word_check(severity, 'alert_rule_severity_check', ARRAY['info', 'warning', 'critical'])),
	-- NaN is above Infinity
	threshold numeric NOT NULL
		CONSTRAINT alert_rule_threshold_check CHECK (threshold >= 0 AND threshold < 'Infinity'),
	resolve_below numeric
		CONSTRAINT alert_rule_resolve_below_check CHECK (resolve_below > 0),
	"window" interval NOT NULL DEFAULT '1 hour'
		CONSTRAINT alert_rule_window_check CHECK ("window" >= '1 minute' AND "window" <= '90 days'),
	for_duration interval NOT NULL DEFAULT '0'
		CONSTRAINT alert_rule_for_duration_check CHECK (for_duration >= '0' AND for_duration <= '30 days'),
	no_data_after interval NOT NULL DEFAULT '15 minutes'
		CONSTRAINT alert_rule_no_data_after_check CHECK (no_data_after >= '0' AND no_data_after <= '90 days'),
	min_events bigint NOT NULL DEFAULT 0
		CONSTRAINT alert_rule_min_events_check CHECK (min_events >= 0),
	tenant text COLLATE "C"
		CONSTRAINT alert_rule_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	service text COLLATE "C"
		CONSTRAINT alert_rule_service_check CHECK (octet_length(service) BETWEEN 1 AND 64
			AND service !~ '[[:cntrl:]]'),
	enabled boolean NOT NULL DEFAULT true,
	params jsonb NOT NULL DEFAULT '{}'
		CONSTRAINT alert_rule_params_check CHECK (jsonb_typeof(params) = 'object'),
	description text,
	builtin boolean NOT NULL DEFAULT false,
	changed_at timestamptz,
	PRIMARY KEY (rule),
	CONSTRAINT alert_rule_hysteresis_check CHECK (resolve_below <= threshold)
);
COMMENT ON TABLE meter.alert_rule IS
'When is there to be an alert? One row per rule; those that are built in can be changed and disabled, and others added. meter_evaluate_alerts() compares the value of the rule''s signal, for each tenant and service that it is about, with the threshold';
COMMENT ON COLUMN meter.alert_rule.rule IS 'name, at most 64 bytes, with no * at its end';
COMMENT ON COLUMN meter.alert_rule.signal IS 'what is measured, one of meter.alert_signal';
COMMENT ON COLUMN meter.alert_rule.severity IS 'info, warning or critical; info opens no incident';
COMMENT ON COLUMN meter.alert_rule.threshold IS
'there is an alert while the value is this or more, 0 or more, in the signal''s unit; a budget has thresholds of its own, so that it is not looked at for those';
COMMENT ON COLUMN meter.alert_rule.resolve_below IS
'an alert that fires ends when the value is below this, above 0, at most the threshold; null: below the threshold';
COMMENT ON COLUMN meter.alert_rule."window" IS 'how far back is measured, 1 minute to 90 days';
COMMENT ON COLUMN meter.alert_rule.for_duration IS
'how long the value has to stay at the threshold or above until the alert fires, 0 to 30 days; meanwhile it is pending';
COMMENT ON COLUMN meter.alert_rule.no_data_after IS
'how long an alert that fires goes on without a value until it ends, 0 to 90 days';
COMMENT ON COLUMN meter.alert_rule.min_events IS
'where the window has fewer events there is no value, so that a single failure of a small tenant is no alert';
COMMENT ON COLUMN meter.alert_rule.tenant IS 'the tenant for whom the rule is; null: each';
COMMENT ON COLUMN meter.alert_rule.service IS 'the service for which the rule is; null: each';
COMMENT ON COLUMN meter.alert_rule.enabled IS 'false: there are no such alerts, and those there are end';
COMMENT ON COLUMN meter.alert_rule.params IS
'what only some signals need, an object; short_window: of burn_rate, the second, shorter window; min_errors: of error_rate, server_error_rate and rate_429, how many errors it takes at least; min_cost: of cost_spike, how much cost; min_bytes: of storage_growth, how large it is at least; metric: of gauge_level, which gauge, and of no_usage, whose events, api_requests if not given; dims: of gauge_level, dimensions that it has to have. Which ones a signal knows is in meter.alert_signal';
COMMENT ON COLUMN meter.alert_rule.description IS 'what the rule is for, for people';
COMMENT ON COLUMN meter.alert_rule.builtin IS 'whether the extension has brought the rule';
COMMENT ON COLUMN meter.alert_rule.changed_at IS
'when a rule that is built in was changed; null: it is as it came';

CREATE FUNCTION meter.alert_param_problem(param text, given jsonb, "window" interval) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	type CONSTANT text := jsonb_typeof(given);
	word CONSTANT text := given #>> '{}';
BEGIN
	IF param = 'short_window' THEN
		RETURN CASE WHEN type <> 'string' THEN 'It must be an interval, such as "5 minutes".'
			WHEN word::interval < interval '1 minute' THEN 'It must be 1 minute or more.'
			WHEN word::interval > "window" THEN 'It must not be longer than the window.' END;
	ELSIF param = 'metric' THEN
		RETURN CASE WHEN type <> 'string' THEN 'It must be the name of a metric, a string.'
			WHEN octet_length(word) NOT BETWEEN 1 AND 64 OR word ~ '[[:cntrl:]]' OR word !~ '[^ ]'
				THEN 'No metric can have that name.' END;
	ELSIF param = 'dims' THEN
		RETURN CASE WHEN type <> 'object' THEN 'It must be an object, such as {"region": "eu"}.'
			WHEN octet_length(word) > 8192 THEN 'It is longer than 8192 bytes.'
			-- as of a price; true, or an error that tells which
			WHEN NOT meter.dims_check(given) THEN 'No usage has it.' END;
	END IF;
	-- some are reckoned with as double precision
	RETURN CASE WHEN type <> 'number' THEN 'It must be a number of 0 or more.'
		WHEN word::double precision < 0 THEN 'It must be a number of 0 or more.' END;
EXCEPTION WHEN data_exception THEN
	RETURN CASE param WHEN 'short_window' THEN 'It must be an interval, such as "5 minutes".'
		WHEN 'dims' THEN upper(left(SQLERRM, 1)) || substr(SQLERRM, 2) || '.'
		ELSE 'It is out of range.' END;
END
$$;
COMMENT ON FUNCTION meter.alert_param_problem(text, jsonb, interval) IS
'Part of meter.alert_rule_check(): what is wrong with a parameter of a rule with such a window; null: nothing';

-- A dump has the built-in rules that were changed, and where it is restored
-- CREATE EXTENSION has just brought them as they are by default.  So one that is
-- inserted takes the place of the one that is there.
CREATE FUNCTION meter.alert_rule_check() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known text[];
	required CONSTANT text := CASE NEW.signal WHEN 'burn_rate' THEN 'short_window' WHEN 'gauge_level' THEN 'metric' END;
	param text;
	given jsonb;
	problem text;
BEGIN
	SELECT s.params INTO known FROM meter.alert_signal AS s WHERE s.signal = NEW.signal;
	IF NOT FOUND AND NEW.signal IS NOT NULL THEN
		RAISE EXCEPTION 'unknown signal "%" of alert rule "%"', NEW.signal, NEW.rule
			USING ERRCODE = 'invalid_parameter_value',
				HINT = format('It is one of %s.', (SELECT string_agg(s.signal, ', ') FROM meter.alert_signal AS s)),
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'signal';
	END IF;
	IF NEW.signal = 'no_usage' AND NEW.threshold > 7 * 86400 THEN
		RAISE EXCEPTION 'invalid threshold of alert rule "%"', NEW.rule
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'The signal no_usage is 604800 at most: the seconds of 7 days.',
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'threshold';
	END IF;
	-- what cannot be read would stop the evaluation of all
	FOR param, given IN SELECT p.key, p.value
			FROM jsonb_each(CASE jsonb_typeof(NEW.params) WHEN 'object' THEN NEW.params END) AS p
	LOOP
		IF param <> ALL (known) THEN
			RAISE EXCEPTION 'unknown parameter "%" of alert rule "%"', param, NEW.rule
				USING ERRCODE = 'invalid_parameter_value',
					HINT = CASE WHEN known = '{}' THEN format('The signal %s knows none.', NEW.signal)
						ELSE format('The signal %s knows %s.', NEW.signal, array_to_string(known, ', ')) END,
					SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'params';
		END IF;
		problem := meter.alert_param_problem(param, given, NEW."window");
		EXIT WHEN problem IS NOT NULL;
	END LOOP;
	IF problem IS NULL AND NOT NEW.params ? required THEN
		param := required;
		problem := format('The signal %s needs it.', NEW.signal);
	END IF;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'invalid parameter "%" of alert rule "%"', param, NEW.rule
			USING ERRCODE = 'invalid_parameter_value', DETAIL = problem,
				SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, COLUMN = 'params';
	END IF;
	IF TG_OP = 'INSERT' AND NEW.builtin THEN
		DELETE FROM meter.alert_rule AS r WHERE r.rule = NEW.rule AND r.builtin;
	ELSIF TG_OP = 'UPDATE' AND NEW.builtin AND OLD.builtin AND NEW IS DISTINCT FROM OLD
		AND NEW.changed_at IS NOT DISTINCT FROM OLD.changed_at THEN
		NEW.changed_at := clock_timestamp();
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION meter.alert_rule_check() IS
'Trigger of meter.alert_rule: refuses signals and parameters that cannot be, has a built-in rule from a dump take the place of the one that is there, and notes when one is changed. Errors: 22023';

CREATE TRIGGER alert_rule_check
BEFORE INSERT OR UPDATE ON meter.alert_rule
FOR EACH ROW EXECUTE FUNCTION meter.alert_rule_check();

-- also for what logical replication brings
ALTER TABLE meter.alert_rule ENABLE ALWAYS TRIGGER alert_rule_check;

SELECT pg_catalog.pg_extension_config_dump('meter.alert_rule', 'WHERE NOT builtin OR changed_at IS NOT NULL');

-- One place for what is to be said of each signal.  An alert is told as the
-- event; where the threshold is 100 or the severity critical, as the worse one.
CREATE VIEW meter.alert_signal AS
SELECT s.signal, s.label, s.unit, s.event, s.worse_event, s.worse_from, s.of_health, s.params
FROM (VALUES
	('budget', 'budget used', '%', 'api.budget.warning', 'api.budget.exceeded', 100, false, '{}'::text[]),
	('quota', 'quota used', '%', 'api.quota.warning', 'api.quota.exceeded', 100, false, '{}'),
	('error_rate', 'errors', '%', 'api.health.degraded', 'api.health.unhealthy', NULL, true, '{min_errors}'),
	('server_error_rate', 'server errors', '%', 'api.health.degraded', 'api.health.unhealthy', NULL, true, '{min_errors}'),
	('latency_p95', 'latency (p95)', 'ms', 'api.health.degraded', 'api.health.unhealthy', NULL, true, '{}'),
	('latency_avg', 'average latency', 'ms', 'api.health.degraded', 'api.health.unhealthy', NULL, true, '{}'),
	('rate_429', 'requests over the limit', '%', 'api.rate_limit.exceeded', 'api.rate_limit.exceeded', NULL, false, '{min_errors}'),
	('request_spike', 'requests', 'times the normal', 'api.anomaly.detected', 'api.anomaly.detected', NULL, false, '{}'),
	('cost_spike', 'cost', 'times the normal', 'api.anomaly.detected', 'api.anomaly.detected', NULL, false, '{min_cost}'),
	('storage_growth', 'growth of storage', '%', 'api.anomaly.detected', 'api.anomaly.detected', NULL, false, '{min_bytes}'),
	('pipeline_lag', 'lag of the pipeline', 's', 'api.pipeline.stale', 'api.pipeline.stale', NULL, false, '{}'),
	('rejected_events', 'rejected events', NULL, 'api.events.rejected', 'api.events.rejected', NULL, false, '{}'),
	('isolation_violation', 'isolation violations', NULL, 'api.isolation.alert', 'api.isolation.alert', NULL, false, '{}'),
	('burn_rate', 'error budget burnt', 'times as fast as allowed', 'api.slo.burning', 'api.slo.burning', NULL, false, '{short_window}'),
	('gauge_level', 'level', NULL, 'api.level.high', 'api.level.high', NULL, false, '{metric,dims}'),
	('no_usage', 'time without usage', 's', 'api.usage.missing', 'api.usage.missing', NULL, false, '{metric}')
) AS s(signal, label, unit, event, worse_event, worse_from, of_health, params);
COMMENT ON VIEW meter.alert_signal IS
'What can alert rules measure, in which unit, by which parameters, and as which event is an alert told?';
COMMENT ON COLUMN meter.alert_signal.signal IS 'meter.alert_rule.signal';
COMMENT ON COLUMN meter.alert_signal.label IS 'what the value is, for people';
COMMENT ON COLUMN meter.alert_signal.unit IS 'unit of value and threshold, for people; null: a number of things';
COMMENT ON COLUMN meter.alert_signal.event IS 'event on channel meter when such an alert fires';
COMMENT ON COLUMN meter.alert_signal.worse_event IS 'the same from the threshold worse_from on or, without one, if it is critical';
COMMENT ON COLUMN meter.alert_signal.worse_from IS 'threshold from which on worse_event is told; null: the severity decides';
COMMENT ON COLUMN meter.alert_signal.of_health IS
'whether the end of the last such alert of a tenant and service is told as api.health.recovered';
COMMENT ON COLUMN meter.alert_signal.params IS 'which keys meter.alert_rule.params may have';
