/*
 * sketch_text.c
 *		The text form of a sketch: readable, and nothing is lost in it.
 *
 *		accuracy=0.01 count=3 zero=0 min=1 max=9 sum=0x13p0 neg=[]
 *		pos=[0:1,110:2]
 *
 * on one line, the fields in this order, one space between them.  A bucket
 * is index:count.  Doubles are decimal with as many digits as they need to
 * be read back the same; the exact sum is a hexadecimal integer times a
 * power of two, the integer odd unless the sum is zero.  An empty sketch is
 * "accuracy=0.01 count=0".
 *
 * Printing and reading doubles supposes that LC_NUMERIC is "C", as it is in
 * every PostgreSQL backend.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/sketch.h"

/* Room for any double or integer in text. */
#define NUMBER_SIZE 64

typedef struct Text
{
	char	   *data;
	size_t		length;
	size_t		capacity;
} Text;

static void
append(Text *t, const char *piece)
{
	size_t		length = strlen(piece);

	if (t->length + length + 1 > t->capacity)
	{
		t->capacity = 2 * (t->length + length + 1);
		t->data = core_realloc(t->data, t->capacity);
	}
	memcpy(t->data + t->length, piece, length + 1);
	t->length += length;
}

static void
append_uint(Text *t, uint64_t value)
{
	char		buffer[NUMBER_SIZE];

	snprintf(buffer, sizeof(buffer), "%" PRIu64, value);
	append(t, buffer);
}

static void
append_double(Text *t, double value)
{
	char		buffer[NUMBER_SIZE];

	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(buffer, sizeof(buffer), "%.*g", digits, value);
		if (strtod(buffer, NULL) == value)
			break;
	}
	append(t, buffer);
}

static void
append_store(Text *t, const SketchStore *store)
{
	append(t, "[");
	for (int32_t i = 0; i < store->n; i++)
	{
		char		buffer[NUMBER_SIZE];

		snprintf(buffer, sizeof(buffer), "%s%" PRId32 ":%" PRIu64,
				 i > 0 ? "," : "",
				 store->bucket[i].index, store->bucket[i].count);
		append(t, buffer);
	}
	append(t, "]");
}

static int
canon_bit(const ExactSumCanon *sum, int bit)
{
	int			i = bit / 32 - sum->low;

	return i < sum->n ? (sum->digit[i] >> (bit % 32)) & 1 : 0;
}

static void
append_sum(Text *t, const ExactSum *s)
{
	ExactSumCanon sum;
	char		buffer[NUMBER_SIZE];
	int			lowest;
	int			nibbles;

	exactsum_canonical(s, &sum);
	if (sum.n == 0)
	{
		append(t, "0x0p0");
		return;
	}

	lowest = 32 * sum.low;
	while (canon_bit(&sum, lowest) == 0)
		lowest++;
	nibbles = (exactsum_canon_bits(&sum) - lowest + 3) / 4;

	append(t, sum.negative ? "-0x" : "0x");
	for (int i = nibbles - 1; i >= 0; i--)
	{
		int			value = 0;
		char		digit[2] = {0};

		for (int bit = 3; bit >= 0; bit--)
			value = value * 2 + canon_bit(&sum, lowest + 4 * i + bit);
		digit[0] = "0123456789ABCDEF"[value];
		append(t, digit);
	}
	snprintf(buffer, sizeof(buffer), "p%d", lowest + EXACTSUM_UNIT);
	append(t, buffer);
}

char *
sketch_to_text(const Sketch *s)
{
	Text		t = {NULL, 0, 0};

	append(&t, "accuracy=");
	append_double(&t, s->accuracy);
	append(&t, " count=");
	append_uint(&t, s->count);
	if (s->count > 0)
	{
		append(&t, " zero=");
		append_uint(&t, s->zero);
		append(&t, " min=");
		append_double(&t, s->min);
		append(&t, " max=");
		append_double(&t, s->max);
		append(&t, " sum=");
		append_sum(&t, &s->sum);
		append(&t, " neg=");
		append_store(&t, &s->neg);
		append(&t, " pos=");
		append_store(&t, &s->pos);
	}
	return t.data;
}

