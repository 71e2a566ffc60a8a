-- chart.sql: charts as SVG
--
-- A plot is 1000 wide and 100 high, and is stretched to the room there is: lines
-- keep their width, and what is to be read stands beside it as HTML.

CREATE FUNCTION meter.chart_scale(peak numeric, whole boolean, OUT top numeric, OUT step numeric)
RETURNS record
LANGUAGE SQL STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT trim_scale(s.step * greatest(1, ceil(COALESCE(peak, 0) / s.step))), trim_scale(s.step)
	FROM (
		SELECT CASE WHEN NOT whole OR n.step = trunc(n.step) THEN n.step WHEN n.step < 1 THEN 1 ELSE 2 * n.step END AS step
		FROM (
			SELECT m.magnitude * CASE WHEN m.raw <= m.magnitude THEN 1 WHEN m.raw <= 2 * m.magnitude THEN 2
				WHEN m.raw <= 2.5 * m.magnitude THEN 2.5 WHEN m.raw <= 5 * m.magnitude THEN 5 ELSE 10 END AS step
			FROM (
				SELECT r.raw, 10::numeric ^ floor(log(r.raw)) AS magnitude
				FROM (SELECT CASE WHEN peak > 0 THEN peak / 4.0 ELSE 0.25 END AS raw) AS r
			) AS m
		) AS n
	) AS s;
END;
COMMENT ON FUNCTION meter.chart_scale(numeric, boolean) IS
'The axis of values up to peak: its top, and the distance of its lines, which is 1, 2, 2.5 or 5 times a power of ten; of whole numbers at least 1';

