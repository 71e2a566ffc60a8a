/*
 * endpoint.c
 *		Folding the endpoints of API calls into route templates.
 *
 * /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/9?limit=5 becomes
 * /v2/:id/servers/:id, so that usage has one group for each route and not one
 * for each object.  The routes are not known here: what is an identifier is
 * told by its shape, segment by segment, and the result is normalised again
 * to itself.
 *
 * The shapes are chosen so that a wrong guess is harmless.  A word that is
 * taken for an identifier joins two routes of the same depth; an identifier
 * that is taken for a word makes a group too many, and short ones (user_7)
 * cannot make many.
 */
#include <stdbool.h>
#include <string.h>

#include "core/endpoint.h"
#include "core/hot.h"

#define PLACEHOLDER ":id"
#define PLACEHOLDER_LENGTH 3

#define UUID_LENGTH 36
#define DATE_LENGTH 10			/* 2013-10-17 */
#define MONTH_LENGTH 7			/* 2013-10 */

/* Longest scheme, extension and action that are recognised. */
#define MAX_SCHEME 32
#define MAX_EXTENSION 10
#define MAX_ACTION 40

/* What a byte can be. */
#define DIGIT 0x01
#define LOWER 0x02
#define UPPER 0x04
#define HEX 0x08				/* digits and a-f, A-F */
#define AT 0x10					/* the @ of an e-mail address, or its % */
#define END 0x20				/* ends a segment */
#define LETTER (LOWER | UPPER)
#define ALNUM (DIGIT | LETTER)

#define d (DIGIT | HEX)
#define x (LOWER | HEX)
#define X (UPPER | HEX)
#define l LOWER
#define U UPPER

static HOT_CONST const unsigned char byte_class[256] = {
	['#'] = END,['%'] = AT,['/'] = END,['?'] = END,['@'] = AT,
	['0'] = d,['1'] = d,['2'] = d,['3'] = d,['4'] = d,['5'] = d,['6'] = d,
	['7'] = d,['8'] = d,['9'] = d,
	['A'] = X,['B'] = X,['C'] = X,['D'] = X,['E'] = X,['F'] = X,['G'] = U,
	['H'] = U,['I'] = U,['J'] = U,['K'] = U,['L'] = U,['M'] = U,['N'] = U,
	['O'] = U,['P'] = U,['Q'] = U,['R'] = U,['S'] = U,['T'] = U,['U'] = U,
	['V'] = U,['W'] = U,['X'] = U,['Y'] = U,['Z'] = U,
	['a'] = x,['b'] = x,['c'] = x,['d'] = x,['e'] = x,['f'] = x,['g'] = l,
	['h'] = l,['i'] = l,['j'] = l,['k'] = l,['l'] = l,['m'] = l,['n'] = l,
	['o'] = l,['p'] = l,['q'] = l,['r'] = l,['s'] = l,['t'] = l,['u'] = l,
	['v'] = l,['w'] = l,['x'] = l,['y'] = l,['z'] = l,
};

#undef d
#undef x
#undef X
#undef l
#undef U

#define CLASS(c) (byte_class[(unsigned char) (c)])

/* A segment of the path, with what is true of any and of all of its bytes. */
typedef struct Segment
{
	const char *s;
	size_t		length;
	unsigned	any;
	unsigned	all;
} Segment;

static inline Segment
scan_segment(const char *s, const char *end)
{
	Segment		segment = {s, 0, 0, 0xff};
	const char *p = s;

	while (p < end)
	{
		unsigned	class = CLASS(*p);

		if (class & END)
			break;
		segment.any |= class;
		segment.all &= class;
		p++;
	}
	segment.length = p - s;
	return segment;
}

static bool
is_uuid(const char *s)
{
	for (int i = 0; i < UUID_LENGTH; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (s[i] != '-')
				return false;
		}
		else if (!(CLASS(s[i]) & HEX))
			return false;
	}
	return true;
}

static inline bool
two_digits(const char *s, int low, int high)
{
	int			value;

	if (!(CLASS(s[0]) & CLASS(s[1]) & DIGIT))
		return false;
	value = (s[0] - '0') * 10 + (s[1] - '0');
	return value >= low && value <= high;
}

