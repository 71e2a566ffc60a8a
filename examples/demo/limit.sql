-- examples/demo/limit.sql: a plan for each tenant, and what limits make of a burst.
--
-- The smallest third of the tenants gets the plan free, the largest third
-- enterprise.  Their quotas begin with what was tracked of them today.

\pset footer off
\pset null '-'

SELECT meter_load_preset('tiered') \g /dev/null
INSERT INTO meter.tenant (tenant, plan)
SELECT tenant, (ARRAY['free', 'pro', 'enterprise'])[ntile(3) OVER (ORDER BY sum(events), tenant)]
FROM meter.usage_hourly
WHERE metric = 'api_requests'
GROUP BY tenant;

\echo
\echo 'Limits: 150 calls at once of each tenant (the first five)'
SELECT left(tenant, 12) AS tenant, plan, count(*) AS calls,
	count(*) FILTER (WHERE meter_allow(tenant, 'GET /api/v1/users/:id')) AS allowed
FROM (SELECT tenant, plan FROM meter.tenant ORDER BY tenant LIMIT 5) AS t, generate_series(1, 150)
GROUP BY t.tenant, plan
ORDER BY t.tenant;

\echo
\echo 'What is left of them'
SELECT left(tenant, 12) AS tenant, rule, "limit", round(used) AS used, used_percent AS "used %", allowed, refused
FROM meter.rate_limit_status
ORDER BY rate_limit_status.tenant, rule_id;

\echo
\echo 'What the next call would be told'
SELECT left(t.tenant, 12) AS tenant, d.allowed, d.reason, d.remaining, d.retry_after, d.quota_remaining, d.warning
FROM (SELECT tenant FROM meter.tenant ORDER BY tenant LIMIT 5) AS t,
	LATERAL meter_check(t.tenant, 'GET /api/v1/users/:id', cost => 0) AS d
ORDER BY t.tenant;
