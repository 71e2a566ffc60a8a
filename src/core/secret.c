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
#include <string.h>

#include "core/secret.h"

#define MASK_LENGTH (sizeof(SECRET_MASK) - 1)

/* Longest label of a PEM block, as in BEGIN PGP PRIVATE KEY BLOCK. */
#define MAX_LABEL 40

/* Longest first part of a SendGrid key; they have 22. */
#define MAX_SENDGRID 64

/* What a byte can be. */
#define DIGIT 0x01
#define LOWER 0x02
#define UPPER 0x04
#define JOINT 0x08				/* - _ . */
#define FIRST 0x10				/* a known shape can begin with it */
#define SPACE 0x20
#define STOP 0x40				/* ends a value without quotes */
#define BASE64 0x80				/* + / = */
#define LETTER (LOWER | UPPER)
#define ALNUM (DIGIT | LETTER)
#define NAME (ALNUM | JOINT)

#define d DIGIT
#define l LOWER
#define F (LOWER | FIRST)
#define U UPPER
#define G (UPPER | FIRST)
#define s (SPACE | STOP)

static const unsigned char byte_class[256] = {
	['\t'] = s,['\n'] = STOP,['\r'] = STOP,[' '] = s,
	['"'] = STOP,['&'] = STOP,['\''] = STOP,[','] = STOP,[';'] = STOP,
	['<'] = STOP,['>'] = STOP,['`'] = STOP,
	['+'] = BASE64,['/'] = BASE64,['='] = BASE64,
	['-'] = JOINT,['.'] = JOINT,['_'] = JOINT,
	['0'] = d,['1'] = d,['2'] = d,['3'] = d,['4'] = d,['5'] = d,['6'] = d,
	['7'] = d,['8'] = d,['9'] = d,
	['A'] = G,['B'] = U,['C'] = U,['D'] = U,['E'] = U,['F'] = U,['G'] = U,
	['H'] = U,['I'] = U,['J'] = U,['K'] = U,['L'] = U,['M'] = U,['N'] = U,
	['O'] = U,['P'] = U,['Q'] = U,['R'] = U,['S'] = G,['T'] = U,['U'] = U,
	['V'] = U,['W'] = U,['X'] = U,['Y'] = U,['Z'] = U,
	['a'] = l,['b'] = l,['c'] = l,['d'] = l,['e'] = F,['f'] = l,['g'] = F,
	['h'] = l,['i'] = l,['j'] = l,['k'] = l,['l'] = l,['m'] = l,['n'] = l,
	['o'] = l,['p'] = l,['q'] = l,['r'] = F,['s'] = F,['t'] = l,['u'] = l,
	['v'] = l,['w'] = F,['x'] = F,['y'] = l,['z'] = l,
};

#undef d
#undef l
#undef F
#undef U
#undef G
#undef s

#define CLASS(c) (byte_class[(unsigned char) (c)])

/* Positions [from, to) of the text. */
typedef struct Range
{
	size_t		from;
	size_t		to;
} Range;

typedef struct Scan
{
	const char *s;
	size_t		length;
	size_t		position;		/* what comes before is done */

	/*
	 * Of the URL that the scan is in or behind: where the part with user and
	 * host ends, and the password in it; none if password.to is 0.
	 */
	size_t		authority_end;
	Range		password;

	/*
	 * What was looked for in vain is not looked for again: no JSON web token
	 * and no sk- key begins before these positions, and no such bracket is
	 * closed after the current one.
	 */
	size_t		no_jwt;
	size_t		no_sk;
	bool		no_bracket;
	bool		no_brace;
} Scan;

static inline char
lower(char c)
{
	return CLASS(c) & UPPER ? c | 0x20 : c;
}

/* Is text at position the word, given in lower case, in whatever case? */
static bool
word_at(const Scan *scan, size_t position, const char *word)
{
	size_t		length = strlen(word);

	if (length > scan->length - position)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (lower(scan->s[position + i]) != word[i])
			return false;
	}
	return true;
}

