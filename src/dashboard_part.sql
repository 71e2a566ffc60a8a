-- dashboard_part.sql: what the sections of the dashboard are put together from
--
-- Arguments that are markup are named so; all others are text.

CREATE FUNCTION meter.dashboard_card(class text, title text, note_markup text, body_markup text) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN format(E'<section class="card %s">\n<header><h2>%s</h2>%s</header>\n%s\n</section>', class, meter.html(title),
	CASE WHEN note_markup LIKE '<%' THEN note_markup WHEN note_markup <> '' THEN format('<p class="note">%s</p>', note_markup) END, body_markup);
COMMENT ON FUNCTION meter.dashboard_card(text, text, text, text) IS
'A section with its title, and a note or legend beside it, if any';

CREATE FUNCTION meter.dashboard_empty(message text) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN format('<p class="empty">%s</p>', meter.html(message));
COMMENT ON FUNCTION meter.dashboard_empty(text) IS
'What stands where there is nothing to show';

CREATE FUNCTION meter.dashboard_legend(keys text[], titles text[]) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN format('<ul class="legend">%s</ul>', (
	SELECT string_agg(format('<li><i class="k-%s"></i>%s</li>', u.key, meter.html(u.title)), '' ORDER BY u.n)
	FROM unnest(keys, titles) WITH ORDINALITY AS u (key, title, n)));
COMMENT ON FUNCTION meter.dashboard_legend(text[], text[]) IS
'The legend of a chart: classes of the style sheet, and what they stand for';

CREATE FUNCTION meter.dashboard_figure(id text, title text, value numeric, value_markup text, change_markup text, spark_markup text)
RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN format(E'<section class="card figure s2">\n<h2>%s</h2>\n<p class="value"><data id="%s" value="%s">%s</data></p>\n<p class="change">%s</p>\n%s</section>',
	meter.html(title), id, trim_scale(value), value_markup, change_markup, spark_markup);
COMMENT ON FUNCTION meter.dashboard_figure(text, text, numeric, text, text, text) IS
'A headline figure, with its exact value for who reads the page by program';

CREATE FUNCTION meter.dashboard_change(now numeric, before numeric, points boolean, worse integer) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN (
	SELECT CASE WHEN d.change IS NULL THEN 'nothing before'
	WHEN round(d.change, 2) = 0 THEN 'as before'
	ELSE format('<span class="%s">%s&#8202;%s</span> from before',
		CASE WHEN sign(d.change) = worse THEN 'up worse' WHEN worse <> 0 THEN 'down better' ELSE 'up' END,
		CASE WHEN d.change > 0 THEN '&#9650;' ELSE '&#9660;' END,
		CASE WHEN points THEN trim_scale(round(abs(d.change), 2))::text || '&#160;points' ELSE meter.html_percent(abs(d.change)) END) END
FROM (SELECT CASE WHEN points THEN now - before ELSE 100 * (now - before) / NULLIF(before, 0) END AS change) AS d);
COMMENT ON FUNCTION meter.dashboard_change(numeric, numeric, boolean, integer) IS
'How a figure has changed, in percent or in points; worse is 1 if more of it is, 0 if it is neither';

CREATE FUNCTION meter.dashboard_share(part numeric, most numeric) RETURNS text
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN format('<td class="share wide"><i><u style="width:%s%%"></u></i></td>', COALESCE(round(100 * part / NULLIF(most, 0), 1), 0));
COMMENT ON FUNCTION meter.dashboard_share(numeric, numeric) IS
'A cell with a bar: how much it is of the largest one';

CREATE FUNCTION meter.dashboard_errors(requests bigint, errors bigint, class text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN format('<td class="%s%s">%s</td>', class, CASE WHEN errors >= 0.05 * requests AND errors > 0 THEN ' high' END,
	meter.html_percent(100 * errors::numeric / NULLIF(requests, 0)));
COMMENT ON FUNCTION meter.dashboard_errors(bigint, bigint, text) IS
'A cell with an error rate, which stands out from 5 % on';
