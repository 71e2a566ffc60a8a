# shellcheck shell=bash
#
# bench/forecast.sh: forecasts.
#
# How far a month's total was off, in percent, when it was forecast on its days
# 5, 10 and 20, by each method, in generated series of 60 days whose second half
# is that month; and in how many of them the total was within the interval of 80
# percent.  Kinds of series: seasonal (weekends are lower, with noise), trended
# (the same, growing or falling by 0.5 to 3 percent a day) and bursty (no week,
# but one day in ten or so has several times as much).  Run rate is that of the
# month itself, by elapsed time.  All random numbers are hashes, so that every
# run has the same series.
#
# Then real series, if METER_DATA is a directory that has them: requests of a
# cloud in 5 seconds each and generated tokens of a language model in 20 seconds
# each, of a quarter of an hour and an hour.  Every third step begins a "month" of
# 30 steps after as many others.  They have no season; it is taken for 7 steps all
# the same, as days of weeks are.

# shellcheck disable=SC2154		# from run.sh
series=$((500 / divisor))
[ "$series" -ge 20 ] || series=20

sql -f - <<-'SQL'
	SET client_min_messages = warning;
	CREATE EXTENSION IF NOT EXISTS meter CASCADE;
	-- between 0 and 1, and normal, by number
	CREATE FUNCTION bench.uniform(seed bigint, n bigint) RETURNS double precision LANGUAGE SQL IMMUTABLE
	RETURN ((hashint8extended(n, seed) & 4503599627370495)::double precision + 0.5) / 4503599627370496;
	CREATE FUNCTION bench.normal(seed bigint, n bigint) RETURNS double precision LANGUAGE SQL IMMUTABLE
	RETURN sqrt(-2 * ln(bench.uniform(seed, n))) * cos(2 * pi() * bench.uniform(seed + 1000000, n));
	CREATE TABLE bench.series (kind text, id integer, day integer, value double precision);
SQL

sql -v series="$series" -f - <<-'SQL'
	INSERT INTO bench.series
	SELECT k.kind, s.id, d.day, GREATEST(0, p.level * CASE
		WHEN k.kind = 'bursty' THEN 1 + 0.2 * bench.normal(s.seed + 8, d.day)
			+ CASE WHEN bench.uniform(s.seed + 9, d.day) < p.often THEN p.size * (0.5 + bench.uniform(s.seed + 10, d.day)) ELSE 0 END
		ELSE (1 + CASE WHEN k.kind = 'trended' THEN p.slope * d.day ELSE 0 END)
			* CASE WHEN (d.day + p.monday) % 7 >= 5 THEN p.weekend ELSE 1 END
			* (1 + p.noise * bench.normal(s.seed + 8, d.day)) END)
	FROM unnest('{seasonal,trended,bursty}'::text[]) WITH ORDINALITY AS k(kind, n)
	CROSS JOIN LATERAL (SELECT i AS id, (k.n * 100000 + i) * 100 AS seed FROM generate_series(1, :series) AS i) AS s
	CROSS JOIN LATERAL (
		SELECT 100 + 900 * bench.uniform(s.seed, 0) AS level, 0.3 + 0.5 * bench.uniform(s.seed + 1, 0) AS weekend,
			0.05 + 0.15 * bench.uniform(s.seed + 2, 0) AS noise,
			(0.01 + 0.02 * bench.uniform(s.seed + 3, 0)) * CASE WHEN bench.uniform(s.seed + 4, 0) < 0.25 THEN -0.5 ELSE 1 END AS slope,
			0.05 + 0.1 * bench.uniform(s.seed + 5, 0) AS often, 3 + 5 * bench.uniform(s.seed + 6, 0) AS size,
			floor(7 * bench.uniform(s.seed + 7, 0))::integer AS monday
	) AS p
	CROSS JOIN generate_series(0, 59) AS d(day);
	ANALYZE bench.series;
SQL

if [ -n "${METER_DATA:-}" ] && [ -r "$METER_DATA/openstack_api.csv" ]; then
	for file in openstack_api azure_llm_code; do
		columns='at, a, b'
		seconds=20
		if [ "$file" = openstack_api ]; then
			columns='at, a, b, c, d, e, f, g, h'
			seconds=5
		fi
		# which the server need not be able to read
		{
			say "CREATE TEMP TABLE real (at text, a text, b text, c text, d text, e text, f text, g text, h text);"
			say "COPY real ($columns) FROM STDIN (FORMAT csv, HEADER);"
			cat "$METER_DATA/$file.csv"
			say '\.'
			cat <<-'SQL'
				WITH step AS (
					SELECT floor(extract(epoch FROM r.at::timestamp - b.low) / :seconds)::integer AS step,
						sum(CASE :'file' WHEN 'openstack_api' THEN 1 ELSE r.b::double precision END) AS value
					FROM real AS r
					CROSS JOIN (SELECT min(at::timestamp) AS low FROM real) AS b
					GROUP BY 1
				)
				INSERT INTO bench.series
				SELECT :'file', w.first, d.day, COALESCE(s.value, 0)
				FROM generate_series(0, (SELECT max(step) FROM step) - 60, 3) AS w(first)
				CROSS JOIN generate_series(0, 59) AS d(day)
				LEFT JOIN step AS s ON s.step = w.first + d.day;
			SQL
		} | sql -v file="$file" -v seconds="$seconds" -f - >/dev/null
	done