/* The end of the run of bytes of a class. */
static inline size_t
skip_class(const Scan *scan, size_t position, unsigned class)
{
	while (position < scan->length && (CLASS(scan->s[position]) & class))
		position++;
	return position;
}

static inline bool
is_mask(const Scan *scan, Range range)
{
	return range.to - range.from == MASK_LENGTH &&
		memcmp(scan->s + range.from, SECRET_MASK, MASK_LENGTH) == 0;
}

/* ---------------------------------------------------------------------- */
/* Names. */

typedef struct Word
{
	const char *s;
	size_t		length;
} Word;

#define WORD(s) {s, sizeof(s) - 1}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Names that hold secrets, with anything before them: db_password. */
static const Word endings[] = {
	WORD("accesskey"), WORD("apikey"), WORD("connectionstring"),
	WORD("credential"), WORD("credentials"), WORD("passphrase"),
	WORD("passwd"), WORD("password"), WORD("passwordconfirmation"),
	WORD("privatekey"), WORD("pwd"), WORD("secret"), WORD("secretkey"),
	WORD("signingkey"), WORD("token"),
};

/* Names that hold secrets only as they are. */
static const Word headers[] = {
	WORD("authorization"), WORD("proxyauthorization"),
	WORD("httpauthorization"), WORD("cookie"), WORD("setcookie"),
	WORD("httpcookie"),
};

/*
 * Does a name, but for its joints and its case, end with the word?  Goes from
 * the end, as that is where most names differ.  With whole, it must be the
 * word.
 */
static inline bool
ends_with(const char *name, size_t length, const Word *word, bool whole)
{
	size_t		left = word->length;

	while (left > 0)
	{
		while (length > 0 && (CLASS(name[length - 1]) & JOINT))
			length--;
		if (length == 0 || lower(name[length - 1]) != word->s[left - 1])
			return false;
		length--;
		left--;
	}
	while (whole && length > 0 && (CLASS(name[length - 1]) & JOINT))
		length--;
	return !whole || length == 0;
}

static bool
is_header(const char *name, size_t length)
{
	for (size_t i = 0; i < COUNT(headers); i++)
	{
		if (ends_with(name, length, &headers[i], true))
			return true;
	}
	return false;
}

bool
secret_key(const char *key, size_t length)
{
	/* password2 */
	while (length > 0 && (CLASS(key[length - 1]) & (DIGIT | JOINT)))
		length--;
	for (size_t i = 0; i < COUNT(endings); i++)
	{
		if (ends_with(key, length, &endings[i], false))
			return true;
	}
	return is_header(key, length);
}

/* ---------------------------------------------------------------------- */
/* Keys that are known by their shape. */

typedef struct Shape
{
	const char *prefix;
	unsigned	class;			/* of the bytes that follow */
	unsigned	least;			/* how many must follow */
	char		also;			/* another byte that may follow, or 0 */
} Shape;

static const Shape shapes[] = {
	{"sk_live_", ALNUM, 6, '_'},	/* Stripe */
	{"sk_test_", ALNUM, 6, '_'},
	{"rk_live_", ALNUM, 6, '_'},
	{"rk_test_", ALNUM, 6, '_'},
	{"whsec_", ALNUM | BASE64, 16, '_'},
	{"ghp_", ALNUM, 20, 0},		/* GitHub */
	{"gho_", ALNUM, 20, 0},
	{"ghu_", ALNUM, 20, 0},
	{"ghs_", ALNUM, 20, 0},
	{"ghr_", ALNUM, 20, 0},
	{"github_pat_", ALNUM, 20, '_'},
	{"glpat-", NAME, 16, 0},	/* GitLab */
	{"xoxa-", ALNUM, 10, '-'},	/* Slack */
	{"xoxb-", ALNUM, 10, '-'},
	{"xoxp-", ALNUM, 10, '-'},
	{"xoxr-", ALNUM, 10, '-'},
	{"xoxs-", ALNUM, 10, '-'},
	{"AIza", ALNUM, 30, '_'},	/* Google; has '-' as well, see below */
};

static inline bool
is_base64url(char c)
{
	return (CLASS(c) & ALNUM) || c == '-' || c == '_';
}

