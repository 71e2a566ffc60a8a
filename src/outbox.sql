-- outbox.sql: usage on its way to a payment provider

CREATE TABLE meter.outbox_meter (
	event_name text COLLATE "C" NOT NULL
		CONSTRAINT outbox_meter_event_name_check CHECK (octet_length(event_name) BETWEEN 1 AND 100
			AND event_name !~ '[[:cntrl:]]' AND event_name ~ '[^ ]'),
	metric text COLLATE "C" NOT NULL
		CONSTRAINT outbox_meter_metric_check CHECK (octet_length(metric) BETWEEN 1 AND 64
			AND metric !~ '[[:cntrl:]]' AND metric ~ '[^ ]'),
	dims jsonb NOT NULL DEFAULT '{}'
		CONSTRAINT outbox_meter_dims_check CHECK (jsonb_typeof(dims) = 'object'
			AND meter.dims_check(dims)),
	aggregation text NOT NULL DEFAULT 'sum'
		CONSTRAINT outbox_meter_aggregation_check CHECK (
			meter.word_check(aggregation, 'outbox_meter_aggregation_check', ARRAY['sum', 'count'])),
	-- NaN is above Infinity
	multiplier numeric NOT NULL DEFAULT 1
		CONSTRAINT outbox_meter_multiplier_check CHECK (multiplier > 0 AND multiplier < 'Infinity'),
	digits smallint NOT NULL DEFAULT 0
		CONSTRAINT outbox_meter_digits_check CHECK (digits BETWEEN 0 AND 12),
	negative text NOT NULL DEFAULT 'net'
		CONSTRAINT outbox_meter_negative_check CHECK (
			meter.word_check(negative, 'outbox_meter_negative_check', ARRAY['net', 'send'])),
	since timestamptz NOT NULL DEFAULT date_trunc('hour', now(), 'UTC')
		CONSTRAINT outbox_meter_since_check CHECK (isfinite(since)),
	grace interval NOT NULL DEFAULT '1 hour'
		CONSTRAINT outbox_meter_grace_check CHECK (grace >= '0' AND grace <= '31 days'),
	max_age interval NOT NULL DEFAULT '34 days'
		CONSTRAINT outbox_meter_max_age_check CHECK (max_age >= '1 hour' AND max_age <= '10 years'),
	retry_for interval NOT NULL DEFAULT '23 hours'
		CONSTRAINT outbox_meter_retry_for_check CHECK (retry_for >= '1 minute' AND retry_for <= '10 years'),
	max_attempts integer NOT NULL DEFAULT 20
		CONSTRAINT outbox_meter_max_attempts_check CHECK (max_attempts BETWEEN 1 AND 1000),
	customer_key text NOT NULL DEFAULT 'stripe_customer_id'
		CONSTRAINT outbox_meter_customer_key_check CHECK (octet_length(customer_key) BETWEEN 1 AND 100),
	value_key text NOT NULL DEFAULT 'value'
		CONSTRAINT outbox_meter_value_key_check CHECK (octet_length(value_key) BETWEEN 1 AND 100
			AND value_key <> customer_key),
	enabled boolean NOT NULL DEFAULT true,
	description text,
	looked_through timestamptz,
	forgotten_before timestamptz NOT NULL DEFAULT '-infinity',
	PRIMARY KEY (event_name)
);
COMMENT ON TABLE meter.outbox_meter IS
'What usage goes to the payment provider, and as which of its meters: one row per meter. meter_outbox_fill() makes rows of meter.billing_outbox from the closed hours of these metrics';
COMMENT ON COLUMN meter.outbox_meter.event_name IS 'the provider''s name of the meter, at most 100 bytes';
COMMENT ON COLUMN meter.outbox_meter.metric IS 'the metric whose usage is sent; a counter';
COMMENT ON COLUMN meter.outbox_meter.dims IS 'usage counts if its dims contain these; {} is all';
COMMENT ON COLUMN meter.outbox_meter.aggregation IS 'sum: of quantities; count: of events';
COMMENT ON COLUMN meter.outbox_meter.multiplier IS
'by what usage is multiplied to be in the provider''s unit, such as 1024 for GB sent as MB; above 0';
COMMENT ON COLUMN meter.outbox_meter.digits IS
'decimals that the provider takes, 0 to 12: with 0, whole numbers; what is less is carried into the tenant''s next hour';
COMMENT ON COLUMN meter.outbox_meter.negative IS
'what becomes of an hour of which too much was sent: net it against later usage of the tenant, or send a negative value';
COMMENT ON COLUMN meter.outbox_meter.since IS 'the first hour that is sent';
COMMENT ON COLUMN meter.outbox_meter.grace IS
'how long after its end an hour is closed: usage that comes later is sent as a difference';
COMMENT ON COLUMN meter.outbox_meter.max_age IS
'hours that began longer ago are not sent any more: the provider refuses times that old';
COMMENT ON COLUMN meter.outbox_meter.retry_for IS
'how long after it was first claimed a row may be sent again: the provider forgets identifiers after that, and would count the row twice';
COMMENT ON COLUMN meter.outbox_meter.max_attempts IS 'after so many claims without success a row is dead';
COMMENT ON COLUMN meter.outbox_meter.customer_key IS 'key of the customer''s id in the payload';
COMMENT ON COLUMN meter.outbox_meter.value_key IS 'key of the value in the payload';
COMMENT ON COLUMN meter.outbox_meter.enabled IS 'false: nothing new is sent; on again, what has been left out is sent then';
COMMENT ON COLUMN meter.outbox_meter.description IS 'what the meter is, for people';
COMMENT ON COLUMN meter.outbox_meter.looked_through IS
'set by meter_outbox_fill(): hours before this were looked at; null has it look at all';
COMMENT ON COLUMN meter.outbox_meter.forgotten_before IS
'set by meter_maintain(): what was sent of hours before this is not known any more, so they are never looked at again';
SELECT pg_catalog.pg_extension_config_dump('meter.outbox_meter', '');

