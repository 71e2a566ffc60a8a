/*
 * secret.c
 *		Finding and masking credentials in text that is about to be stored.
 *
 * Endpoints, error messages and metadata come from the outside and sometimes
 * carry what must not end up in a table and its backups.  Found are
 *
 *		- values of names that hold secrets: api_key=x, "password": "x"
 *		- what follows Bearer and Basic, and the Authorization and Cookie
 *		  headers
 *		- keys that tell by their shape what they are: sk_live_..., AKIA...,
 *		  JSON web tokens
 *		- private keys in PEM, and passwords in URLs
 *
 * The text is cut into names, runs of letters, digits, '_', '-' and '.', and
 * only a name, what it starts with and what follows it are looked at.  The
 * scan goes on after what it found, so that it takes linear time.  Two rules
 * make the result stable when it is masked again: a mask has no character of
 * a name, so it cannot join what stood on either side of it, and a value that
 * is a mask already is passed over.
 */
#include "core/hot.h"
#include "core/secret_scan.h"

/* ---------------------------------------------------------------------- */
/* Values. */

/*
 * How far a value may go that begins at position.  What ends the host of a
 * URL must stay, or else more of the text would be the host.
 */
static inline size_t
value_limit(const Scan *scan, size_t position)
{
	return position < scan->authority_end ? scan->authority_end : scan->length;
}

/* Where a value without quotes ends; encoded is as skip_separator sets it. */
static size_t
value_end(const Scan *scan, size_t position, bool encoded)
{
	const char *s = scan->s;
	size_t		length = value_limit(scan, position);

	for (; position < length; position++)
	{
		char		c = s[position];

		if (CLASS(c) & STOP)
			break;
		if (c == '\\' && position + 1 < length &&
			(s[position + 1] == '"' || s[position + 1] == '\''))
			break;
		/* A bracket ends it where it closes something. */
		if ((c == ')' || c == ']' || c == '}') &&
			(position + 1 == length || (CLASS(s[position + 1]) & STOP) ||
			 memchr(")]}.", s[position + 1], 4) != NULL))
			break;
		if (encoded && c == '%' && length - position >= 3 &&
			s[position + 1] == '2' &&
			(s[position + 2] == '2' || s[position + 2] == '6'))
			break;				/* a quote or an ampersand */
	}
	return position;
}

/*
 * Where a value ends whose quote stood before position, after so many
 * backslashes: at the next such quote that is not escaped.
 */
static size_t
quoted_end(const Scan *scan, size_t position, char quote, size_t backslashes)
{
	const char *s = scan->s;
	size_t		length = scan->length;

	while (position < length)
	{
		size_t		run = position;

		if (s[position] == quote)
		{
			/* 'it''s' */
			if (quote == '\'' && backslashes == 0 && position + 1 < length &&
				s[position + 1] == quote)
			{
				position += 2;
				continue;
			}
			return position;
		}
		while (position < length && s[position] == '\\')
			position++;
		run = position - run;
		if (run == 0)
			position++;
		else if (position < length && s[position] == quote)
		{
			if (run <= backslashes)
				return position - run;
			if (backslashes > 0 || run % 2 == 1)
				position++;		/* escaped */
		}
	}
	return length;
}

static size_t
line_end(const Scan *scan, size_t position, char quote)
{
	const char *s = scan->s;
	size_t		length = value_limit(scan, position);

	while (position < length && s[position] != '\n' &&
		   s[position] != '\r' && (quote == 0 || s[position] != quote))
		position++;
	return position;
}

/*
 * If an authentication scheme and spaces are at position, where what follows
 * begins, otherwise position.  *single says whether that is a single word.
 */
static size_t
skip_scheme(const Scan *scan, size_t position, bool *single)
{
	static const struct
	{
		const char *name;
		bool		single;
	}			schemes[] = {
		{"bearer", true}, {"basic", true}, {"token", true}, {"apikey", true},
		{"negotiate", true}, {"ntlm", true}, {"digest", false},
		{"oauth", false}, {"hawk", false}, {"hmac", false},
		{"signature", false}, {"aws4-hmac-sha256", false},
	};

	for (size_t i = 0; i < COUNT(schemes); i++)
	{
		size_t		after = position + strlen(schemes[i].name);

		if (word_at(scan, position, schemes[i].name) &&
			after < scan->length && (CLASS(scan->s[after]) & SPACE))
		{
			*single = schemes[i].single;
			return skip_class(scan, after, SPACE);
		}
	}
	return position;
}