static size_t
skip_base64url(const Scan *scan, size_t position)
{
	while (position < scan->length && is_base64url(scan->s[position]))
		position++;
	return position;
}

/* AKIA and ASIA with exactly 16 capitals and digits: AWS. */
static size_t
aws_end(const Scan *scan, size_t start)
{
	size_t		end = start + 20;

	if (end > scan->length || scan->s[start + 2] != 'I' ||
		scan->s[start + 3] != 'A' ||
		(scan->s[start + 1] != 'K' && scan->s[start + 1] != 'S'))
		return 0;
	for (size_t i = start + 4; i < end; i++)
	{
		if (!(CLASS(scan->s[i]) & (UPPER | DIGIT)))
			return 0;
	}
	return end < scan->length && (CLASS(scan->s[end]) & ALNUM) ? 0 : end;
}

/* SG.x.y: SendGrid. */
static size_t
sendgrid_end(const Scan *scan, size_t start)
{
	size_t		dot = start + 3;
	size_t		end;

	while (dot < scan->length && dot - start < MAX_SENDGRID &&
		   is_base64url(scan->s[dot]))
		dot++;
	if (dot - start < 3 + 16 || dot == scan->length || scan->s[dot] != '.')
		return 0;
	for (end = dot + 1; end - dot <= 16; end++)
	{
		if (end == scan->length || !is_base64url(scan->s[end]))
			return 0;
	}
	return skip_base64url(scan, end);
}

/*
 * A JSON web token: two objects and a signature in base64, where eyJ stands
 * for {" and what comes before the first point holds no other point.
 */
static size_t
jwt_end(Scan *scan, size_t start)
{
	size_t		dot;
	size_t		end;

	if (start < scan->no_jwt)
		return 0;
	dot = skip_base64url(scan, start);
	scan->no_jwt = dot;
	if (dot - start < 8 || scan->length - dot < 8 ||
		memcmp(scan->s + dot, ".eyJ", 4) != 0)
		return 0;
	end = skip_base64url(scan, dot + 1);
	if (end - dot < 8)
		return 0;
	if (end < scan->length && scan->s[end] == '.')
		end = skip_base64url(scan, end + 1);
	return end;
}

/*
 * sk-proj-..., sk-ant-...: OpenAI and its like.  The prefix is short, so what
 * follows must have a piece that is no word.
 */
static size_t
sk_end(Scan *scan, size_t start)
{
	size_t		end = start + 3;
	size_t		piece = end;
	unsigned	any = 0;
	bool		random = false;

	if (start < scan->no_sk)
		return 0;
	while (end < scan->length && is_base64url(scan->s[end]))
	{
		unsigned	class = CLASS(scan->s[end++]);

		if (class & JOINT)
		{
			piece = end;
			any = 0;
			continue;
		}
		any |= class;
		if (end - piece >= 10 && (any & DIGIT) && (any & LETTER))
			random = true;
	}
	scan->no_sk = end;
	return random && end - start >= 3 + 20 ? end : 0;
}

/* The end of the key that begins at start, or 0. */
static size_t
shape_end(Scan *scan, size_t start)
{
	const char *p = scan->s + start;
	size_t		left = scan->length - start;

	if (left < 12)
		return 0;
	if (p[0] == 'A' && p[1] != 'I')
		return aws_end(scan, start);
	if (p[0] == 'S')
		return p[1] == 'G' && p[2] == '.' ? sendgrid_end(scan, start) : 0;
	if (p[0] == 'e')
		return p[1] == 'y' && p[2] == 'J' ? jwt_end(scan, start) : 0;
	if (p[0] == 's' && p[1] == 'k' && p[2] == '-')
		return sk_end(scan, start);

	/* No word that begins like one of the prefixes gets farther. */
	if (memchr("khliIo", p[1], 6) == NULL)
		return 0;
	for (size_t i = 0; i < COUNT(shapes); i++)
	{
		const Shape *shape = &shapes[i];
		size_t		prefix;
		size_t		end;

		if (p[0] != shape->prefix[0] || p[2] != shape->prefix[2])
			continue;
		prefix = strlen(shape->prefix);
		if (left < prefix || memcmp(p, shape->prefix, prefix) != 0)
			continue;
		end = start + prefix;
		while (end < scan->length &&
			   ((CLASS(scan->s[end]) & shape->class) ||
				scan->s[end] == shape->also ||
				(scan->s[end] == '-' && p[0] == 'A')))
			end++;
		return end - start - prefix >= shape->least ? end : 0;
	}
	return 0;
}

