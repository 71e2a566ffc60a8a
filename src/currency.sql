-- currency.sql: digits of currencies, and rates between them

-- The minor units of ISO 4217, list one.
CREATE FUNCTION meter.currency_digits(currency text) RETURNS integer
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN CASE
	WHEN currency = ANY (ARRAY['BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF',
		'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF']) THEN 0
	WHEN currency = ANY (ARRAY['BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND']) THEN 3
	WHEN currency = ANY (ARRAY['CLF', 'UYW']) THEN 4
	WHEN currency IS NOT NULL THEN 2
END;
COMMENT ON FUNCTION meter.currency_digits(text) IS
'Decimals of amounts in a currency, given its ISO 4217 code: 0, 3 or 4 for those that have so many, otherwise 2; null for null';

CREATE TABLE meter.fx_rate (
	base text COLLATE "C" NOT NULL
		CONSTRAINT fx_rate_base_check CHECK (base ~ '^[A-Z]{3}$'),
	quote text COLLATE "C" NOT NULL
		CONSTRAINT fx_rate_quote_check CHECK (quote ~ '^[A-Z]{3}$'),
	valid_from date NOT NULL
		CONSTRAINT fx_rate_valid_from_check CHECK (isfinite(valid_from)),
	rate numeric NOT NULL
		CONSTRAINT fx_rate_rate_check CHECK (rate > 0 AND rate < 'Infinity'),
	PRIMARY KEY (base, quote, valid_from),
	CONSTRAINT fx_rate_base_quote_check CHECK (base <> quote)
);
COMMENT ON TABLE meter.fx_rate IS
'Exchange rates: on a day, the one of the pair with the latest valid_from that is not after it is in force. Each direction is a row of its own';
COMMENT ON COLUMN meter.fx_rate.base IS 'ISO 4217 code of the currency that is converted';
COMMENT ON COLUMN meter.fx_rate.quote IS 'ISO 4217 code of the currency into which it is converted';
COMMENT ON COLUMN meter.fx_rate.valid_from IS 'first day of the rate, until the next one of the pair begins';
COMMENT ON COLUMN meter.fx_rate.rate IS 'what one unit of base is in quote, above 0';

SELECT pg_catalog.pg_extension_config_dump('meter.fx_rate', '');

-- What needs the rate is only told in the error, so nothing is made of it before:
-- it is asked for each line of a bill.
CREATE FUNCTION meter.fx(base text, quote text, on_day date, for_what text DEFAULT NULL, name text DEFAULT NULL)
RETURNS numeric
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_rate numeric;
BEGIN
	IF base IS NULL OR quote IS NULL OR on_day IS NULL THEN
		RETURN NULL;
	ELSIF base = quote THEN
		RETURN 1;
	END IF;
	SELECT r.rate INTO found_rate FROM meter.fx_rate AS r
	WHERE r.base = fx.base AND r.quote = fx.quote AND r.valid_from <= on_day
	ORDER BY r.valid_from DESC LIMIT 1;
	IF found_rate IS NULL THEN
		RAISE EXCEPTION 'there is no exchange rate from % to % on %', base, quote, on_day
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = CASE WHEN for_what IS NULL THEN 'No rate of the pair is in force on that day.'
					ELSE format('It is needed for %s "%s".', for_what, name) END,
				HINT = 'Add it to meter.fx_rate. The rate of the other direction does not count.';
	END IF;
	RETURN found_rate;
END
$$;
COMMENT ON FUNCTION meter.fx(text, text, date, text, text) IS
'What one unit of the first currency was in the second on a day, by meter.fx_rate; 1 if they are the same. What is converted, and its name, are told by the error. Errors: 22023 if there is no rate';