/*
 * Go over what separates a name from its value, and say whether it does:
 * = : => := ==, with spaces, and %3D %3A where text is encoded for a URL.
 * *colon becomes true for a colon, as headers have it.
 */
static bool
skip_separator(const Scan *scan, size_t *position, bool *colon, bool *encoded)
{
	const char *s = scan->s;
	size_t		length = scan->length;
	size_t		i = *position;

	if (length - i >= 3 && s[i] == '%' && s[i + 1] == '3' &&
		(lower(s[i + 2]) == 'd' || lower(s[i + 2]) == 'a'))
	{
		*colon = false;
		*encoded = true;
		*position = i + 3;
		return true;
	}
	i = skip_class(scan, i, SPACE);
	if (i == length || (s[i] != '=' && s[i] != ':'))
		return false;
	*colon = s[i] == ':';
	*encoded = false;
	i++;
	if (*colon && i < length &&
		(s[i] == ':' ||
		 (s[i] == '/' && i + 1 < length && s[i + 1] == '/')))
		return false;			/* token::text, secret://x */
	if (i < length && (s[i] == '=' || (s[i] == '>' && !*colon)))
	{
		*colon = false;
		i++;
	}
	*position = skip_class(scan, i, SPACE);
	return true;
}

/*
 * A value that is a list or an object: what is between the bracket at
 * position and the next that closes one.  Messages of parsers have brackets
 * that are not closed.
 */
static bool
find_in_brackets(Scan *scan, size_t position, Range *found)
{
	bool		brace = scan->s[position] == '{';
	bool	   *none = brace ? &scan->no_brace : &scan->no_bracket;
	size_t		limit = value_limit(scan, position);
	const char *end;

	if (*none)
		return false;
	end = memchr(scan->s + position, brace ? '}' : ']', limit - position);
	if (end == NULL)
	{
		*none = limit == scan->length;
		return false;
	}
	found->from = position + 1;
	found->to = end - scan->s;
	scan->position = found->to;
	return found->to > found->from && !is_mask(scan, *found);
}

/*
 * The value that belongs to the name [start, end), if the name holds a
 * secret.  Sets the position to where the scan goes on if that is no value to
 * mask.
 */
static bool
find_value(Scan *scan, size_t start, size_t end, Range *found)
{
	const char *s = scan->s;
	size_t		length = scan->length;
	size_t		i = end;
	size_t		backslashes = 0;
	size_t		from;
	bool		colon;
	bool		encoded;
	bool		single = false;
	char		quote = 0;
	char		before = start > 0 ? s[start - 1] : 0;

	/* user[password]=, "password":, \"password\": */
	if (i < length && s[i] == ']')
		i++;
	else if (length - i >= 3 && s[i] == '%' &&
			 ((s[i + 1] == '5' && lower(s[i + 2]) == 'd') ||
			  (s[i + 1] == '2' && s[i + 2] == '2')))
		i += 3;
	else
	{
		while (i < length && s[i] == '\\')
			i++;
		if (i < length && (s[i] == '"' || s[i] == '\'' || s[i] == '`'))
			i++;
		else
			i = end;
	}
	if (!skip_separator(scan, &i, &colon, &encoded))
		return false;
	if (!secret_key(s + start, end - start) &&
		!((before == '?' || before == '&') && end - start == 3 &&
		  s[end] == '=' && word_at(scan, start, "key")))
		return false;

	/* The quote of the value. */
	from = i;
	if (encoded && length - i >= 3 && memcmp(s + i, "%22", 3) == 0)
		from = i + 3;
	else
	{
		while (from < length && s[from] == '\\')
			from++;
		if (from < length &&
			(s[from] == '"' || s[from] == '\'' || s[from] == '`'))
		{
			backslashes = from - i;
			quote = s[from++];
			/* ''x'', in a string of SQL */
			if (quote == '\'' && length - from >= 2 && s[from] == quote &&
				(CLASS(s[from + 1]) & ALNUM))
				from++;
		}
		else
			from = i;
	}

	if (quote != 0)
	{
		found->to = quoted_end(scan, from, quote, backslashes);
		found->from = skip_scheme(scan, from, &single);
		if (found->from > found->to)
			found->from = from;
	}
	else
	{
		if (from < length && (s[from] == '{' || s[from] == '['))
			return find_in_brackets(scan, from, found);
		if (secret_pem_header_end(scan, from) > 0)
			return false;		/* it has a rule of its own */
		if (length - from > MASK_LENGTH &&
			memcmp(s + from, SECRET_MASK "@", MASK_LENGTH + 1) == 0)
			return false;		/* the password of a://token:***@host */
		found->from = skip_scheme(scan, from, &single);
		if (colon && !single && secret_header(s + start, end - start))
			found->to = line_end(scan, found->from,
								 before == '"' || before == '\'' ? before : 0);
		else
			found->to = value_end(scan, found->from, encoded);
		if (found->to - found->from == 4 &&
			memcmp(s + found->from, "null", 4) == 0)
			return false;
	}
	scan->position = found->to;
	return found->to > found->from && !is_mask(scan, *found);
}

