# shellcheck shell=bash
#
# bench/bill.sh: bills.
#
# The closing of a month of ten thousand tenants with six prices each, set-based,
# against a loop of single previews over the same tenants, which computes the
# same lines and writes none; and against a tenth of the tenants, to see that its
# time grows with their number and not faster.  And a charge of five tiers
# against the same formula in plain SQL and in PL/pgSQL, which read the same
# JSON; those with the price in their code are shown besides.

# shellcheck disable=SC2154		# from run.sh
tenants=$((10000 / divisor))
few=$((tenants / 10))
charges=$((200000 / divisor))
month=2025-03-01

# bill_tenants N: that many tenants with usage of a month
bill_tenants()
{
	sql -v n="$1" -f - <<-'SQL'
		SET meter.retention = 0;
		SET client_min_messages = warning;
		DROP EXTENSION meter CASCADE;
		CREATE EXTENSION meter CASCADE;
		INSERT INTO meter.plan (plan) VALUES ('free'), ('pro');
		INSERT INTO meter.plan_version (plan, base_price, min_amount) VALUES ('pro', 29, 30);
		INSERT INTO meter.metric (metric, kind) VALUES ('requests', 'counter'), ('tokens', 'counter'), ('mails', 'counter'),
			('jobs', 'counter'), ('peak', 'counter'), ('storage', 'gauge');
		INSERT INTO meter.tenant (tenant, plan, started_on, tax_percent)
		SELECT 'tenant-' || i, CASE WHEN i % 3 = 0 THEN 'free' ELSE 'pro' END, '2025-01-01', i % 2 * 20
		FROM generate_series(1, :n) AS i;
		INSERT INTO meter.price (price, metric, aggregation, model, params, divisor, rounding, included) VALUES
			('requests', 'requests', 'count', 'per_unit', '{"unit_amount": 0.01}', 1, 'none', 5),
			('tokens', 'tokens', 'sum', 'graduated', '{"tiers": [{"up_to": 10, "unit_amount": 10, "flat_amount": 2}, {"up_to": 100, "unit_amount": 5},
				{"up_to": 1000, "unit_amount": 1}, {"up_to": 10000, "unit_amount": 0.5}, {"unit_amount": 0.1}]}', 1, 'none', 0),
			('mails', 'mails', 'sum', 'volume', '{"tiers": [{"up_to": 100, "unit_amount": 1}, {"unit_amount": 0.5}]}', 1000, 'ceil', 0.5),
			('jobs', 'jobs', 'sum', 'package', '{"package_size": 100, "package_amount": 3}', 1, 'none', 50),
			('peak', 'peak', 'max', 'per_unit', '{"unit_amount": 0.07}', 1, 'none', 0),
			('storage', 'storage', 'weighted_avg', 'per_unit', '{"unit_amount": 0.1}', 1, 'none', 0);
		INSERT INTO meter.inbox (tenant, metric, quantity, at)
		SELECT 'tenant-' || i, m.metric, (i::bigint * j * 7919) % 1000, '2025-03-01 00:00Z'::timestamptz + (j * 5 + m.n) * interval '1 hour'
		FROM generate_series(1, :n) AS i, generate_series(0, 9) AS j,
			unnest(ARRAY['requests', 'tokens', 'mails', 'jobs', 'peak', 'storage']) WITH ORDINALITY AS m (metric, n);
		SELECT meter_flush() \g /dev/null
		SELECT meter_rollup() \g /dev/null
		TRUNCATE meter.inbox;
		VACUUM ANALYZE;
	SQL
}

# The month as if it had never been closed: tables of bills that are empty.
forget_bills()
{
	sql -f - <<-'SQL'
		SET session_replication_role = replica;
		DELETE FROM meter.bill_line;
		DELETE FROM meter.bill;
		RESET session_replication_role;
		TRUNCATE meter.bill, meter.bill_line;
		VACUUM ANALYZE meter.bill, meter.bill_line;
	SQL
}

close_month()
{
	forget_bills
	measure "$1" "$2" <<<"SET client_min_messages = warning; CALL meter_close_month('$month');"
}

bill_tenants "$few"
for ((round = 0; round <= rounds; round++)); do
	close_month "closing, $(spaced "$few") tenants" "$round"
done
bill_tenants "$tenants"
for ((round = 0; round <= rounds; round++)); do
	forget_bills
	measure "previews, $(spaced "$tenants") tenants" "$round" <<-SQL
		DO \$\$
		DECLARE
			of_tenant text;
		BEGIN
			FOR of_tenant IN SELECT tenant FROM meter.tenant LOOP
				PERFORM FROM meter_bill(of_tenant, '$month');
			END LOOP;
		END \$\$;
	SQL
	close_month "closing, $(spaced "$tenants") tenants" "$round"
done
report "Bills of a month, 6 prices each: time of the closing of all" "$tenants" \
	"closing, $(spaced "$tenants") tenants" time "closing, $(spaced "$tenants") tenants" \
	"previews, $(spaced "$tenants") tenants" "closing, $(spaced "$few") tenants"
