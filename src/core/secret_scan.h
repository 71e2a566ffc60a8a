/*
 * secret_scan.h
 *		What the parts of the search for credentials share.
 *
 * secret.c			the scan, values, headers, URLs, masking
 * secret_name.c	names that hold secrets
 * secret_shape.c	keys that are known by their shape, and PEM
 *
 * For these three files only; see secret.h for the interface.
 */
#ifndef METER_CORE_SECRET_SCAN_H
#define METER_CORE_SECRET_SCAN_H

#include <string.h>

#include "core/secret.h"

#define MASK_LENGTH (sizeof(SECRET_MASK) - 1)

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

extern const unsigned char secret_class[256];

#define CLASS(c) (secret_class[(unsigned char) (c)])

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
static inline bool
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

typedef struct Word
{
	const char *s;
	size_t		length;
} Word;

#define WORD(s) {s, sizeof(s) - 1}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* secret_name.c */
extern bool secret_header(const char *name, size_t length);

/* secret_shape.c */
extern bool secret_find_shape(Scan *scan, size_t start, size_t *end,
							  Range *found);
extern size_t secret_pem_header_end(const Scan *scan, size_t position);
extern Range secret_pem_body(const Scan *scan, size_t position);

#endif							/* METER_CORE_SECRET_SCAN_H */