CREATE TABLE meter.outbox_hour (
	event_name text COLLATE "C" NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	hour timestamptz NOT NULL,
	value numeric NOT NULL,
	sent numeric NOT NULL DEFAULT 0,
	moved numeric NOT NULL DEFAULT 0,
	version integer NOT NULL DEFAULT 0,
	held text
		CONSTRAINT outbox_hour_held_check CHECK (held = ANY (ARRAY['customer', 'age', 'negative', 'fraction'])),
	PRIMARY KEY (event_name, tenant, hour)
);
COMMENT ON TABLE meter.outbox_hour IS
'How much of each tenant''s hour went to the payment provider, written by meter_outbox_fill(). An hour is settled when value = sent + moved; moved adds up to 0 over the hours of a tenant and meter, but for those that meter_maintain() has deleted';
COMMENT ON COLUMN meter.outbox_hour.event_name IS 'meter, see meter.outbox_meter';
COMMENT ON COLUMN meter.outbox_hour.tenant IS 'whose usage';
COMMENT ON COLUMN meter.outbox_hour.hour IS 'start of the hour';
COMMENT ON COLUMN meter.outbox_hour.value IS 'its usage in the provider''s unit, as last seen in meter.usage_hourly';
COMMENT ON COLUMN meter.outbox_hour.sent IS 'sum of its rows in meter.billing_outbox, without those that were withdrawn';
COMMENT ON COLUMN meter.outbox_hour.moved IS
'what rows of other hours carry for this one: fractions, and what was netted against an hour of which too much was sent';
COMMENT ON COLUMN meter.outbox_hour.version IS 'version of its last row';
COMMENT ON COLUMN meter.outbox_hour.held IS
'why the rest is not sent: customer (the tenant has none), age (too old), negative (waits for later usage), fraction (less than the provider takes); null if nothing is left or it was not looked at yet';
CREATE INDEX outbox_hour_open_idx ON meter.outbox_hour (event_name, tenant)
	WHERE value <> sent + moved;