sql -P title="What was made" -P footer=off -c "SELECT count(*) AS bills, sum(lines) AS lines, sum(total) AS total,
	(SELECT pg_size_pretty(pg_total_relation_size('meter.bill') + pg_total_relation_size('meter.bill_line'))) AS size FROM meter.bill"

# --- a charge of five tiers -------------------------------------------------

sql -f - <<-'SQL'
	CREATE TABLE bench.charge AS
	SELECT (i % 20000)::numeric AS quantity FROM generate_series(1, 200000) AS i;
	CREATE TABLE bench.price AS SELECT '{"tiers": [{"up_to": 10, "unit_amount": 10, "flat_amount": 2},
		{"up_to": 100, "unit_amount": 5}, {"up_to": 1000, "unit_amount": 1}, {"up_to": 10000, "unit_amount": 0.5},
		{"unit_amount": 0.1}]}'::jsonb AS params;
	ANALYZE bench.charge;

	CREATE FUNCTION bench.charge_plpgsql(params jsonb, quantity numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
	DECLARE
		tier jsonb;
		below numeric := 0;
		top numeric;
		amount numeric := 0;
	BEGIN
		FOR tier IN SELECT jsonb_array_elements(params -> 'tiers') LOOP
			EXIT WHEN below > 0 AND quantity <= below;
			top := (tier ->> 'up_to')::numeric;
			amount := amount + COALESCE((tier ->> 'flat_amount')::numeric, 0)
				+ (LEAST(quantity, top) - below) * (tier ->> 'unit_amount')::numeric;
			EXIT WHEN top IS NULL;
			below := top;
		END LOOP;
		RETURN amount;
	END $$;

	CREATE FUNCTION bench.charge_written(quantity numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		RETURN CASE WHEN quantity <= 10 THEN 2 + quantity * 10
			WHEN quantity <= 100 THEN 102 + (quantity - 10) * 5
			WHEN quantity <= 1000 THEN 552 + (quantity - 100)
			WHEN quantity <= 10000 THEN 1452 + (quantity - 1000) * 0.5
			ELSE 5952 + (quantity - 10000) * 0.1 END;
	END $$;
SQL

of_charges="FROM (SELECT quantity FROM bench.charge LIMIT $charges) AS c, bench.price AS p"
charge_sql="SELECT sum((SELECT sum(COALESCE((t.tier ->> 'flat_amount')::numeric, 0)
		+ (LEAST(c.quantity, (t.tier ->> 'up_to')::numeric) - t.below) * (t.tier ->> 'unit_amount')::numeric)
	FROM (SELECT e.tier, COALESCE(lag((e.tier ->> 'up_to')::numeric) OVER (ORDER BY e.n), 0) AS below
		FROM jsonb_array_elements(p.params -> 'tiers') WITH ORDINALITY AS e (tier, n)) AS t
	WHERE t.below = 0 OR c.quantity > t.below)) $of_charges"

# charge VARIANT ROUND SQL
charge()
{
	measure "$1" "$2" <<<"SET jit = off; SET max_parallel_workers_per_gather = 0; $3;"
}

for ((round = 0; round <= rounds; round++)); do
	charge "meter_charge" "$round" "SELECT sum(meter_charge('graduated', p.params, c.quantity)) $of_charges"
	charge "plain SQL, reading the JSON" "$round" "$charge_sql"
	charge "PL/pgSQL, reading the JSON" "$round" "SELECT sum(bench.charge_plpgsql(p.params, c.quantity)) $of_charges"
	charge "PL/pgSQL, price in its code" "$round" "SELECT sum(bench.charge_written(c.quantity)) $of_charges"
done
report "$(spaced "$charges") charges of five tiers: time of meter_charge()" "$charges" "meter_charge" time \
	"meter_charge" "plain SQL, reading the JSON" "PL/pgSQL, reading the JSON" "PL/pgSQL, price in its code"

sql -At -c "SELECT CASE WHEN count(DISTINCT amount) = 1 THEN 'All four say the same.' ELSE 'They differ!' END
	FROM (SELECT sum(meter_charge('graduated', p.params, c.quantity)) $of_charges
	UNION ALL SELECT sum(bench.charge_plpgsql(p.params, c.quantity)) $of_charges
	UNION ALL SELECT sum(bench.charge_written(c.quantity)) $of_charges
	UNION ALL $charge_sql) AS t(amount)"
say ""

closing="closing, $(spaced "$tenants") tenants"
report_targets -v many="$closing" -v few="closing, $(spaced "$few") tenants" -v previews="previews, $(spaced "$tenants") tenants" <<-'SQL'
	(1, 'tenants/s of the closing, of the previews'' one by one', :'many', 'speed', :'previews', '>=', 5),
	(2, 'time of the closing for ten times as many tenants', :'few', 'speed', :'many', '<=', 12),
	(3, 'charges/s, of PL/pgSQL''s that reads the JSON', 'meter_charge', 'speed', 'PL/pgSQL, reading the JSON', '>=', 3),
	(4, 'charges/s, of plain SQL''s that reads the JSON', 'meter_charge', 'speed', 'plain SQL, reading the JSON', '>=', 3)
SQL

sql -c "DROP TABLE bench.charge, bench.price" -c "DROP FUNCTION bench.charge_plpgsql, bench.charge_written"