/* A calendar day or month; API versions are named so. */
static bool
is_date(const char *s, size_t length)
{
	if (length != DATE_LENGTH && length != MONTH_LENGTH)
		return false;
	if (!two_digits(s, 19, 21) || !two_digits(s + 2, 0, 99))
		return false;
	if (s[4] != '-' || !two_digits(s + 5, 1, 12))
		return false;
	return length == MONTH_LENGTH ||
		(s[7] == '-' && two_digits(s + 8, 1, 31));
}

/* v1, v2.1, v1beta1, v1p1alpha2, v20240131 */
static bool
is_version(const char *s, size_t length)
{
	static const char *const stages[] = {
		"alpha", "beta", "preview", "pre", "dev", "rc", "p", "a", "b"
	};
	size_t		i = 1;

	if (length < 2 || (s[0] != 'v' && s[0] != 'V') || !(CLASS(s[1]) & DIGIT))
		return false;
	while (i < length)
	{
		size_t		start = i;
		size_t		stage = 0;

		while (i < length && (CLASS(s[i]) & DIGIT))
			i++;
		if (i - start > 4 && i - start != 8)
			return false;
		if (i == length)
			break;
		if (s[i] == '.' && i > start)
		{
			i++;
			continue;
		}
		for (; stage < sizeof(stages) / sizeof(stages[0]); stage++)
		{
			size_t		n = strlen(stages[stage]);

			if (n <= length - i && memcmp(s + i, stages[stage], n) == 0)
			{
				i += n;
				break;
			}
		}
		if (stage == sizeof(stages) / sizeof(stages[0]))
			return false;
	}
	return true;
}

/*
 * user@example.com, also with %40.  The top level domain has letters only,
 * which tells it from package@1.2.3.
 */
static bool
is_email(const char *s, size_t length)
{
	size_t		top = length;
	size_t		domain;

	while (top > 0 && (CLASS(s[top - 1]) & LETTER))
		top--;
	if (length - top < 2 || top == 0 || s[top - 1] != '.')
		return false;
	domain = top - 1;
	while (domain > 0 && ((CLASS(s[domain - 1]) & ALNUM) ||
						  s[domain - 1] == '-' || s[domain - 1] == '.'))
		domain--;
	if (domain > 1 && s[domain - 1] == '@')
		return domain < top - 1;

	/* The 40 of %40 was taken for the begin of the domain. */
	return domain > 1 && s[domain - 1] == '%' && domain + 2 < top - 1 &&
		s[domain] == '4' && s[domain + 1] == '0';
}

/*
 * Is a text with digits but without letters an identifier?  Dates are not,
 * and neither are versions (1.2.3); addresses (10.0.0.1), order numbers
 * (123-456), lists (1,2,3) and coordinates are.
 */
static bool
is_number(const char *s, size_t length)
{
	size_t		dots = 0;
	size_t		others = 0;
	size_t		longest = 0;
	size_t		run = 0;

	if (is_date(s, length))
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (CLASS(s[i]) & DIGIT)
		{
			if (++run > longest)
				longest = run;
			continue;
		}
		run = 0;
		if (s[i] == '.')
			dots++;
		else if (memchr("-_,:;+~ ", s[i], 8) != NULL)
			others++;
		else
			return false;
	}
	if (dots == 0 || others > 0 || longest >= 5)
		return true;
	return dots == 3 && longest <= 3 && length >= 7 &&
		s[0] != '.' && s[length - 1] != '.';
}

/* A run of letters and digits, and what tells words from random text. */
typedef struct Part
{
	const char *s;
	size_t		length;
	size_t		turns;			/* changes between letters and digits */
	size_t		runs;			/* of lower case, upper case, digits */
	size_t		longest;		/* run of digits */
	size_t		trailing;		/* digits at the end */
	unsigned	any;
	unsigned	all;
} Part;

static Part
scan_part(const char *s, const char *end)
{
	Part		part = {.s = s,.all = 0xff};
	unsigned	before = 0;
	const char *p = s;

	for (; p < end && (CLASS(*p) & ALNUM); p++)
	{
		unsigned	class = CLASS(*p);

		part.turns += p > s && ((class ^ before) & DIGIT);
		part.runs += ((class ^ before) & ALNUM) != 0;
		part.any |= class;
		part.all &= class;
		before = class;
		part.trailing = (class & DIGIT) ? part.trailing + 1 : 0;
		if (part.trailing > part.longest)
			part.longest = part.trailing;
	}
	part.length = p - s;
	return part;
}

/* DescribeInstanceTypesV2: long, but a name. */
static bool
is_versioned_name(const Part *part)
{
	return part->turns == 1 && part->trailing >= 1 && part->trailing <= 2 &&
		(part->s[part->length - part->trailing - 1] | 0x20) == 'v';
}

