-- late.sql: usage that changes late

CREATE TABLE meter.usage_late (
	tenant text COLLATE "C" NOT NULL,
	day date NOT NULL,
	last_day date NOT NULL CONSTRAINT usage_late_last_day_check CHECK (last_day >= day),
	seq bigint NOT NULL CONSTRAINT usage_late_seq_check CHECK (seq > 0),
	PRIMARY KEY (tenant, day)
);
COMMENT ON TABLE meter.usage_late IS
'Days (UTC) of tenants whose usage has changed late: events came, or were corrected, an hour or more after the end of their hour. Written by meter_rollup(). Whoever took a decision at a position of the log has to look again at the days with a higher seq';
COMMENT ON COLUMN meter.usage_late.tenant IS 'who is metered';
COMMENT ON COLUMN meter.usage_late.day IS 'day, UTC';
COMMENT ON COLUMN meter.usage_late.last_day IS
'last day whose usage may have changed by that: day, or for gauges, whose levels hold, infinity';
COMMENT ON COLUMN meter.usage_late.seq IS
'position of the log up to which meter_rollup() had come when it changed the day last';
SELECT pg_catalog.pg_extension_config_dump('meter.usage_late', '');

-- for who looks at a few days of all tenants each minute
CREATE INDEX usage_late_day_idx ON meter.usage_late (day, seq);

CREATE FUNCTION meter.usage_position() RETURNS bigint
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN COALESCE((SELECT last_seq FROM meter.consumer WHERE name = 'rollup'), 0);
COMMENT ON FUNCTION meter.usage_position() IS
'Position of the log up to which usage is rolled up; called in the query that reads the usage, it belongs to what that reads';
