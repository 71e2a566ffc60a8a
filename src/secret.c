/*
 * secret.c
 *		Masking credentials in values of SQL types.
 *
 * The shapes of credentials are the business of core/secret.c.  Here they
 * meet text and jsonb; in jsonb also whole values go by the name of their
 * key, however they are nested.  Values without credentials, nearly all, are
 * returned as they came and cost no memory.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "core/hot.h"
#include "core/secret.h"
#include "secret.h"

/*
 * Mask into new memory.  It is a multiple of the text at first, which palloc
 * would refuse for a very long one, though the result is hardly longer.
 */
static char *
mask(const char *s, int length, size_t *masked_length)
{
	char	   *masked = palloc_extended(SECRET_MASKED_SIZE((Size) length),
										 MCXT_ALLOC_HUGE);

	*masked_length = secret_mask(s, length, masked);
	return masked;
}

HOT_PATH text *
secret_mask_text(text *t)
{
	char	   *masked;
	size_t		length;
	text	   *result;

	if (!secret_found(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)))
		return t;
	masked = mask(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), &length);
	result = cstring_to_text_with_len(masked, length);
	pfree(masked);
	return result;
}

HOT_PATH text *
secret_clip_text(text *t, int max_length)
{
	const char *s = VARDATA_ANY(t);
	int			length = VARSIZE_ANY_EXHDR(t);

	if (length <= max_length)
		return t;
	return cstring_to_text_with_len(s, pg_mbcliplen(s, length, max_length));
}

static inline bool
is_mask(const JsonbValue *v)
{
	return v->type == jbvString &&
		v->val.string.len == strlen(SECRET_MASK) &&
		memcmp(v->val.string.val, SECRET_MASK, strlen(SECRET_MASK)) == 0;
}

/*
 * Put a mask where it is due in a value or element, and say whether it was.
 * The value of a secret's key is masked whatever it is, an object with all
 * that is in it, unless it is null.
 */
static bool
mask_value(JsonbValue *v, bool of_secret_key)
{
	if (of_secret_key)
	{
		if (v->type == jbvNull || is_mask(v))
			return false;
		v->type = jbvString;
		v->val.string.val = SECRET_MASK;
		v->val.string.len = strlen(SECRET_MASK);
		return true;
	}
	if (v->type == jbvString &&
		secret_found(v->val.string.val, v->val.string.len))
	{
		size_t		length;

		v->val.string.val = mask(v->val.string.val, v->val.string.len,
								 &length);
		v->val.string.len = length;
		return true;
	}
	return false;
}

/*
 * Walk through j, building a masked copy in *state if that is wanted; *root
 * becomes the copy.  Returns whether anything was to be masked, at the first
 * such value if there is no copy to be made.
 */
static bool
walk(Jsonb *j, bool copy, JsonbValue **root)
{
	JsonbInState state = {0};
	JsonbIterator *it = JsonbIteratorInit(&j->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	bool		of_secret_key = false;
	bool		masked = false;

	/* The value of a secret's key is fetched as one, not entered. */
	while ((token = JsonbIteratorNext(&it, &v, of_secret_key)) != WJB_DONE)
	{
		bool		holds;

		holds = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM ||
			(token == WJB_BEGIN_ARRAY && v.val.array.rawScalar);
		if (token == WJB_KEY)
			of_secret_key = secret_key(v.val.string.val, v.val.string.len);
		else
		{
			if (token == WJB_VALUE || token == WJB_ELEM)
				masked |= mask_value(&v, of_secret_key);
			of_secret_key = false;
		}
		if (copy)
		{
			compat_push_jsonb(&state, token, holds ? &v : NULL);
			*root = state.result;
		}
		else if (masked)
			return true;
	}
	return masked;
}

Jsonb *
secret_mask_jsonb(Jsonb *j)
{
	JsonbValue *root = NULL;

	if (!walk(j, false, &root))
		return j;
	walk(j, true, &root);
	return JsonbValueToJsonb(root);
}