CREATE FUNCTION meter.chart_label(value numeric, unit text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN CASE
	WHEN unit = '' THEN meter.html_short(value)
	WHEN value = 0 THEN '0'
	WHEN unit = '%' THEN trim_scale(value)::text || '%'
	WHEN unit = 'ms' THEN CASE WHEN value < 1000 THEN trim_scale(round(value, 3))::text || '&#160;ms' ELSE trim_scale(value / 1000)::text || '&#160;s' END
	WHEN value < 1 THEN meter.html_money(value, unit)
	WHEN unit = 'USD' THEN '$' || meter.html_short(value)
	ELSE meter.html_short(value) END;
COMMENT ON FUNCTION meter.chart_label(numeric, text) IS
'What stands at a line of an axis: unit is empty for counts, % or ms, or the code of a currency';

CREATE FUNCTION meter.chart_ticks(from_at timestamptz, to_at timestamptz)
RETURNS TABLE (at timestamptz, label text)
LANGUAGE SQL STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
	SELECT g.at AT TIME ZONE 'UTC',
		CASE
			WHEN s.step >= interval '28 days' THEN to_char(g.at, 'Mon')
			WHEN s.step > interval '1 day' THEN to_char(g.at, 'FMDD Mon')
			WHEN s.step = interval '1 day' THEN to_char(g.at, 'Dy FMDD')
			WHEN g.at = date_trunc('day', g.at) THEN to_char(g.at, 'FMDD Mon')
			ELSE to_char(g.at, 'HH24:MI') END
	FROM (
		-- the finest with which there are nine at most
		SELECT min(t.step) AS step
		FROM unnest('{1 hour,2 hours,3 hours,6 hours,12 hours,1 day,2 days,4 days,7 days,14 days,1 month,2 months}'::interval[]) AS t (step)
		WHERE extract(epoch FROM to_at - from_at) <= 9 * extract(epoch FROM t.step)
	) AS s
	CROSS JOIN LATERAL generate_series(
		CASE WHEN s.step >= interval '28 days' THEN date_trunc('year', from_at AT TIME ZONE 'UTC')
			ELSE date_bin(s.step, from_at AT TIME ZONE 'UTC', '2000-01-03') END,
		to_at AT TIME ZONE 'UTC', s.step) AS g (at)
	WHERE g.at AT TIME ZONE 'UTC' >= from_at AND g.at AT TIME ZONE 'UTC' < to_at - (to_at - from_at) / 24;
END;
COMMENT ON FUNCTION meter.chart_ticks(timestamptz, timestamptz) IS
'What stands below an axis of time (UTC), and where; not at its end, where there is no room for it';

CREATE FUNCTION meter.chart_y(value numeric, top numeric) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN trim_scale(round(100 - 100 * least(value, top) / top, 2));
COMMENT ON FUNCTION meter.chart_y(numeric, numeric) IS
'How far down a value is, given the top of the axis';

CREATE FUNCTION meter.chart_value(value numeric, decade integer) RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN decade IS NULL OR value <= 0 THEN value WHEN value > 0 THEN greatest(0, round(log(value), 4) - decade) END;
COMMENT ON FUNCTION meter.chart_value(numeric, integer) IS
'Where a value is on an axis that is logarithmic from a power of ten on, or with null is not; null stays null';

CREATE FUNCTION meter.chart_line(x numeric[], y numeric[], top numeric) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE((
	SELECT string_agg(CASE WHEN p.before IS NULL
			THEN format('M%s %sh0', p.x, meter.chart_y(p.y, top)) ELSE format('L%s %s', p.x, meter.chart_y(p.y, top)) END,
		'' ORDER BY p.n)
	FROM (
		SELECT u.n, trim_scale(round(u.x, 1)) AS x, u.y, lag(u.y) OVER (ORDER BY u.n) AS before
		FROM unnest(x, y) WITH ORDINALITY AS u (x, y, n)
	) AS p
	WHERE p.y IS NOT NULL), '');
COMMENT ON FUNCTION meter.chart_line(numeric[], numeric[], numeric) IS
'The path of a line through points, broken where a value is null';

CREATE FUNCTION meter.chart_band(x numeric[], low numeric[], high numeric[], top numeric) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE((
	SELECT string_agg(i.path, '' ORDER BY i.island)
	FROM (
		SELECT p.island, format('M%sL%sz', string_agg(format('%s %s', p.x, meter.chart_y(p.high, top)), 'L' ORDER BY p.n),
			string_agg(format('%s %s', p.x, meter.chart_y(p.low, top)), 'L' ORDER BY p.n DESC)) AS path
		FROM (
			SELECT u.n, trim_scale(round(u.x, 1)) AS x, u.low, u.high,
				count(*) FILTER (WHERE u.low IS NULL OR u.high IS NULL) OVER (ORDER BY u.n) AS island
			FROM unnest(x, low, high) WITH ORDINALITY AS u (x, low, high, n)
		) AS p
		WHERE p.low IS NOT NULL AND p.high IS NOT NULL
		GROUP BY p.island
	) AS i), '');
COMMENT ON FUNCTION meter.chart_band(numeric[], numeric[], numeric[], numeric) IS
'The path of the area between two lines, broken where a value is null';

CREATE FUNCTION meter.chart_bars(x numeric[], width numeric, low numeric[], high numeric[], top numeric) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE((
	SELECT string_agg(format('M%s %sh%sV%sh-%sz', trim_scale(round(u.x, 1)), meter.chart_y(u.high, top), trim_scale(round(width, 1)),
		meter.chart_y(u.low, top), trim_scale(round(width, 1))), '' ORDER BY u.n)
	FROM unnest(x, low, high) WITH ORDINALITY AS u (x, low, high, n)
	WHERE u.high > u.low), '');
COMMENT ON FUNCTION meter.chart_bars(numeric[], numeric, numeric[], numeric[], numeric) IS
'The path of bars from low to high: of one part of stacked bars';

CREATE FUNCTION meter.chart_hits(x numeric[], width numeric, titles text[]) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN COALESCE((
	SELECT string_agg(format('<rect class="hit" x="%s" y="0" width="%s" height="100"><title>%s</title></rect>',
		trim_scale(round(u.x, 1)), trim_scale(round(width, 1)), u.title), '' ORDER BY u.n)
	FROM unnest(x, titles) WITH ORDINALITY AS u (x, title, n)), '');
COMMENT ON FUNCTION meter.chart_hits(numeric[], numeric, text[]) IS
'What shows a title, given as markup, where the pointer is';

CREATE FUNCTION meter.chart_plot(body text, from_at timestamptz, to_at timestamptz, top numeric, step numeric,
	unit text, label text, decade integer DEFAULT NULL)
RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN format('<div class="plot"><div class="y" aria-hidden="true">%s</div>'
	'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="%s"><path class="grid" d="%s" />%s</svg>'
	'<div class="x" aria-hidden="true">%s</div></div>',
	(SELECT string_agg(format('<span style="bottom:%s%%">%s</span>', trim_scale(round(100 * g.value / top, 2)),
			meter.chart_label(CASE WHEN decade IS NULL THEN g.value ELSE 10::numeric ^ (g.value + decade) END, unit)), '' ORDER BY g.value)
		FROM generate_series(0, top, step) AS g (value)),
	label,
	(SELECT string_agg(format('M0 %sH1000', meter.chart_y(g.value, top)), '' ORDER BY g.value)
		FROM generate_series(0, top, step) AS g (value)),
	body,
	(SELECT string_agg(format('<span%s style="left:%s%%">%s</span>', CASE WHEN t.n % 2 = 0 THEN ' class="minor"' END,
			trim_scale(round(100 * extract(epoch FROM t.at - from_at) / extract(epoch FROM to_at - from_at), 2)), t.label), '' ORDER BY t.n)
		FROM (SELECT k.at, k.label, row_number() OVER (ORDER BY k.at) AS n FROM meter.chart_ticks(from_at, to_at) AS k) AS t));
COMMENT ON FUNCTION meter.chart_plot(text, timestamptz, timestamptz, numeric, numeric, text, text, integer) IS
'A plot with its axes: what is drawn in it, the time from left to right, top and lines of the axis of values with their unit, and the label for who cannot see it; both as markup. With a decade the values are logarithms, and 0 is that power of ten';

CREATE FUNCTION meter.chart_spark(series numeric[]) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN CASE WHEN array_length(array_remove(series, NULL), 1) > 1 THEN (
	SELECT format('<svg class="spark" viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true"><path class="under" d="%s" /><path class="line" d="%s" /></svg>',
		meter.chart_band(p.x, array_fill(0::numeric, ARRAY[array_length(series, 1)]), series, p.top), meter.chart_line(p.x, series, p.top))
	FROM (
		SELECT array_agg((u.n - 1) * 1000.0 / (array_length(series, 1) - 1) ORDER BY u.n) AS x,
			COALESCE(NULLIF(max(u.y), 0), 1) * 1.08 AS top
		FROM unnest(series) WITH ORDINALITY AS u (y, n)
	) AS p)
	ELSE '<svg class="spark" viewBox="0 0 1000 100" aria-hidden="true"></svg>' END;
COMMENT ON FUNCTION meter.chart_spark(numeric[]) IS
'A small line without axes, from 0 to the highest value';

-- The marks are where budgets warn unless other thresholds are given.
CREATE FUNCTION meter.chart_level(percent numeric, projected numeric, label text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN (
	SELECT format('<div class="level %s" role="img" aria-label="%s">%s<i style="width:%s%%"></i>%s</div>',
		CASE WHEN percent >= 90 THEN 'bad' WHEN percent >= 75 THEN 'warn' ELSE 'good' END, label,
		CASE WHEN projected > percent THEN format('<u style="width:%s%%"></u>', round(100 * least(projected, s.full) / s.full, 1)) END,
		round(100 * greatest(0, least(percent, s.full)) / s.full, 1),
		(SELECT string_agg(format('<b style="left:%s%%"></b>', round(100 * m.mark / s.full, 2)), '' ORDER BY m.mark)
			FROM unnest(CASE WHEN s.full > 100 THEN '{75,90,100}'::numeric[] ELSE '{75,90}' END) AS m (mark)))
	FROM (SELECT least(200, greatest(100, percent, projected)) AS full) AS s);
COMMENT ON FUNCTION meter.chart_level(numeric, numeric, text) IS
'A bar of how much is used, in percent, with marks at 75 and 90 %, and what is projected, if that is more; null: nothing is. Above 100 % it is as long as what is used or projected, 200 % at most, with a mark at 100 %. The label is markup';