-- what has changed since the last time, among what may be held back for months
CREATE INDEX outbox_hour_new_idx ON meter.outbox_hour (event_name, tenant)
	WHERE value <> sent + moved AND held IS NULL;
-- what waits for a tenant to get a customer
CREATE INDEX outbox_hour_customer_idx ON meter.outbox_hour (event_name, tenant)
	WHERE value <> sent + moved AND held = 'customer';
SELECT pg_catalog.pg_extension_config_dump('meter.outbox_hour', '');

CREATE TABLE meter.billing_outbox (
	identifier text COLLATE "C" NOT NULL
		CONSTRAINT billing_outbox_identifier_check CHECK (octet_length(identifier) BETWEEN 1 AND 100),
	event_name text COLLATE "C" NOT NULL,
	tenant text COLLATE "C" NOT NULL,
	hour timestamptz NOT NULL,
	version integer NOT NULL,
	customer text NOT NULL,
	value numeric NOT NULL
		CONSTRAINT billing_outbox_value_check CHECK (value > '-Infinity' AND value < 'Infinity' AND value <> 0),
	state text NOT NULL DEFAULT 'pending'
		CONSTRAINT billing_outbox_state_check CHECK (state = ANY (ARRAY['pending', 'sent', 'dead', 'withdrawn'])),
	due_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	attempts integer NOT NULL DEFAULT 0,
	worker text,
	error text,
	created_at timestamptz NOT NULL DEFAULT now(),
	first_claimed_at timestamptz,
	claimed_at timestamptz,
	ended_at timestamptz,
	PRIMARY KEY (identifier),
	CONSTRAINT billing_outbox_version_key UNIQUE (event_name, tenant, hour, version)
);
COMMENT ON TABLE meter.billing_outbox IS
'Usage to be sent to the payment provider: one row is one of its meter events. Made by meter_outbox_fill(), claimed by meter_outbox_claim(), and ended by meter_outbox_ack()';
COMMENT ON COLUMN meter.billing_outbox.identifier IS
'idempotency key: derived from meter, tenant, hour and version, so it is the same whenever the row is made anew';
COMMENT ON COLUMN meter.billing_outbox.event_name IS 'the provider''s name of the meter';
COMMENT ON COLUMN meter.billing_outbox.tenant IS 'whose usage';
COMMENT ON COLUMN meter.billing_outbox.hour IS 'hour of the usage; its start is the event''s time';
COMMENT ON COLUMN meter.billing_outbox.version IS '1 for the first row of an hour; each difference is a further one';
COMMENT ON COLUMN meter.billing_outbox.customer IS 'the tenant''s id at the provider when the row was made';
COMMENT ON COLUMN meter.billing_outbox.value IS 'usage in the provider''s unit; of version 2 and later only the difference';
COMMENT ON COLUMN meter.billing_outbox.state IS
'pending: to be sent, perhaps claimed; sent: acknowledged; dead: given up, see error; withdrawn: taken back before anybody had claimed it';
COMMENT ON COLUMN meter.billing_outbox.due_at IS
'when it may be claimed (again): the end of the lease of whoever has claimed it, or of the pause after a failure';
COMMENT ON COLUMN meter.billing_outbox.expires_at IS 'after this it is not to be sent any more';
COMMENT ON COLUMN meter.billing_outbox.attempts IS 'how often it was claimed';
COMMENT ON COLUMN meter.billing_outbox.worker IS 'who claimed it last';
COMMENT ON COLUMN meter.billing_outbox.error IS 'what the last failure was';
COMMENT ON COLUMN meter.billing_outbox.created_at IS 'when it was made';
COMMENT ON COLUMN meter.billing_outbox.first_claimed_at IS 'when it was claimed first';
COMMENT ON COLUMN meter.billing_outbox.claimed_at IS 'when it was claimed last';
COMMENT ON COLUMN meter.billing_outbox.ended_at IS 'when it was acknowledged, given up or withdrawn';
-- a claim reads the first rows of this, never those that are leased or wait
CREATE INDEX billing_outbox_due_idx ON meter.billing_outbox (due_at, hour, identifier)
	WHERE state = 'pending';
