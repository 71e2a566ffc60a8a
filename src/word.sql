-- word.sql: columns that hold one of several words

-- For constraints, which by themselves say only that a row is wrong.  The list of
-- words is in the constraint, and nowhere else.
CREATE FUNCTION meter.word_check(word text, constraint_name text, words text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation text;
	attribute text;
BEGIN
	IF word = ANY (words) THEN
		RETURN true;
	END IF;
	SELECT c.relname, a.attname INTO relation, attribute
	FROM pg_constraint AS k
	JOIN pg_class AS c ON c.oid = k.conrelid
	JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
	WHERE k.connamespace = 'meter'::regnamespace AND k.conname = constraint_name;
	RAISE EXCEPTION 'new row for relation "%" violates check constraint "%"', relation, constraint_name
		USING ERRCODE = 'check_violation', SCHEMA = 'meter', TABLE = relation, COLUMN = attribute, CONSTRAINT = constraint_name,
			DETAIL = format('%s is "%s".', attribute, word),
			HINT = format('It is one of %s and %s.', array_to_string(words[: cardinality(words) - 1], ', '), words[cardinality(words)]);
END
$$;
COMMENT ON FUNCTION meter.word_check(text, text, text[]) IS
'True if the word is one of these, for the constraint of that name. Errors: 23514, with the words as a hint';
