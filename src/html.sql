-- html.sql: text, numbers and times as they are written into a page
--
-- What these functions return is markup in plain ASCII: what text comes from data
-- goes through meter.html(), and all else is made of digits and words of ours.

CREATE FUNCTION meter.html(text text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'meter_html';
COMMENT ON FUNCTION meter.html(text) IS
'Text as it is written into HTML or XML, in an element or in a quoted attribute: plain ASCII without markup; characters beyond ASCII as numeric references, control characters and what is no character as U+FFFD. Errors: 54000 for text above 128 MB';

CREATE FUNCTION meter.html_number(value numeric) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN COALESCE(to_char(round(value), 'FM999,999,999,999,999,999,999,999,999,999,999,999,990'), '&#8211;');
COMMENT ON FUNCTION meter.html_number(numeric) IS
'A whole number with commas between thousands; a dash for null';

CREATE FUNCTION meter.html_short(value numeric) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN CASE
	WHEN value IS NULL THEN '&#8211;'
	WHEN abs(value) < 100 THEN trim_scale(round(value, CASE WHEN abs(value) < 1 THEN 4 ELSE 2 END))::text
	WHEN abs(value) < 9999.5 THEN meter.html_number(value)
	WHEN abs(value) < 999950 THEN trim_scale(round(value / 1000, 1))::text || 'k'
	WHEN abs(value) < 999950000 THEN trim_scale(round(value / 1000000, 2))::text || 'M'
	ELSE trim_scale(round(value / 1000000000, 2))::text || 'B' END;
COMMENT ON FUNCTION meter.html_short(numeric) IS
'A number in few characters, such as 45.6k; a dash for null';

CREATE FUNCTION meter.html_ms(value double precision) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN CASE
	WHEN value IS NULL THEN '&#8211;'
	WHEN value < 10 THEN trim_scale(round(value::numeric, 1))::text || '&#160;ms'
	WHEN value < 999.5 THEN round(value::numeric)::text || '&#160;ms'
	WHEN value < 99995 THEN round(value::numeric / 1000, 2)::text || '&#160;s'
	ELSE meter.html_number(value::numeric / 1000) || '&#160;s' END;
COMMENT ON FUNCTION meter.html_ms(double precision) IS
'Milliseconds, or seconds from 1 s on; a dash for null';

CREATE FUNCTION meter.html_percent(value numeric) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN CASE
	WHEN value IS NULL THEN '&#8211;'
	WHEN value = 0 THEN '0%'
	WHEN abs(value) < 9.995 THEN round(value, 2)::text || '%'
	WHEN abs(value) < 999.95 THEN round(value, 1)::text || '%'
	ELSE meter.html_number(value) || '%' END;
COMMENT ON FUNCTION meter.html_percent(numeric) IS
'A percentage; a dash for null';

CREATE FUNCTION meter.html_money(amount numeric, currency text) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN CASE
	WHEN amount IS NULL THEN '&#8211;'
	ELSE CASE WHEN amount < 0 THEN '&#8722;' ELSE '' END
		|| CASE currency WHEN 'USD' THEN '$' WHEN 'EUR' THEN '&#8364;' WHEN 'GBP' THEN '&#163;' WHEN 'JPY' THEN '&#165;'
			WHEN 'INR' THEN '&#8377;' ELSE COALESCE(meter.html(NULLIF(currency, '')) || '&#160;', '') END
		|| CASE WHEN abs(amount) < 0.1 AND amount <> 0 THEN to_char(abs(amount), CASE WHEN abs(amount) < 0.001 THEN 'FM0.000000' ELSE 'FM0.0000' END)
			WHEN abs(amount) >= 100000 OR meter.currency_digits(currency) = 0
				THEN to_char(abs(amount), 'FM999,999,999,999,999,999,999,999,999,999,999,999,990')
			ELSE to_char(abs(amount), 'FM999,999,999,990.00') END
	END;
COMMENT ON FUNCTION meter.html_money(numeric, text) IS
'An amount of a currency, null or empty if it is not known: with decimals below 100000, and with four or six below 0.1; a dash for null';

CREATE FUNCTION meter.html_span(span interval) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN (
	SELECT CASE
		WHEN s.seconds IS NULL THEN '&#8211;'
		WHEN s.seconds < 10 THEN trim_scale(round(s.seconds, 1))::text || '&#160;s'
		WHEN s.seconds < 60 THEN floor(s.seconds)::text || '&#160;s'
		WHEN s.seconds < 3600 THEN floor(s.seconds / 60)::text || '&#160;min'
		WHEN s.seconds < 172800 THEN floor(s.seconds / 3600)::text || '&#160;h'
		ELSE floor(s.seconds / 86400)::text || '&#160;d' END
	FROM (SELECT extract(epoch FROM span) AS seconds) AS s);
COMMENT ON FUNCTION meter.html_span(interval) IS
'How long something takes or is ago, in the largest unit that it has one of (days from two on); a dash for null';

CREATE FUNCTION meter.html_time(at timestamptz) RETURNS text
LANGUAGE SQL STABLE PARALLEL SAFE
RETURN COALESCE('<time datetime="' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '">'
	|| to_char(at AT TIME ZONE 'UTC', 'FMDD Mon HH24:MI') || '</time>', '&#8211;');
COMMENT ON FUNCTION meter.html_time(timestamptz) IS
'A time of UTC, as an element; a dash for null';