/*
 * Is a part an identifier by itself?  Less is asked of one with a prefix, as
 * in cus_NffrFeUfNV2Hib.
 */
static bool
is_token(const Part *part, bool prefixed)
{
	size_t		length = part->length;

	if ((part->all & HEX) && length >= 16)
		return true;
	if (!(part->any & DIGIT))
		return false;
	if (part->longest >= 5)
		return true;
	if (!(part->any & LETTER))
		return false;
	if (length >= 20)
		return !is_versioned_name(part);

	/* Words have few digits (k8s, h264); random text has them all over. */
	if (part->turns >= 4 && length >= 8)
		return true;
	if (part->turns >= 3 && length >= 6 && prefixed)
		return true;

	/* CamelCase has runs of letters; random text changes case all the time. */
	if ((part->any & LETTER) != LETTER)
		return false;
	return (length >= 12 && part->runs * 5 > length * 3) ||
		(length >= 8 && part->runs * 2 >= length && prefixed);
}

/* 256 of sha-256, sha256: the digits belong to the name of an algorithm. */
static bool
is_algorithm(const char *s, size_t length)
{
	static const char *const bits[] = {"224", "256", "384", "512"};

	for (int i = 0; i < 4; i++)
	{
		size_t		n = length;

		if (n < 6 || memcmp(s + n - 3, bits[i], 3) != 0)
			continue;
		n -= 3;
		if (s[n - 1] == '-' || s[n - 1] == '_')
			n--;
		return n >= 3 && (s[n - 3] | 0x20) == 's' &&
			(s[n - 2] | 0x20) == 'h' && (s[n - 1] | 0x20) == 'a';
	}
	return false;
}

/*
 * Is a segment with digits, its action and extension taken off, an identifier?
 */
static bool
is_identifier(const char *s, size_t length)
{
	const char *end = s + length;
	const char *p = s;
	bool		dot = false;
	size_t		alnum = 0;
	size_t		turns = 0;
	unsigned	any = 0;
	Part		part = {0};

	if (is_version(s, length))
		return false;
	if (length > DATE_LENGTH && is_date(s, DATE_LENGTH) &&
		s[DATE_LENGTH] == 'T')
		return true;			/* a timestamp */

	while (p < end)
	{
		if (!(CLASS(*p) & ALNUM))
		{
			dot = dot || *p == '.';
			p++;
			continue;
		}
		if (end - p >= UUID_LENGTH && is_uuid(p) &&
			(end - p == UUID_LENGTH || !(CLASS(p[UUID_LENGTH]) & ALNUM)))
			return true;
		part = scan_part(p, end);
		if (is_token(&part, p - s >= 2))
			return true;
		alnum += part.length;
		turns += part.turns;
		any |= part.any;
		p += part.length;
	}
	if (!(any & DIGIT))
		return false;
	if (!(any & LETTER))
		return is_number(s, length);

	/* 1a2b-3c4d-5e6f-7a8b: random text in groups */
	if (alnum >= 16 && turns * 2 > alnum)
		return true;

	/*
	 * user_123, order-abc123.  Fewer digits are left: they are mostly part of
	 * a name (utf-8, us-east-1, x86_64), and cannot make many groups.
	 */
	return part.s + part.length == end && part.s - s >= 2 &&
		(part.s[-1] == '_' || part.s[-1] == '-') && !dot &&
		part.trailing >= 3 && part.turns <= 1 && !is_algorithm(s, length);
}

/* The length without the file extension, or the length if there is none. */
HOT_PATH static size_t
without_extension(const char *s, size_t length)
{
	unsigned	any = 0;
	size_t		i = length;

	while (i > 0 && length - i < MAX_EXTENSION && (CLASS(s[i - 1]) & ALNUM))
		any |= CLASS(s[--i]);
	if (i < 2 || s[i - 1] != '.' || !(any & LETTER))
		return length;

	/* mp4, m3u8; with more characters it could be part of an identifier */
	if ((any & DIGIT) && length - i > 4)
		return length;
	return i - 1;
}

/* The length without a Google style action (123:cancel), or the length. */
static size_t
without_action(const char *s, size_t length)
{
	size_t		i = length;

	while (i > 0 && length - i < MAX_ACTION &&
		   ((CLASS(s[i - 1]) & LETTER) || s[i - 1] == '_'))
		i--;
	if (i < 2 || i == length || s[i - 1] != ':')
		return length;
	return i - 1;
}

