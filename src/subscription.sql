-- subscription.sql: which plan a tenant had when

-- A tenant's row says what holds now, the rows here what held before and what is
-- to come.  A tenant without any row here has what its own row says, since it
-- started: so rows are written when something changes, and never by an INSERT
-- into meter.tenant, which a restore makes, too.
CREATE TABLE meter.subscription (
	tenant text COLLATE "C" NOT NULL
		CONSTRAINT subscription_tenant_check CHECK (octet_length(tenant) BETWEEN 1 AND 128
			AND tenant !~ '[[:cntrl:]]' AND tenant ~ '[^ ]'),
	valid_from date NOT NULL
		CONSTRAINT subscription_valid_from_check CHECK (isfinite(valid_from)),
	plan text COLLATE "C"
		CONSTRAINT subscription_plan_fkey REFERENCES meter.plan ON UPDATE CASCADE,
	planless boolean NOT NULL DEFAULT false,
	PRIMARY KEY (tenant, valid_from),
	CONSTRAINT subscription_planless_check CHECK (NOT planless OR plan IS NULL)
);
COMMENT ON TABLE meter.subscription IS
'History and future of each tenant''s plan: a row holds from its day on until that of the tenant''s next row; before the first, the tenant is not billed. A tenant without a row has had the plan of meter.tenant since it started. Rows are written by changes of meter.tenant and by meter_change_plan()';
COMMENT ON COLUMN meter.subscription.tenant IS 'the tenant, at most 128 bytes';
COMMENT ON COLUMN meter.subscription.valid_from IS 'first day, in the tenant''s time zone';
COMMENT ON COLUMN meter.subscription.plan IS
'the plan; null is none any more: the subscription is cancelled, unless planless is true';
COMMENT ON COLUMN meter.subscription.planless IS
'true: a tenant without a plan who is billed all the same, by the prices for all tenants and by its own';

SELECT pg_catalog.pg_extension_config_dump('meter.subscription', '');

-- for the foreign key, when a plan is deleted or gets another name
CREATE INDEX subscription_plan_idx ON meter.subscription (plan);