CREATE INDEX billing_outbox_expires_idx ON meter.billing_outbox (expires_at)
	WHERE state = 'pending';
CREATE INDEX billing_outbox_ended_idx ON meter.billing_outbox (ended_at)
	WHERE state = ANY (ARRAY['sent', 'withdrawn']);
CREATE INDEX billing_outbox_dead_idx ON meter.billing_outbox (ended_at)
	WHERE state = 'dead';
SELECT pg_catalog.pg_extension_config_dump('meter.billing_outbox', '');

-- What was sent would be compared with something else, and the difference sent.
CREATE FUNCTION meter.outbox_meter_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	sent_name text := OLD.event_name;
BEGIN
	IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE'
			OR (NEW.event_name, NEW.metric, NEW.dims, NEW.aggregation, NEW.multiplier)
				IS DISTINCT FROM (OLD.event_name, OLD.metric, OLD.dims, OLD.aggregation, OLD.multiplier))
		AND EXISTS (SELECT FROM meter.outbox_hour AS h WHERE h.event_name = sent_name) THEN
		RAISE EXCEPTION '% meter "%", of which usage was sent',
				CASE TG_OP WHEN 'DELETE' THEN 'cannot delete' ELSE 'cannot change what is counted by' END, sent_name
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'What was sent is compared with the usage, to send the difference.',
				HINT = 'Set enabled to false, and add a meter of another name.';
	END IF;
	IF TG_OP = 'DELETE' THEN
		RETURN OLD;
	ELSIF TG_OP = 'INSERT' AND NEW.looked_through IS NOT NULL THEN
		-- restored: it was right when it was saved, and goes on where it was
		RETURN NEW;
	END IF;
	-- what has become a gauge can be disabled
	IF (TG_OP = 'INSERT' OR NEW.enabled)
		AND EXISTS (SELECT FROM meter.metric AS m WHERE m.metric = NEW.metric AND m.kind = 'gauge') THEN
		RAISE EXCEPTION 'metric "%" is a gauge', NEW.metric
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'The samples of a level do not add up.',
				HINT = 'Send a counter, such as one of unit-hours.';
	END IF;
	IF TG_OP = 'UPDATE' THEN
		UPDATE meter.outbox_hour AS h SET held = NULL
		WHERE h.event_name = NEW.event_name AND h.value <> h.sent + h.moved AND h.held <> 'customer';
	END IF;
	NEW.looked_through := NULL;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION meter.outbox_meter_changed() IS
'Trigger of meter.outbox_meter: has all hours of a changed meter looked at, and refuses changes of what was counted of a meter of which usage was sent. Errors: 22023, 55000';

CREATE TRIGGER outbox_meter_changed
BEFORE INSERT OR DELETE OR UPDATE OF event_name, metric, dims, aggregation, multiplier, digits, negative, since,
	max_age, enabled
ON meter.outbox_meter
FOR EACH ROW EXECUTE FUNCTION meter.outbox_meter_changed();

CREATE FUNCTION @extschema@.meter_outbox_claim(
	n integer,
	lease interval DEFAULT '5 minutes',
	worker text DEFAULT NULL)