/*
 * How much of the begin of a segment is an identifier: 0 if the segment is to
 * be kept, otherwise all but its extension and action.
 */
HOT_PATH static size_t
identifier_length(const Segment *segment)
{
	const char *s = segment->s;
	size_t		length = segment->length;

	if ((segment->all & DIGIT) || ((segment->all & HEX) && length >= 16) ||
		(length == UUID_LENGTH && is_uuid(s)))
		return length;
	if (!(segment->any & (DIGIT | AT)))
		return 0;

	/* Somebody's placeholder, or ours from an earlier call. */
	if (length >= 2 && ((s[0] == ':' && (CLASS(s[1]) & LETTER)) ||
						(s[0] == '{' && s[length - 1] == '}') ||
						(s[0] == '<' && s[length - 1] == '>')))
		return 0;

	length = without_action(s, length);
	if ((segment->any & AT) && is_email(s, length))
		return length;
	length = without_extension(s, length);
	length = without_extension(s, length);
	return is_identifier(s, length) ? length : 0;
}

/* The longest prefix of at most max bytes that does not cut a character. */
static size_t
cut_length(const char *s, size_t length, size_t max)
{
	size_t		n = max;

	if (length <= max)
		return length;
	while (n > 0 && max - n < 4 && ((unsigned char) s[n] & 0xC0) == 0x80)
		n--;
	/* Not UTF-8: there is no boundary to respect. */
	return max - n < 4 ? n : max;
}

HOT_PATH static char *
append(char *out, const Segment *segment, size_t identifier, size_t room)
{
	size_t		n;

	if (identifier > 0)
	{
		memcpy(out, PLACEHOLDER, PLACEHOLDER_LENGTH);
		out += PLACEHOLDER_LENGTH;
		room -= PLACEHOLDER_LENGTH;
	}
	n = cut_length(segment->s + identifier, segment->length - identifier,
				   room);
	hot_copy(out, segment->s + identifier, n);
	return out + n;
}

/*
 * Append a segment that does not fit.  What is left of a word can have the
 * shape of an identifier; nothing is better than a result that would not
 * stay as it is.
 */
static char *
append_cut(char *out, Segment segment, size_t identifier, size_t room)
{
	if (identifier == 0)
	{
		segment = scan_segment(segment.s, segment.s +
							   cut_length(segment.s, segment.length, room));
		identifier = identifier_length(&segment);
	}
	if (identifier > 0 && room < PLACEHOLDER_LENGTH)
		return out;
	return append(out, &segment, identifier, room);
}

/* Skip scheme://user@host, and say whether it was there. */
static bool
skip_origin(const char **in, const char *end)
{
	const char *p = *in;

	if (p == end || !(CLASS(*p) & LETTER))
		return false;
	while (p < end && p - *in < MAX_SCHEME &&
		   ((CLASS(*p) & ALNUM) || *p == '+' || *p == '-' || *p == '.'))
		p++;
	if (end - p < 3 || memcmp(p, "://", 3) != 0)
		return false;
	p += 3;
	while (p < end && !(CLASS(*p) & END))
		p++;
	*in = p;
	return true;
}

HOT_PATH size_t
endpoint_normalize(const char *in, size_t length, char *out)
{
	const char *end = in + length;
	const char *limit = out + ENDPOINT_MAX_LENGTH;
	char	   *o = out;
	bool		slash = skip_origin(&in, end);

	while (in < end)
	{
		Segment		segment;
		char	   *start = o;
		size_t		identifier;
		size_t		size;

		if (*in == '/')
		{
			slash = true;
			in++;
			continue;
		}
		segment = scan_segment(in, end);
		if (segment.length == 0)
			break;				/* a query string or a fragment */
		in += segment.length;

		if (slash)
		{
			if (o == limit)
				break;
			*o++ = '/';
			slash = false;
		}
		identifier = identifier_length(&segment);
		size = segment.length;
		if (identifier > 0)
			size += PLACEHOLDER_LENGTH - identifier;
		if (size > (size_t) (limit - o))
		{
			char	   *after = append_cut(o, segment, identifier, limit - o);

			return (after == o ? start : after) - out;
		}
		o = append(o, &segment, identifier, limit - o);
	}

	/* What is left of slashes only is the root. */
	if (o == out && slash)
		*o++ = '/';
	return o - out;
}