-- For each of the tenants that a statement changes.  What is planned while the
-- history is short must serve when the statement has made it long.
CREATE FUNCTION meter.subscription_write(of_tenant text, starts_on date,
	was_plan text, was_cancelled boolean, on_day date, new_plan text, new_cancelled boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
	before_plan text;
	before_planless boolean;
	to_plan text := CASE WHEN NOT new_cancelled THEN new_plan END;
	to_planless boolean := new_plan IS NULL AND NOT new_cancelled;
BEGIN
	IF NOT EXISTS (SELECT FROM meter.subscription AS s WHERE s.tenant = of_tenant) THEN
		INSERT INTO meter.subscription (tenant, valid_from, plan, planless)
		VALUES (of_tenant, starts_on, CASE WHEN NOT was_cancelled THEN was_plan END,
			was_plan IS NULL AND NOT was_cancelled);
	END IF;
	SELECT s.plan, s.planless INTO before_plan, before_planless
	FROM meter.subscription AS s
	WHERE s.tenant = of_tenant AND s.valid_from <= on_day
	ORDER BY s.valid_from DESC LIMIT 1;
	IF FOUND AND before_plan IS NOT DISTINCT FROM to_plan AND before_planless = to_planless THEN
		RETURN;
	END IF;
	IF new_cancelled THEN
		-- and shall not come back by what was planned before
		DELETE FROM meter.subscription AS s WHERE s.tenant = of_tenant AND s.valid_from > on_day;
	END IF;
	INSERT INTO meter.subscription (tenant, valid_from, plan, planless)
	VALUES (of_tenant, on_day, to_plan, to_planless)
	ON CONFLICT (tenant, valid_from) DO UPDATE
	SET plan = EXCLUDED.plan, planless = EXCLUDED.planless;
END
$$;
COMMENT ON FUNCTION meter.subscription_write(text, date, text, boolean, date, text, boolean) IS
'Part of meter_change_plan() and of a trigger of meter.tenant: writes what a tenant''s plan is from a day on and, if there is no history yet, what it has been since the tenant started';

-- A change holds from the day on which it is made; of several on a day, the last.
CREATE FUNCTION meter.subscription_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
	on_day date := (now() AT TIME ZONE meter.known_time_zone(NEW.time_zone))::date;
	starts_on date := COALESCE(NEW.started_on, (NEW.created_at AT TIME ZONE meter.known_time_zone(NEW.time_zone))::date);
BEGIN
	-- The plan has got another name, which the foreign keys see to.
	IF OLD.plan IS NOT NULL AND NEW.plan IS NOT NULL
		AND (OLD.status = 'cancelled') = (NEW.status = 'cancelled')
		AND NOT EXISTS (SELECT FROM meter.plan AS p WHERE p.plan = OLD.plan) THEN
		RETURN NULL;
	END IF;
	IF on_day <= starts_on AND NOT EXISTS (
			SELECT FROM meter.subscription AS s WHERE s.tenant = NEW.tenant) THEN
		-- nothing has been yet that could be forgotten
		RETURN NULL;
	END IF;
	IF on_day < starts_on AND NOT EXISTS (
			SELECT FROM meter.subscription AS s
			WHERE s.tenant = NEW.tenant AND s.valid_from <= on_day) THEN
		on_day := starts_on;
	END IF;
	PERFORM meter.subscription_write(NEW.tenant, starts_on, OLD.plan, OLD.status = 'cancelled',
		on_day, NEW.plan, NEW.status = 'cancelled');
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.subscription_changed() IS
'Trigger of meter.tenant: writes a change of the plan, a cancellation and a return into meter.subscription';

CREATE TRIGGER tenant_subscription_changed
AFTER UPDATE OF plan, status ON meter.tenant
FOR EACH ROW
WHEN (OLD.plan IS DISTINCT FROM NEW.plan OR (OLD.status = 'cancelled') <> (NEW.status = 'cancelled'))
EXECUTE FUNCTION meter.subscription_changed();

-- Who comes later under the same name is somebody else.
CREATE FUNCTION meter.subscription_forget() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		DELETE FROM meter.subscription;
	ELSE
		DELETE FROM meter.subscription AS s USING gone AS g WHERE s.tenant = g.tenant;
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.subscription_forget() IS
'Trigger of meter.tenant: deletes the history of tenants that are deleted';

CREATE TRIGGER tenant_subscription_deleted
AFTER DELETE ON meter.tenant
REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION meter.subscription_forget();

CREATE TRIGGER tenant_subscription_truncated
AFTER TRUNCATE ON meter.tenant
FOR EACH STATEMENT EXECUTE FUNCTION meter.subscription_forget();

CREATE FUNCTION meter.subscription_rename() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE meter.subscription AS s SET tenant = NEW.tenant WHERE s.tenant = OLD.tenant;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION meter.subscription_rename() IS
'Trigger of meter.tenant: moves the history along when a tenant gets another name';

-- By its name, before what writes a change of the plan made together with it.
CREATE TRIGGER tenant_rename_subscription
AFTER UPDATE OF tenant ON meter.tenant
FOR EACH ROW WHEN (OLD.tenant <> NEW.tenant)
EXECUTE FUNCTION meter.subscription_rename();

CREATE FUNCTION @extschema@.meter_change_plan(tenant text, plan text, valid_on date DEFAULT NULL)
RETURNS date
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was record;
	today date;
	starts_on date;
	on_day date;
BEGIN
	SELECT t.plan, t.status, t.time_zone, t.started_on, t.created_at INTO was
	FROM meter.tenant AS t WHERE t.tenant = meter_change_plan.tenant
	FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no tenant "%"', meter_change_plan.tenant
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Add it to meter.tenant.';
	END IF;
	IF NOT EXISTS (SELECT FROM meter.plan AS p WHERE p.plan = meter_change_plan.plan)
		AND meter_change_plan.plan IS NOT NULL THEN
		RAISE EXCEPTION 'there is no plan "%"', meter_change_plan.plan
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Add it to meter.plan.';
	END IF;
	today := (now() AT TIME ZONE meter.known_time_zone(was.time_zone))::date;
	starts_on := COALESCE(was.started_on, (was.created_at AT TIME ZONE meter.known_time_zone(was.time_zone))::date);
	on_day := COALESCE(valid_on, today);
	IF on_day < today OR NOT isfinite(on_day) THEN
		RAISE EXCEPTION 'the plan cannot be changed on %', on_day
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('It can be changed today, which is %s in the tenant''s time zone, or later.', today),
				HINT = 'What was before is in meter.subscription.';
	END IF;
	-- not before it begins
	IF on_day < starts_on AND NOT EXISTS (SELECT FROM meter.subscription AS s
			WHERE s.tenant = meter_change_plan.tenant AND s.valid_from <= on_day) THEN
		on_day := starts_on;
	END IF;
	PERFORM meter.subscription_write(meter_change_plan.tenant, starts_on, was.plan, was.status = 'cancelled',
		on_day, meter_change_plan.plan, meter_change_plan.plan IS NULL);
	IF on_day = today THEN
		UPDATE meter.tenant AS t
		SET plan = COALESCE(meter_change_plan.plan, t.plan),
			status = CASE WHEN meter_change_plan.plan IS NULL THEN 'cancelled'
				WHEN t.status = 'cancelled' THEN 'active' ELSE t.status END
		WHERE t.tenant = meter_change_plan.tenant;
	END IF;
	RETURN on_day;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_change_plan(text, text, date) IS
'Change a tenant''s plan from a day on, today (null) or later, in the tenant''s time zone; null as the plan cancels the subscription, and with it what was planned for later. Returns the day, which is that on which the tenant starts if that is later. A change of today is made in meter.tenant at once, a later one by meter_maintain() when its day has come. Errors: 22023 for an unknown tenant or plan and for a day that is past';

CREATE VIEW meter.subscription_due AS
SELECT d.tenant, d.plan, d.cancelled
FROM (
	SELECT DISTINCT ON (s.tenant) s.tenant, s.plan, s.plan IS NULL AND NOT s.planless AS cancelled,
		t.plan AS has_plan, t.status
	FROM meter.subscription AS s
	JOIN meter.tenant AS t ON t.tenant = s.tenant
	WHERE s.valid_from <= (now() AT TIME ZONE meter.known_time_zone(t.time_zone))::date
	ORDER BY s.tenant, s.valid_from DESC
) AS d
WHERE CASE WHEN d.cancelled THEN d.status <> 'cancelled'
	ELSE d.has_plan IS DISTINCT FROM d.plan OR d.status = 'cancelled' END;
COMMENT ON VIEW meter.subscription_due IS
'Which changes of meter.subscription have come into force, in each tenant''s time zone, and are not in meter.tenant yet? meter_maintain() puts them there daily';
COMMENT ON COLUMN meter.subscription_due.tenant IS 'the tenant';
COMMENT ON COLUMN meter.subscription_due.plan IS 'the plan; null is none';
COMMENT ON COLUMN meter.subscription_due.cancelled IS 'the subscription is cancelled, and the plan stays what it was';

-- First the rows of those tenants: a change of plan that is being made may put
-- what is due out of date, and only a statement that begins after it can see that.
CREATE FUNCTION meter.subscription_apply() RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	locked text[];
	applied bigint;
BEGIN
	locked := ARRAY(
		SELECT t.tenant FROM meter.tenant AS t
		WHERE t.tenant IN (SELECT d.tenant FROM meter.subscription_due AS d)
		ORDER BY t.tenant
		FOR NO KEY UPDATE);
	UPDATE meter.tenant AS t
	SET plan = CASE WHEN d.cancelled THEN t.plan ELSE d.plan END,
		status = CASE WHEN d.cancelled THEN 'cancelled'
			WHEN t.status = 'cancelled' THEN 'active' ELSE t.status END
	FROM meter.subscription_due AS d
	WHERE d.tenant = t.tenant AND t.tenant = ANY (locked);
	GET DIAGNOSTICS applied = ROW_COUNT;
	RETURN applied;
END
$$;
COMMENT ON FUNCTION meter.subscription_apply() IS
'Put the changes of meter.subscription whose day has come, in each tenant''s time zone, into meter.tenant, and return of how many tenants. meter_maintain() does it daily';