/*
 * Reading.  Each of these returns SKETCH_OK and moves on, or leaves *at
 * where the trouble is.
 */
typedef const char *Cursor;

static SketchStatus
expect(Cursor *at, const char *literal)
{
	while (*literal != '\0')
	{
		if (**at != *literal++)
			return SKETCH_BAD_SYNTAX;
		(*at)++;
	}
	return SKETCH_OK;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static SketchStatus
parse_uint(Cursor *at, uint64_t limit, uint64_t *result)
{
	const char *start = *at;
	const char *p = start;
	uint64_t	value = 0;

	/* As they are printed: no sign, no leading zeros. */
	if (!is_digit(*p))
		return SKETCH_BAD_SYNTAX;
	while (is_digit(*p))
	{
		unsigned int digit = *p++ - '0';

		if (value > (limit - digit) / 10 || (p - start > 1 && value == 0))
			return SKETCH_BAD_NUMBER;
		value = value * 10 + digit;
	}
	*at = p;
	*result = value;
	return SKETCH_OK;
}

static SketchStatus
parse_int(Cursor *at, int32_t *result)
{
	const char *start = *at;
	bool		negative = *start == '-';
	uint64_t	value;
	SketchStatus status;

	if (negative)
		(*at)++;
	status = parse_uint(at, INT32_MAX, &value);
	if (status == SKETCH_OK && negative && value == 0)
		status = SKETCH_BAD_NUMBER;
	if (status != SKETCH_OK)
	{
		if (status == SKETCH_BAD_NUMBER)
			*at = start;
		return status;
	}
	*result = negative ? -(int32_t) value : (int32_t) value;
	return SKETCH_OK;
}

/*
 * strtod reads more than we want (spaces, hexadecimal, infinity), so it is
 * shown only what looks like a decimal number.
 */
static SketchStatus
parse_double(Cursor *at, double *result)
{
	char		buffer[NUMBER_SIZE];
	size_t		length = strspn(*at, "0123456789+-.eE");
	char	   *end;
	double		value;

	if (!is_digit(**at) && !(**at == '-' && is_digit((*at)[1])))
		return SKETCH_BAD_SYNTAX;
	if (length >= sizeof(buffer))
		return SKETCH_BAD_NUMBER;
	memcpy(buffer, *at, length);
	buffer[length] = '\0';
	value = strtod(buffer, &end);
	if (*end != '\0' || !isfinite(value))
		return SKETCH_BAD_NUMBER;

	*at += length;
	*result = value + 0.0;		/* no negative zero */
	return SKETCH_OK;
}

static int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static SketchStatus
parse_sum(Cursor *at, ExactSum *sum)
{
	const char *start = *at;
	const char *digit;
	bool		negative = *start == '-';
	int			n = 0;
	int32_t		exponent;
	SketchStatus status;

	if (negative)
		(*at)++;
	status = expect(at, "0x");
	if (status != SKETCH_OK)
		return status;
	digit = *at;
	while (hex_value(**at) >= 0)
	{
		(*at)++;
		if (++n > EXACTSUM_BITS / 4)
		{
			*at = start;
			return SKETCH_BAD_NUMBER;
		}
	}
	if (n == 0)
		return SKETCH_BAD_SYNTAX;
	status = expect(at, "p");
	if (status == SKETCH_OK)
		status = parse_int(at, &exponent);
	if (status != SKETCH_OK)
		return status;

	for (int i = 0; i < n; i++)
	{
		int			value = hex_value(digit[i]);
		int64_t		bit = (int64_t) exponent - EXACTSUM_UNIT + 4 * (n - 1 - i);

		if (value == 0)
			continue;
		if (bit < 0 || bit > EXACTSUM_BITS - 32)
		{
			*at = start;
			return SKETCH_BAD_NUMBER;
		}
		exactsum_add_word(sum, negative, (int) bit, value);
	}
	return SKETCH_OK;
}

static SketchStatus
parse_store(Cursor *at, SketchStore *store, uint64_t *total)
{
	SketchStatus status = expect(at, "[");

	if (status != SKETCH_OK || **at == ']')
		return status == SKETCH_OK ? expect(at, "]") : status;
	for (;;)
	{
		const char *start = *at;
		int32_t		index;
		uint64_t	count;

		status = parse_int(at, &index);
		if (status == SKETCH_OK)
			status = expect(at, ":");
		if (status != SKETCH_OK)
			return status;
		if (store->n > 0 && store->bucket[store->n - 1].index >= index)
		{
			*at = start;
			return SKETCH_BAD_INDEX;
		}

		start = *at;
		status = parse_uint(at, SKETCH_MAX_COUNT, &count);
		if (status != SKETCH_OK)
			return status;
		if (count == 0 || count > SKETCH_MAX_COUNT - *total)
		{
			*at = start;
			return SKETCH_BAD_COUNT;
		}
		*total += count;
		sketch_append_bucket(store, index, count);

		if (**at == ']')
			return expect(at, "]");
		status = expect(at, ",");
		if (status != SKETCH_OK)
			return status;
	}
}

/* What follows the count of a sketch that is not empty. */
static SketchStatus
parse_body(Cursor *at, Sketch *s)
{
	SketchShape shape;
	ExactSumCanon sum;
	uint64_t	total;
	SketchStatus status;
	const char *min_at;
	const char *sum_at;

#define TRY(call) \
	do { \
		status = (call); \
		if (status != SKETCH_OK) \
			return status; \
	} while (0)

	TRY(expect(at, " zero="));
	TRY(parse_uint(at, SKETCH_MAX_COUNT, &s->zero));
	total = s->zero;
	TRY(expect(at, " min="));
	min_at = *at;
	TRY(parse_double(at, &s->min));
	TRY(expect(at, " max="));
	TRY(parse_double(at, &s->max));
	TRY(expect(at, " sum="));
	sum_at = *at;
	TRY(parse_sum(at, &s->sum));
	TRY(expect(at, " neg="));
	TRY(parse_store(at, &s->neg, &total));
	TRY(expect(at, " pos="));
	TRY(parse_store(at, &s->pos, &total));
	if (**at != '\0')
		return SKETCH_TRAILING;
	if (total != s->count)
		return SKETCH_BAD_COUNT;

	/* What is wrong from here on is wrong about the whole. */
	shape.count = s->count;
	shape.zero = s->zero;
	shape.min = s->min;
	shape.max = s->max;
	shape.neg_n = s->neg.n;
	shape.pos_n = s->pos.n;
	if (s->neg.n > 0)
	{
		shape.neg_low = s->neg.bucket[0].index;
		shape.neg_high = s->neg.bucket[s->neg.n - 1].index;
	}
	if (s->pos.n > 0)
	{
		shape.pos_low = s->pos.bucket[0].index;
		shape.pos_high = s->pos.bucket[s->pos.n - 1].index;
	}
	*at = min_at;
	TRY(sketch_check_shape(s, &shape));
	*at = sum_at;
	exactsum_canonical(&s->sum, &sum);
	if (!sketch_sum_fits(&sum, &shape) || !sketch_mean_fits(s))
		return SKETCH_BAD_SUM;
	return SKETCH_OK;

#undef TRY
}

SketchStatus
sketch_from_text(Sketch *s, const char *text, size_t *error_at)
{
	Cursor		at = text;
	const char *start;
	double		accuracy;
	SketchStatus status;

	*error_at = 0;
	status = expect(&at, "accuracy=");
	start = at;
	if (status == SKETCH_OK)
		status = parse_double(&at, &accuracy);
	if (status == SKETCH_OK)
	{
		status = sketch_init(s, accuracy);
		if (status != SKETCH_OK)
			at = start;
	}
	if (status != SKETCH_OK)
	{
		*error_at = at - text;

		return status;
	}

	status = expect(&at, " count=");
	if (status == SKETCH_OK)
		status = parse_uint(&at, SKETCH_MAX_COUNT, &s->count);
	if (status == SKETCH_OK)
	{
		if (s->count > 0)
			status = parse_body(&at, s);
		else if (*at != '\0')
			status = SKETCH_TRAILING;
	}
	if (status != SKETCH_OK)
	{
		*error_at = at - text;

		sketch_free(s);
	}
	return status;
}
