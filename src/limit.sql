-- limit.sql: may this call go through?

CREATE FUNCTION @extschema@.meter_check(tenant text, resource text DEFAULT '*', cost numeric DEFAULT 1,
	user_id text DEFAULT NULL) RETURNS meter.decision
LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_check(text, text, numeric, text) IS
'May this call go through? Takes one request, and the cost, from all limits that hold for the tenant, the resource and the user, or from none, and returns what was decided. A cost of 0 looks without taking. Stays taken if the transaction is rolled back. Errors: 22004 for null, 22023 for an empty or too long name and for a cost that is negative or no number, 22003 for one above 10^15, 55000 if meter is not preloaded';

CREATE FUNCTION @extschema@.meter_allow(tenant text, resource text DEFAULT '*', cost numeric DEFAULT 1,
	user_id text DEFAULT NULL) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_allow(text, text, numeric, text) IS
'May this call go through? The same as (meter_check(...)).allowed, and faster. Errors as there';

CREATE FUNCTION @extschema@.meter_require(tenant text, resource text DEFAULT '*', cost numeric DEFAULT 1,
	user_id text DEFAULT NULL) RETURNS meter.decision
LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_require(text, text, numeric, text) IS
'Let this call go through or raise an error: the same as meter_check(), but for SQLSTATE PT429 if the call is refused, of which PostgREST makes HTTP status 429; the hint says when to retry. Other errors as there';

CREATE FUNCTION @extschema@.meter_refund(tenant text, resource text DEFAULT '*', cost numeric DEFAULT 1,
	user_id text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_refund(text, text, numeric, text) IS
'Give back what meter_check() with the same arguments has taken, as for a call that has failed; never more than is taken. Errors as there';

CREATE FUNCTION @extschema@.meter_reset_limit(tenant text, resource text DEFAULT NULL,
	user_id text DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION @extschema@.meter_reset_limit(text, text, text) IS
'Set limits of a tenant back to nothing taken: those that hold for the resource, or with null all; of one user, or with null of the tenant and all its users. Returns how many counters had something taken. Errors: 22004 and 22023 for the tenant';

CREATE FUNCTION meter.limit_state(
	OUT tenant text,
	OUT user_id text,
	OUT rule_id integer,
	OUT rule text,
	OUT "limit" numeric,
	OUT used numeric,
	OUT reset_at timestamptz,
	OUT allowed bigint,
	OUT refused bigint)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'meter_limit_state';
COMMENT ON FUNCTION meter.limit_state() IS
'What shared memory has of the limits of this database''s tenants and users, as far as the user may see them, for meter.rate_limit_status';

CREATE VIEW meter.rate_limit_status AS
SELECT s.tenant, s.user_id, s.rule_id, s.rule, r.resource, r.unit, r.per, r.kind, r.mode,
	s."limit", s.used,
	CASE WHEN s."limit" IS NOT NULL THEN GREATEST(s."limit" - s.used, 0) END AS remaining,
	round(100 * s.used / NULLIF(s."limit", 0), 1) AS used_percent,
	s.reset_at, s.allowed, s.refused
FROM meter.limit_state() AS s
JOIN meter.rate_limit AS r ON r.id = s.rule_id;
COMMENT ON VIEW meter.rate_limit_status IS
'Who is near or over a limit now? A row for each tenant, or user, and rule that was asked for';
COMMENT ON COLUMN meter.rate_limit_status.tenant IS 'whose limit it is';
COMMENT ON COLUMN meter.rate_limit_status.user_id IS 'of a limit by user, the user; otherwise null';
COMMENT ON COLUMN meter.rate_limit_status.rule_id IS 'meter.rate_limit.id';
COMMENT ON COLUMN meter.rate_limit_status.rule IS 'name of the rule, as in decisions';
COMMENT ON COLUMN meter.rate_limit_status.resource IS 'pattern of the rule';
COMMENT ON COLUMN meter.rate_limit_status.unit IS 'requests or cost';
COMMENT ON COLUMN meter.rate_limit_status.per IS 'second, minute, hour, day or month';
COMMENT ON COLUMN meter.rate_limit_status.kind IS 'bucket or window';
COMMENT ON COLUMN meter.rate_limit_status.mode IS 'enforce, soft or shadow';
COMMENT ON COLUMN meter.rate_limit_status."limit" IS 'how much can be taken at once, scaled for the tenant''s plan; null: any amount';
COMMENT ON COLUMN meter.rate_limit_status.used IS 'how much of it is taken now';
COMMENT ON COLUMN meter.rate_limit_status.remaining IS 'how much is left; null: any amount';
COMMENT ON COLUMN meter.rate_limit_status.used_percent IS 'used as a percentage of limit';
COMMENT ON COLUMN meter.rate_limit_status.reset_at IS 'when nothing will be taken any more, if there are no further calls';
COMMENT ON COLUMN meter.rate_limit_status.allowed IS 'calls let through, as far back as shared memory knows';
COMMENT ON COLUMN meter.rate_limit_status.refused IS 'calls that the rule has refused, or would have if it is a shadow';

CREATE FUNCTION meter.account_state(
	OUT blocks bigint,
	OUT blocks_used bigint,
	OUT bytes bigint,
	OUT evicted bigint,
	OUT unmetered bigint,
	OUT refused_full bigint,
	OUT untracked bigint,
	OUT saved_at timestamptz)
RETURNS record
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'meter_account_state';
COMMENT ON FUNCTION meter.account_state() IS
'What the server''s table of limits holds, for meter.limit_stats; all null if the server does not preload meter';

CREATE VIEW meter.limit_stats AS
SELECT s.* FROM meter.account_state() AS s;
COMMENT ON VIEW meter.limit_stats IS
'Is there room to count calls? One row about the shared memory of limits, of all databases, since the server''s start';
COMMENT ON COLUMN meter.limit_stats.blocks IS 'blocks of 128 bytes that meter.limit_memory has room for; a tenant or user takes one, and one more for each further two rules and for a name above 36 bytes';
COMMENT ON COLUMN meter.limit_stats.blocks_used IS 'blocks in use';
COMMENT ON COLUMN meter.limit_stats.bytes IS 'size of the table';
COMMENT ON COLUMN meter.limit_stats.evicted IS 'tenants and users of whom nothing was taken that have made room for others';
COMMENT ON COLUMN meter.limit_stats.unmetered IS 'calls let through without counting them, as there was no room (meter.on_full = allow)';
COMMENT ON COLUMN meter.limit_stats.refused_full IS 'calls refused as there was no room (meter.on_full = deny)';
COMMENT ON COLUMN meter.limit_stats.untracked IS 'refused calls that got into no log: the queue was full, or it was on a standby or in a parallel query';
COMMENT ON COLUMN meter.limit_stats.saved_at IS 'when the table was last saved';
