-- grant.sql: who may do what

CREATE FUNCTION @extschema@.meter_grant(role name, privileges text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	function regprocedure;
	relation regclass;
	pattern text;
BEGIN
	pattern := '^(' || array_to_string(CASE privileges
		WHEN 'app' THEN ARRAY[
			'api_version_(begins|status)',
			'meter_track(_batch|_llm)?', 'meter_normalize_endpoint', 'meter_llm_cost',
			'meter_check', 'meter_allow', 'meter_require', 'meter_refund',
			'meter_set_tenant', 'meter_current_tenant',
			'meter_headers', 'header_.*', 'meter_health', 'meter_quota', 'quota_state',
			'meter_(explain_)?charge(_events|_check)?']
		WHEN 'analyst' THEN ARRAY[
			'meter_compare_plans', 'compare_.*', 'meter_recommendations', 'advice_.*', 'meter_api_version_usage', 'api_version_.*',
			'meter_time_series', 'series_.*', 'span_checked', 'usage_span', 'meter_usage_stats', 'stats_grouping',
			'meter_endpoint_analytics', 'meter_top_users', 'meter_system_metrics',
			'meter_set_tenant', 'meter_current_tenant', 'visible_tenants', 'sees_all_tenants',
			'meter_sketch.*', 'meter_percentile', 'meter_normalize_endpoint', 'meter_llm_cost', 'mask_query',
			'users_.*', 'usage_tail', 'shared_state',
			'meter_headers', 'header_.*',
			'limit_state', 'account_state', 'quota_used', 'meter_quota', 'quota_state', 'known_time_zone', 'resource_matches(_any)?',
			'meter_(explain_)?charge(_events|_check)?',
			'currency_digits', 'fx', 'billing_(day|span|period|plan|(stay_)?price|segment|usage|usage_missing)',
			'segment_.*', 'event_dims', 'usage_position', 'meter_bill(_json)?', 'bill_.*',
			'cost', 'cost_month', 'meter_export', 'export_latency', 'budget_bounds',
			'storage_growth', 'meter_forecast_storage', 'request_growth', 'tenant_growth', 'gauge_load', 'provisioning',
			'meter_dashboard', 'dashboard_.*', 'chart_.*', 'html(_.*)?', 'severity_rank', 'meter_health', 'meter_doctor', 'health(_window)?', 'meter_metrics', 'openmetrics_(bounds|buckets|label_sets|histogram|labels|text)', 'tenant_health', 'forecast', 'meter_project', 'projection_.*', 'budget_projection']
		WHEN 'tenant' THEN ARRAY[
			'meter_time_series', 'series_.*', 'span_checked', 'usage_span', 'usage_tail', 'meter_usage_stats', 'stats_grouping',
			'meter_endpoint_analytics', 'meter_top_users', 'meter_normalize_endpoint',
			'meter_api_version_usage', 'api_version_.*', 'meter_dashboard', 'dashboard_.*', 'chart_.*', 'html(_.*)?', 'severity_rank',
			'meter_current_tenant', 'visible_tenants', 'meter_sketch.*', 'meter_percentile', 'users_.*',
			'currency_digits', 'request_growth', 'billing_day', 'budget_bounds', 'known_time_zone', 'meter_mark_read',
			'meter_export', 'export_latency']
		WHEN 'admin' THEN ARRAY['(?!meter_grant$).*']
	END, '|') || ')$';
	IF pattern IS NULL THEN
		RAISE EXCEPTION 'unknown set of privileges "%"', privileges
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'It is one of app, tenant, analyst and admin.';
	END IF;
	-- who makes partitions changes the same rows of the catalogs
	LOCK TABLE ONLY meter.event, ONLY meter.usage_hourly, ONLY meter.usage_user_daily
		IN SHARE UPDATE EXCLUSIVE MODE;
	EXECUTE format('GRANT USAGE ON SCHEMA meter TO %I', role);
	FOR function IN
		SELECT p.oid FROM pg_proc AS p
		JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
			AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid
		WHERE e.extname = 'meter' AND p.proname ~ pattern
			AND p.prorettype <> 'trigger'::regtype
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', function, role);
	END LOOP;
	IF privileges IN ('app', 'admin') THEN
		EXECUTE format('GRANT INSERT (at, latency_ms, status, tenant, metric, quantity, service,'
			' endpoint, method, user_id, cost, metadata, idempotency_key, request_id,'
			' error_message) ON meter.inbox TO %I', role);
	END IF;
	IF privileges IN ('app', 'tenant') THEN
		-- what meter_headers() tells of
		EXECUTE format('GRANT SELECT ON meter.api_version TO %I', role);
	END IF;
	IF privileges = 'tenant' THEN
		EXECUTE format('GRANT SELECT ON meter.api_version_usage TO %I', role);
		EXECUTE format('GRANT SELECT ON meter.event, meter.usage_hourly, meter.usage_user_daily,'
			' meter.usage_part, meter.usage_daily, meter.usage_monthly, meter.endpoint_stats,'
			' meter.service_daily, meter.top_users, meter.gauge_last, meter.gauge_level,'
			' meter.gauge_hourly, meter.gauge_now, meter.metric, meter.bill, meter.bill_line, meter.subscription,'
			' meter.credit, meter.credit_use, meter.credit_balance, meter.budget, meter.budget_period,'
			' meter.budget_spend, meter.budget_crossing, meter.budget_block, meter.budget_now,'
			' meter.budget_status, meter.alert, meter.notification, meter.request_growth,'
			' meter.focus, meter.focus_provider, meter.focus_service TO %I', role);
		EXECUTE format('GRANT SELECT (tenant, plan, time_zone, billing_anchor) ON meter.tenant TO %I', role);
		EXECUTE format('GRANT UPDATE (read_at) ON meter.notification TO %I', role);
	ELSIF privileges <> 'app' THEN
		-- partitions are read through their parents, which know whose rows to show
		FOR relation IN
			SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = 'meter'::regnamespace
				AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
				AND (privileges = 'admin' OR c.oid <> 'meter.inbox'::regclass)
		LOOP
			EXECUTE format('GRANT SELECT ON %s TO %I', relation, role);
		END LOOP;
	END IF;
	IF privileges = 'analyst' THEN
		-- it has no row security, which would hold in a tenant's context; meter.stats
		-- tells how long its rows wait
		EXECUTE format('GRANT SELECT (received_at) ON meter.inbox TO %I', role);
	END IF;
	IF privileges = 'admin' THEN
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON meter.api_version TO %I', role);
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON meter.metric, meter.consumer,'
			' meter.plan, meter.plan_version, meter.tenant, meter.subscription, meter.rate_limit,'
			' meter.price, meter.model_price, meter.fx_rate, meter.credit, meter.coupon,'
			' meter.tenant_coupon, meter.budget, meter.slo TO %I', role);
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON meter.outbox_meter, meter.outbox_hour,'
			' meter.billing_outbox, meter.cost_rate, meter.focus_provider, meter.focus_service TO %I', role);
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON meter.alert_rule, meter.silence, meter.alert,'
			' meter.incident, meter.incident_update, meter.notification, meter.alert_evaluation TO %I', role);
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON meter.storage_sample, meter.gauge_limit,'
			' meter.health_threshold TO %I', role);
		EXECUTE format('GRANT DELETE ON meter.rejected_event TO %I', role);
	END IF;
END
$$;
COMMENT ON FUNCTION @extschema@.meter_grant(name, text) IS
'Give a role one of four sets of privileges: app (track events, ask for limits), tenant (read usage and bills of the tenant whose role it is), analyst (read usage and the log of all tenants) or admin (everything but granting). Errors: 22023 for another set, 42704 for an unknown role';

-- Nothing is executable by PUBLIC.
DO $$
DECLARE
	function regprocedure;
BEGIN
	FOR function IN
		SELECT p.oid FROM pg_catalog.pg_proc AS p
		JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_proc'::regclass
			AND d.objid = p.oid AND d.refclassid = 'pg_catalog.pg_extension'::regclass
			AND d.deptype = 'e'
		JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
		WHERE e.extname = 'meter'
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', function);
	END LOOP;
END
$$;
