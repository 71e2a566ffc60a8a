-- examples/demo/watch.sql: budgets, quotas and alerts.
--
-- Amounts are made of what has been spent, so that on every day of a month some
-- budgets and quotas are nearly used up, and one is.

\pset footer off
\pset null '-'

CREATE TEMP TABLE spent AS
SELECT tenant, service, sum(cost) AS cost
FROM meter.usage_hourly
WHERE hour >= date_trunc('month', now(), 'UTC') AND cost > 0
GROUP BY GROUPING SETS ((tenant), (service));

-- the largest tenants, and all tenants together on each service
INSERT INTO meter.budget (tenant, service, amount, hard_limit)
SELECT tenant, service, greatest(round(cost / p.part, 1), 0.1), coalesce(service, '') = 'email'
FROM (
	SELECT *, row_number() OVER (PARTITION BY tenant IS NULL ORDER BY cost DESC, tenant, service) AS place FROM spent
) AS s
JOIN (VALUES (false, 1, 0.66), (false, 2, 0.93), (false, 3, 0.78), (true, 1, 0.82), (true, 2, 1.04), (true, 3, 0.41))
	AS p (together, place, part) ON p.together = (s.tenant IS NULL) AND p.place = s.place;
SELECT meter_refresh_budgets() \g /dev/null

\echo
\echo 'Budgets of the month'
SELECT coalesce(left(tenant, 12), '(all)') AS tenant, service, amount, round(spent, 2) AS spent, percent AS "spent %",
	status, hard_limit, blocked
FROM meter.budget_status
ORDER BY percent DESC;

-- quotas of the day, which begin with what was tracked of it
INSERT INTO meter.rate_limit (tenant, resource, per, kind, max, description)
SELECT tenant, '*', 'day', 'window', ceil(calls / part), 'demo'
FROM (
	SELECT tenant, sum(events) AS calls, row_number() OVER (ORDER BY sum(events) DESC, tenant) AS place
	FROM meter.usage_hourly
	WHERE metric = 'api_requests' AND hour >= date_trunc('day', now(), 'UTC')
	GROUP BY tenant
) AS c
JOIN (VALUES (1, 0.87), (2, 0.71), (3, 0.96)) AS p (place, part) USING (place);
SELECT count(meter_check(tenant, cost => 0)) FROM meter.rate_limit WHERE tenant IS NOT NULL \g /dev/null

SELECT fired AS "alerts that fire" FROM meter_evaluate_alerts();
SELECT left(coalesce(tenant, '(all)'), 12) AS tenant, service, severity, title FROM meter.alert
WHERE state = 'firing' AND severity = 'critical'
ORDER BY title;