/* ---------------------------------------------------------------------- */
/* Bearer and Basic outside of a header. */

/* Words that follow "Bearer" in messages about it. */
static bool
is_prose(const Scan *scan, Range range)
{
	static const char *const words[] = {
		"access", "and", "auth", "authentication", "authorization",
		"challenge", "credential", "credentials", "error", "expired",
		"format", "from", "has", "header", "in", "invalid", "is", "missing",
		"must", "not", "of", "or", "prefix", "realm", "required", "scheme",
		"schema", "string", "token", "tokens", "type", "value", "was", "with",
	};

	for (size_t i = 0; i < COUNT(words); i++)
	{
		if (range.to - range.from == strlen(words[i]) &&
			word_at(scan, range.from, words[i]))
			return true;
	}
	return false;
}

static bool
find_bearer(const Scan *scan, size_t start, size_t value, Range *found)
{
	const char *s = scan->s;
	unsigned	any = 0;
	size_t		i = value;

	while (i < scan->length &&
		   ((CLASS(s[i]) & (NAME | BASE64)) || s[i] == '~'))
		any |= CLASS(s[i++]);
	while (i > value && s[i - 1] == '.')
		i--;					/* of a sentence */
	found->from = value;
	found->to = i;
	if (i == value)
		return false;
	if (s[start] == 'B')
		return !is_prose(scan, *found);

	/* "the bearer of bad news" */
	return i - value >= 20 || (any & DIGIT);
}

/* Is there user:password in base64? */
static bool
has_colon(const char *s, size_t length)
{
	unsigned	bits = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned	class = CLASS(s[i]);
		unsigned	value;

		if (class & UPPER)
			value = s[i] - 'A';
		else if (class & LOWER)
			value = s[i] - 'a' + 26;
		else if (class & DIGIT)
			value = s[i] - '0' + 52;
		else
			value = s[i] == '+' || s[i] == '-' ? 62 : 63;
		bits = bits << 6 | value;
		/* After four characters there are three bytes, after three two. */
		if ((i % 4 == 1 && (bits >> 4 & 0xFF) == ':') ||
			(i % 4 == 2 && (bits >> 2 & 0xFF) == ':') ||
			(i % 4 == 3 && (bits & 0xFF) == ':'))
			return true;
	}
	return false;
}

static bool
find_basic(const Scan *scan, size_t value, Range *found)
{
	const char *s = scan->s;
	unsigned	any = 0;		/* of what follows the first character */
	size_t		i = value;
	size_t		end;

	while (i < scan->length && ((CLASS(s[i]) & (ALNUM | BASE64)) ||
								s[i] == '-' || s[i] == '_'))
	{
		if (i > value)
			any |= CLASS(s[i]);
		i++;
	}
	found->from = value;
	found->to = i;
	end = i;
	while (end > value && s[end - 1] == '=')
		end--;
	if (end - value < 4 || !(any & LOWER) || !(any & (UPPER | DIGIT)))
		return false;			/* "Basic authentication" */
	return has_colon(s + value, end - value) ||
		(end - value >= 8 && (any & DIGIT));
}

/* ---------------------------------------------------------------------- */
/* URLs. */

/*
 * The scheme of a URL ends at position: remember where its password is, and
 * where the search for it ended.  A user name with other characters than are
 * allowed, as a masked one has, is none.
 */
