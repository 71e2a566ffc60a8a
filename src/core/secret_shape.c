/*
 * secret_shape.c
 *		Keys that are known by their shape, and private keys in PEM.
 *
 * See secret.c.  Vendors give their keys a prefix so that they can be found;
 * what follows it must be long enough to be a key.
 */
#include "core/hot.h"
#include "core/secret_scan.h"

/* Longest label of a PEM block, as in BEGIN PGP PRIVATE KEY BLOCK. */
#define MAX_LABEL 40

/* Longest first part of a SendGrid key; they have 22. */
#define MAX_SENDGRID 64

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
HOT_PATH static size_t
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
HOT_PATH bool
secret_find_shape(Scan *scan, size_t start, size_t *end, Range *found)
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
size_t
secret_pem_header_end(const Scan *scan, size_t position)
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
Range
secret_pem_body(const Scan *scan, size_t position)
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