RETURNS TABLE (identifier text, event_name text, "timestamp" bigint, payload jsonb, tenant text,
	hour timestamptz, value numeric, attempt integer)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF n IS NULL OR n NOT BETWEEN 1 AND 10000 THEN
		RAISE EXCEPTION 'n must be from 1 to 10000'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF lease IS NULL OR lease < '1 second' OR lease > '1 day' THEN
		RAISE EXCEPTION 'lease must be from 1 second to 1 day'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	RETURN QUERY
	WITH due AS MATERIALIZED (
		SELECT o.identifier, m.retry_for, m.max_attempts
		FROM meter.billing_outbox AS o
		LEFT JOIN meter.outbox_meter AS m ON m.event_name = o.event_name
		WHERE o.state = 'pending' AND o.due_at <= statement_timestamp()
			AND o.expires_at > statement_timestamp()
		ORDER BY o.due_at, o.hour, o.identifier
		LIMIT n
		FOR UPDATE OF o SKIP LOCKED
	), claimed AS (
		UPDATE meter.billing_outbox AS o
		SET attempts = o.attempts + 1,
			due_at = clock_timestamp() + lease,
			-- from the first claim on, as that is when the provider may have learned the identifier;
			-- and the last claim that is allowed ends with its lease
			expires_at = LEAST(o.expires_at,
				CASE WHEN o.first_claimed_at IS NULL THEN clock_timestamp() + d.retry_for END,
				CASE WHEN o.attempts + 1 >= d.max_attempts THEN clock_timestamp() + lease END),
			first_claimed_at = COALESCE(o.first_claimed_at, clock_timestamp()),
			claimed_at = clock_timestamp(),
			worker = left(meter_outbox_claim.worker, 128)
		FROM due AS d
		WHERE o.identifier = d.identifier
		RETURNING o.*
	)
	SELECT c.identifier, c.event_name, extract(epoch FROM c.hour)::bigint,
		jsonb_build_object(COALESCE(m.customer_key, 'stripe_customer_id'), c.customer,
			COALESCE(m.value_key, 'value'), trim_scale(c.value)::text),
		c.tenant, c.hour, c.value, c.attempts
	FROM claimed AS c
	LEFT JOIN meter.outbox_meter AS m ON m.event_name = c.event_name
	ORDER BY c.hour, c.event_name, c.tenant, c.version;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_outbox_claim(integer, interval, text) IS
'Claim up to n (1 to 10000) rows of meter.billing_outbox for the payment provider, those due longest first, and return them as its meter events: identifier, event_name, timestamp (Unix seconds), payload (customer and value as texts). Nobody else gets them before the lease (1 second to 1 day) ends; commit before sending, and call meter_outbox_ack() after. What is not acknowledged by then can be claimed again. worker is noted, for people. Errors: 22023';