static void
find_password(Scan *scan, size_t position)
{
	const char *s = scan->s;
	size_t		i = position + 3;
	size_t		colon = 0;
	size_t		at = 0;
	bool		valid = true;
	Range		password;

	for (; i < scan->length; i++)
	{
		char		c = s[i];

		if (c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' ||
			c == '<' || c == '>' || c == '`' || c == '\\' ||
			(unsigned char) c <= ' ')
			break;
		if (c == '@')
			at = i;
		else if (c == ':' && colon == 0)
			colon = i;
		else if (colon == 0 && !(CLASS(c) & NAME) && c != '~' && c != '%' &&
				 c != '+')
			valid = false;
	}
	scan->authority_end = i;
	password.from = colon + 1;
	password.to = at;
	if (valid && colon > 0 && at > colon + 1 && !is_mask(scan, password))
		scan->password = password;
}

/* ---------------------------------------------------------------------- */

/*
 * Look at the name that begins at start.  Returns true if a secret was found;
 * otherwise the position is where the scan goes on.
 */
static bool
find_at_name(Scan *scan, size_t start, Range *found)
{
	const char *s = scan->s;
	size_t		length = scan->length;
	size_t		end = start;
	size_t		value;

	if (secret_find_shape(scan, start, &end, found))
		return true;
	scan->position = end;
	if (end == length)
		return false;

	switch (s[end])
	{
		case ' ':
		case '\t':
			value = skip_class(scan, end, SPACE);
			if (end - start == 6 && word_at(scan, start, "bearer"))
				return find_bearer(scan, start, value, found);
			if (end - start == 5 && word_at(scan, start, "basic"))
				return find_basic(scan, value, found);
			if (end - start >= 10 && s[end] == ' ' &&
				(value = secret_pem_header_end(scan, end - 10)) > 0)
			{
				*found = secret_pem_body(scan, value);
				scan->position = found->to;
				return found->to > found->from && !is_mask(scan, *found);
			}
			return find_value(scan, start, end, found);

		case ':':
			if (length - end >= 3 && s[end + 1] == '/' &&
				s[end + 2] == '/')
			{
				find_password(scan, end);
				return false;
			}
			return find_value(scan, start, end, found);

		case '=':
		case '"':
		case '\'':
		case '`':
		case '\\':
		case '%':
		case ']':
			return find_value(scan, start, end, found);
	}
	return false;
}

/*
 * Keep the secret found out of what ends the host of a URL, where
 * value_limit() does not see to it.  Returns false if nothing but a mask
 * remains.
 */
static bool
clip(const Scan *scan, Range *found)
{
	size_t		end = scan->authority_end;

	if (end > 0 && found->from == end)
		found->from++;
	else if (found->from < end && found->to > end)
		found->to = end;
	return found->to > found->from && !is_mask(scan, *found);
}

/*
 * Find the next secret, and set the position to its end.
 */
HOT_PATH static bool
find_next(Scan *scan, Range *found)
{
	while (scan->position < scan->length)
	{
		size_t		start = scan->position;
		Range		password = scan->password;
		bool		is_found = false;

		while (start < scan->length && !(CLASS(scan->s[start]) & NAME))
			start++;
		if (start < scan->length &&
			(password.to == 0 || start < password.from))
		{
			if (find_at_name(scan, start, found))
			{
				is_found = clip(scan, found);
				start = found->from;
				scan->position = found->to;
			}
			else
				start = scan->position;
		}

		/*
		 * Whatever was found at or behind the password of the URL gives way
		 * to it; if the secret found reaches into it, it is done.
		 */
		if (password.to > 0 && start >= password.from)
		{
			scan->password.to = 0;
			scan->position = password.to;
			*found = password;
			return true;
		}
		if (is_found && scan->position >= password.from)
			scan->password.to = 0;
		if (is_found)
			return true;
		if (start == scan->length)
			scan->position = start;
	}
	return false;
}

HOT_PATH bool
secret_found(const char *s, size_t length)
{
	Scan		scan = {.s = s,.length = length};
	Range		found;

	return find_next(&scan, &found);
}

size_t
secret_mask(const char *s, size_t length, char *out)
{
	Scan		scan = {.s = s,.length = length};
	Range		found;
	size_t		copied = 0;
	char	   *o = out;

	while (find_next(&scan, &found))
	{
		memcpy(o, s + copied, found.from - copied);
		o += found.from - copied;
		memcpy(o, SECRET_MASK, MASK_LENGTH);
		o += MASK_LENGTH;
		copied = found.to;
	}
	memcpy(o, s + copied, length - copied);
	return o + (length - copied) - out;
}