else
	say "METER_DATA names no directory with openstack_api.csv: generated series only"
fi

time=$(date +%s%N)
sql -f - <<-'SQL'
	CREATE TABLE bench.forecast AS
	SELECT s.kind, s.id, d.day, m.method, s.total, s.before[d.day] AS before, f.low, f.expected, f.high, f.mase, f.method AS used
	FROM (
		SELECT kind, id, array_agg(value ORDER BY day) AS value, sum(value) FILTER (WHERE day >= 30) AS total,
			ARRAY(SELECT sum(t.value) OVER (ORDER BY t.day) FROM bench.series AS t
				WHERE t.kind = s.kind AND t.id = s.id AND t.day >= 30 ORDER BY t.day) AS before
		FROM bench.series AS s GROUP BY kind, id
	) AS s
	CROSS JOIN unnest('{5,10,20}'::integer[]) AS d(day)
	CROSS JOIN unnest('{run_rate,seasonal,average,linear,holt_winters,auto}'::text[]) AS m(method)
	CROSS JOIN LATERAL meter.forecast(s.value[1:30 + d.day], 7, 30 - d.day, m.method, 0.8,
		CASE m.method WHEN 'run_rate' THEN d.day END) AS f;
SQL
time=$((($(date +%s%N) - time) / 1000000))

sql -P footer=off -P title="Month's total: mean absolute error in percent, by the day of the forecast" -f - <<-'SQL'
	SELECT f.kind AS "series", count(DISTINCT f.id) AS "n", f.day AS "day",
		round(avg(e.error) FILTER (WHERE f.method = 'run_rate'), 2) AS "run rate",
		round(avg(e.error) FILTER (WHERE f.method = 'seasonal'), 2) AS "seasonal",
		round(avg(e.error) FILTER (WHERE f.method = 'holt_winters'), 2) AS "Holt-Winters",
		round(avg(e.error) FILTER (WHERE f.method = 'average'), 2) AS "average",
		round(avg(e.error) FILTER (WHERE f.method = 'linear'), 2) AS "linear",
		round(avg(e.error) FILTER (WHERE f.method = 'auto'), 2) AS "auto",
		round(100.0 * count(*) FILTER (WHERE f.method = 'auto' AND f.total BETWEEN f.before + f.low AND f.before + f.high)
			/ count(*) FILTER (WHERE f.method = 'auto'), 1) AS "within 80 %"
	FROM bench.forecast AS f
	CROSS JOIN LATERAL (SELECT (100 * abs(f.before + f.expected - f.total) / f.total)::numeric AS error) AS e
	GROUP BY f.kind, f.day ORDER BY array_position('{seasonal,trended,bursty}', f.kind), f.kind, f.day;
SQL
sql -P footer=off -P title="Auto against the best of run rate, seasonal and Holt-Winters, and of all; all three days" -f - <<-'SQL'
	WITH error AS (
		SELECT f.kind, f.method, avg(100 * abs(f.before + f.expected - f.total) / f.total) AS error
		FROM bench.forecast AS f GROUP BY f.kind, f.method
	)
	SELECT e.kind AS "series",
		round((max(e.error) FILTER (WHERE e.method = 'auto'))::numeric, 2) AS "auto, %",
		round((max(e.error) FILTER (WHERE e.method = 'auto')
			/ min(e.error) FILTER (WHERE e.method IN ('run_rate', 'seasonal', 'holt_winters')))::numeric, 3) AS "of the best of three",
		round((max(e.error) FILTER (WHERE e.method = 'auto') / min(e.error) FILTER (WHERE e.method <> 'auto'))::numeric, 3) AS "of the best of all",
		(SELECT round(100.0 * avg((f.total BETWEEN f.before + f.low AND f.before + f.high)::integer), 1) FROM bench.forecast AS f
			WHERE f.kind = e.kind AND f.method = 'auto') AS "within 80 %",
		(SELECT string_agg(u.used || ' ' || u.n, ', ' ORDER BY u.n DESC, u.used) FROM (
			SELECT f.used, count(*) AS n FROM bench.forecast AS f WHERE f.kind = e.kind AND f.method = 'auto' GROUP BY f.used) AS u) AS "auto has used"
	FROM error AS e GROUP BY e.kind ORDER BY array_position('{seasonal,trended,bursty}', e.kind), e.kind;
SQL
say "$(spaced "$(sql -At -c 'SELECT count(*) FROM bench.forecast')") forecasts in $time ms"