/* Does a key begin at start? */
static inline bool
shape_at(Scan *scan, size_t start, Range *found)
{
	if (!(CLASS(scan->s[start]) & FIRST))
		return false;
	found->from = start;
	found->to = shape_end(scan, start);
	return found->to > 0;
}

/*
 * Look for a key by its shape in the name that begins at start: where the
 * name begins, after an escape (%22, \n) and after joints.  *end becomes the
 * end of the name, if nothing is found.
 */
static bool
find_shape(Scan *scan, size_t start, size_t *end, Range *found)
{
	const char *s = scan->s;
	size_t		length = scan->length;
	size_t		i = start;

	if (start > 0 && (s[start - 1] == '\\' || s[start - 1] == '%'))
	{
		size_t		escaped = start + (s[start - 1] == '%' ? 2 : 1);

		if (escaped < length && shape_at(scan, escaped, found))
			return true;
	}
	for (;;)
	{
		while (i < length && (CLASS(s[i]) & JOINT))
			i++;
		if (i == length || !(CLASS(s[i]) & ALNUM))
			break;
		if (shape_at(scan, i, found))
			return true;
		while (i < length && (CLASS(s[i]) & ALNUM))
			i++;
	}
	*end = i;
	return false;
}

/* ---------------------------------------------------------------------- */
/* PEM. */

/*
 * If the header of a private key begins at position, the end of the header,
 * otherwise 0.
 */
static size_t
pem_header_end(const Scan *scan, size_t position)
{
	static const char begin[] = "-----BEGIN ";
	static const char private[] = "PRIVATE KEY";
	const char *label;
	size_t		left = scan->length - position;
	size_t		n = sizeof(begin) - 1;

	if (left < n || memcmp(scan->s + position, begin, n) != 0)
		return 0;
	label = scan->s + position + n;
	left -= n;
	for (n = 0; n < left && n < MAX_LABEL; n++)
	{
		if (!(CLASS(label[n]) & (UPPER | DIGIT)) && label[n] != ' ')
			break;
	}
	if (left - n < 5 || memcmp(label + n, "-----", 5) != 0)
		return 0;
	left = n;
	if (left >= 6 && memcmp(label + left - 6, " BLOCK", 6) == 0)
		left -= 6;
	if (left < sizeof(private) - 1 ||
		memcmp(label + left - (sizeof(private) - 1), private,
			   sizeof(private) - 1) != 0)
		return 0;
	return label + n + 5 - scan->s;
}

/* The body of a private key, up to its footer or the end of the text. */
static Range
pem_body(const Scan *scan, size_t position)
{
	Range		body = {position, scan->length};
	const char *p = scan->s + position;
	const char *end = scan->s + scan->length;

	while (p < end && (p = memchr(p, '-', end - p)) != NULL)
	{
		if (end - p >= 8 && memcmp(p, "-----END", 8) == 0)
		{
			body.to = p - scan->s;
			break;
		}
		p++;
	}
	return body;
}

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
		if (pem_header_end(scan, from) > 0)
			return false;		/* it has a rule of its own */
		if (length - from > MASK_LENGTH &&
			memcmp(s + from, SECRET_MASK "@", MASK_LENGTH + 1) == 0)
			return false;		/* the password of a://token:***@host */
		found->from = skip_scheme(scan, from, &single);
		if (colon && !single && is_header(s + start, end - start))
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

	if (find_shape(scan, start, &end, found))
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
				(value = pem_header_end(scan, end - 10)) > 0)
			{
				*found = pem_body(scan, value);
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
static bool
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

bool
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