CREATE FUNCTION @extschema@.meter_outbox_ack(identifiers text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ended integer;
BEGIN
	-- in one order, so that two of the same rows cannot wait for each other;
	-- also by who was too late: what the provider has is sent
	WITH mine AS MATERIALIZED (
		SELECT o.identifier
		FROM meter.billing_outbox AS o
		WHERE o.identifier = ANY (identifiers) AND o.state = ANY (ARRAY['pending', 'dead'])
			AND o.first_claimed_at IS NOT NULL
		ORDER BY o.identifier
		FOR UPDATE
	)
	UPDATE meter.billing_outbox AS o
	SET state = 'sent', ended_at = clock_timestamp(), error = NULL
	FROM mine AS m
	WHERE o.identifier = m.identifier;
	GET DIAGNOSTICS ended = ROW_COUNT;
	RETURN ended;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_outbox_ack(text[]) IS
'Acknowledge rows of meter.billing_outbox that the payment provider has taken, and return how many were not acknowledged before. A row that nobody has claimed does not count';

CREATE FUNCTION @extschema@.meter_outbox_fail(
	identifier text,
	error text,
	retry_after interval DEFAULT NULL,
	worker text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_row meter.billing_outbox;
	next_at timestamptz;
	tries integer;
BEGIN
	IF retry_after < '0' OR retry_after > '10 years' THEN
		RAISE EXCEPTION 'retry_after must be from 0 to 10 years'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT o.* INTO found_row FROM meter.billing_outbox AS o
	WHERE o.identifier = meter_outbox_fail.identifier FOR UPDATE;
	-- by somebody whose lease has ended, it may be another's now
	IF NOT FOUND OR found_row.state <> 'pending' OR found_row.first_claimed_at IS NULL
		OR meter_outbox_fail.worker IS NOT NULL AND found_row.worker IS DISTINCT FROM meter_outbox_fail.worker THEN
		RETURN found_row.state;
	END IF;
	tries := COALESCE((SELECT m.max_attempts FROM meter.outbox_meter AS m
		WHERE m.event_name = found_row.event_name), 20);
	next_at := clock_timestamp() + COALESCE(retry_after,
		LEAST(interval '1 hour', interval '15 seconds' * power(2, LEAST(found_row.attempts, 20) - 1)));
	UPDATE meter.billing_outbox AS o
	SET error = left(meter_outbox_fail.error, 1000),
		due_at = next_at,
		state = CASE WHEN found_row.attempts >= tries OR next_at >= o.expires_at THEN 'dead' ELSE 'pending' END,
		ended_at = CASE WHEN found_row.attempts >= tries OR next_at >= o.expires_at THEN clock_timestamp() END
	WHERE o.identifier = meter_outbox_fail.identifier
	RETURNING o.state INTO found_row.state;
	RETURN found_row.state;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_outbox_fail(text, text, interval, text) IS
'Say that a claimed row of meter.billing_outbox could not be sent: it can be claimed again after retry_after (null: 15 seconds, doubled with each attempt, at most an hour), or is dead after max_attempts of its meter, or if that would be too late. Returns the state the row is in: pending, dead, or sent if somebody else has acknowledged it; null if there is none. With worker, only if that one has claimed it last. Errors: 22023';

CREATE FUNCTION @extschema@.meter_outbox_retry(identifiers text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	revived integer;
BEGIN
	WITH mine AS MATERIALIZED (
		SELECT o.identifier, o.hour + m.max_age AS expires_at
		FROM meter.billing_outbox AS o
		JOIN meter.outbox_meter AS m ON m.event_name = o.event_name
		WHERE o.identifier = ANY (identifiers) AND o.state = 'dead'
			AND o.hour + m.max_age > clock_timestamp()
		ORDER BY o.identifier
		FOR UPDATE OF o
	)
	UPDATE meter.billing_outbox AS o
	SET state = 'pending', ended_at = NULL, attempts = 0, due_at = clock_timestamp(),
		expires_at = m.expires_at
	FROM mine AS m
	WHERE o.identifier = m.identifier;
	GET DIAGNOSTICS revived = ROW_COUNT;
	RETURN revived;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_outbox_retry(text[]) IS
'Have dead rows of meter.billing_outbox sent again, after you have made sure that the payment provider does not have them, and return how many: those whose hour is not too old';

CREATE VIEW meter.outbox_held AS
SELECT h.event_name, h.tenant, h.hour, h.value - h.sent - h.moved AS value, h.held AS reason,
	CASE h.held
		WHEN 'customer' THEN 'the tenant has no customer in meter.tenant'
		WHEN 'age' THEN 'the hour began longer than max_age ago'
		WHEN 'negative' THEN 'too much was sent; it is netted against later usage'
		WHEN 'fraction' THEN 'less than the smallest value; it is carried into the next hour'
	END AS detail,
	NULL::text AS identifier
FROM meter.outbox_hour AS h
WHERE h.value <> h.sent + h.moved AND h.held IS NOT NULL
UNION ALL
SELECT o.event_name, o.tenant, o.hour, o.value, 'dead', o.error, o.identifier
FROM meter.billing_outbox AS o
WHERE o.state = 'dead';
COMMENT ON VIEW meter.outbox_held IS
'What does the payment provider not get, and why? Usage of closed hours that is held back (customer, age, negative, fraction) and rows that were given up (dead); value is in the provider''s unit, below zero where too much was sent';
