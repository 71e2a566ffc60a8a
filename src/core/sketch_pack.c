/*
 * sketch_pack.c
 *		The binary form of a sketch, as it is stored and sent.
 *
 *		sketch:	version		1 byte, 1
 *				accuracy	double
 *				zero		varint, number of values counted as zero
 *				negative	store
 *				positive	store
 *				min, max	double each	} not there if there
 *				sum			exact sum	} are no values
 *
 *		store:	n			varint, number of buckets
 *				first		zigzag varint, lowest index; not there if n is 0
 *				bucket		n times, in ascending order of index:
 *							varint (count - 1) * 2 + gap, gap is 0 or 1;
 *							if gap: varint, number of indexes skipped - 1
 *
 *		sum:	varint size * 2 + negative
 *				if size > 0: varint, position of the lowest byte;
 *				size bytes of the magnitude, the lowest and the highest not 0.
 *				The byte at position p weighs 256^p * 2^-1074.
 *
 * A varint is LEB128: seven bits a byte, lowest first, 0x80 set in all but
 * the last, no longer than needed.  A double is its IEEE bits, lowest byte
 * first.  So equal content gives equal bytes on every machine.  Runs of
 * neighbouring buckets are the rule, which is why a gap costs a byte and its
 * absence nothing: a small count takes one byte, index and all.
 *
 * Whatever is read may come from anywhere, so it is checked before it is
 * believed, and dst is touched only after everything was checked.
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/sketch.h"

#define PACK_VERSION 1
#define ACCURACY_OFFSET 1

/* Buckets of this many are decoded on the stack; more need an allocation. */
#define LOCAL_BUCKETS 512

/*
 * Writing.  With at == NULL nothing is written, only counted, so that size
 * and content come from the same code.
 */
typedef struct Writer
{
	unsigned char *at;
	size_t		size;
} Writer;

static inline void
put_byte(Writer *w, unsigned int byte)
{
	if (w->at != NULL)
		*w->at++ = (unsigned char) byte;
	w->size++;
}

static inline void
put_varint(Writer *w, uint64_t value)
{
	while (value >= 0x80)
	{
		put_byte(w, (value & 0x7F) | 0x80);
		value >>= 7;
	}
	put_byte(w, value);
}

static void
put_double(Writer *w, double value)
{
	uint64_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	for (int i = 0; i < 64; i += 8)
		put_byte(w, (bits >> i) & 0xFF);
}

static void
put_store(Writer *w, const SketchStore *store)
{
	int64_t		expected;

	put_varint(w, store->n);
	if (store->n == 0)
		return;

	expected = store->bucket[0].index;
	put_varint(w, expected < 0 ? (uint64_t) (-expected) * 2 - 1 :
			   (uint64_t) expected * 2);
	for (int32_t i = 0; i < store->n; i++)
	{
		const SketchBucket *b = &store->bucket[i];

		put_varint(w, ((b->count - 1) << 1) | (b->index != expected));
		if (b->index != expected)
			put_varint(w, b->index - expected - 1);
		expected = (int64_t) b->index + 1;
	}
}

static inline unsigned int
canon_byte(const ExactSumCanon *sum, int position)
{
	return (sum->digit[position / 4] >> (position % 4 * 8)) & 0xFF;
}

static void
put_sum(Writer *w, const ExactSum *s)
{
	ExactSumCanon sum;
	int			first = 0;
	int			end;

	exactsum_canonical(s, &sum);
	end = 4 * sum.n;
	if (end > 0)
	{
		while (canon_byte(&sum, first) == 0)
			first++;
		while (canon_byte(&sum, end - 1) == 0)
			end--;
	}

	put_varint(w, (uint64_t) (end - first) * 2 + sum.negative);
	if (end > 0)
		put_varint(w, sum.low * 4 + first);
	for (int i = first; i < end; i++)
		put_byte(w, canon_byte(&sum, i));
}

static void
put_sketch(Writer *w, const Sketch *s)
{
	put_byte(w, PACK_VERSION);
	put_double(w, s->accuracy);
	put_varint(w, s->zero);
	put_store(w, &s->neg);
	put_store(w, &s->pos);
	if (s->count > 0)
	{
		put_double(w, s->min);
		put_double(w, s->max);
		put_sum(w, &s->sum);
	}
}

size_t
sketch_pack_size(const Sketch *s)
{
	Writer		w = {NULL, 0};

	put_sketch(&w, s);
	return w.size;
}

void
sketch_pack(const Sketch *s, void *out)
{
	Writer		w = {out, 0};

	put_sketch(&w, s);
}

/*
 * Reading.  The first thing found wrong stays in status; a getter that fails
 * returns 0, and what it is used for must be safe with that.
 */
typedef struct Reader
{
	const unsigned char *at;
	const unsigned char *end;
	SketchStatus status;
} Reader;

static inline size_t
left(const Reader *r)
{
	return r->end - r->at;
}

static uint64_t
fail(Reader *r, SketchStatus status)
{
	if (r->status == SKETCH_OK)
		r->status = status;
	r->at = r->end;
	return 0;
}

static uint64_t
get_long_varint(Reader *r)
{
	uint64_t	value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		uint64_t	byte;

		if (r->at == r->end)
			return fail(r, SKETCH_TRUNCATED);
		byte = *r->at++;

		/* The tenth byte has room for one bit. */
		if (shift == 63 && byte > 1)
			break;
		value |= (byte & 0x7F) << shift;
		if (byte < 0x80)
		{
			/* A last byte of zero could have been left out. */
			if (byte == 0 && shift > 0)
				break;
			return value;
		}
	}
	return fail(r, SKETCH_BAD_NUMBER);
}

static inline uint64_t
get_varint(Reader *r)
{
	if (r->at < r->end && *r->at < 0x80)
		return *r->at++;
	return get_long_varint(r);
}

static double
get_double(Reader *r)
{
	uint64_t	bits = 0;
	double		value;

	if (left(r) < 8)
		return fail(r, SKETCH_TRUNCATED);
	for (int i = 0; i < 64; i += 8)
		bits |= (uint64_t) *r->at++ << i;
	memcpy(&value, &bits, sizeof(value));

	/* No sketch has these, nor the negative zero. */
	if (!isfinite(value) || bits == UINT64_C(1) << 63)
		return fail(r, SKETCH_BAD_NUMBER);
	return value;
}

/* Decoded buckets: the local array as far as it reaches. */
typedef struct Scratch
{
	SketchBucket *bucket;
	SketchBucket *allocated;
	size_t		free;
	SketchBucket local[LOCAL_BUCKETS];
} Scratch;

/*
 * Decode a store into scratch and return its buckets.  *n is only believed
 * as far as there are bytes, one for each bucket at least; *total is kept at
 * most SKETCH_MAX_COUNT.
 */
static SketchBucket *
get_store(Reader *r, Scratch *scratch, int32_t *n, uint64_t *total)
{
	uint64_t	claimed = get_varint(r);
	uint64_t	first;
	int64_t		index;
	uint64_t	sum = *total;
	SketchBucket *bucket;

	*n = 0;
	if (claimed == 0)
		return NULL;
	if (claimed >= left(r) || claimed > INT32_MAX)
	{
		fail(r, SKETCH_TRUNCATED);
		return NULL;
	}

	first = get_varint(r);
	if (first > UINT32_MAX)
	{
		fail(r, SKETCH_BAD_INDEX);
		return NULL;
	}
	index = (int64_t) (first >> 1) ^ -(int64_t) (first & 1);

	if (claimed <= scratch->free)
	{
		bucket = scratch->bucket;
		scratch->bucket += claimed;
		scratch->free -= claimed;
	}
	else
	{
		/*
		 * The rest of the message bounds what both stores can need, so one
		 * allocation is enough, and the second store cannot come here if the
		 * first did.
		 */
		size_t		size = left(r);

		scratch->allocated = core_alloc(size * sizeof(SketchBucket));
		bucket = scratch->allocated;
		scratch->bucket = bucket + claimed;
		scratch->free = size - claimed;
	}

	for (uint64_t i = 0; i < claimed; i++)
	{
		uint64_t	token = get_varint(r);
		uint64_t	count = (token >> 1) + 1;

		if ((token & 1) != 0)
		{
			uint64_t	skipped = get_varint(r);

			if (i == 0 || skipped > UINT32_MAX)
				fail(r, SKETCH_BAD_INDEX);
			else
				index += (int64_t) skipped + 1;
		}
		if (index > INT32_MAX)
			fail(r, SKETCH_BAD_INDEX);
		if (count > SKETCH_MAX_COUNT - sum)
			fail(r, SKETCH_COUNT_OVERFLOW);
		if (r->status != SKETCH_OK)
			return NULL;
		sum += count;
		bucket[i].index = (int32_t) index++;
		bucket[i].count = count;
	}
	*n = (int32_t) claimed;
	*total = sum;
	return bucket;
}

static void
get_sum(Reader *r, ExactSumCanon *sum)
{
	uint64_t	head = get_varint(r);
	uint64_t	size = head >> 1;
	uint64_t	first;
	int			last;

	memset(sum, 0, offsetof(ExactSumCanon, digit));
	sum->negative = (head & 1) != 0;
	if (size == 0)
	{
		if (sum->negative)
			fail(r, SKETCH_BAD_SUM);
		return;
	}
	first = get_varint(r);
	if (r->status != SKETCH_OK)
		return;
	if (size > left(r))
	{
		fail(r, SKETCH_TRUNCATED);
		return;
	}
	if (first >= EXACTSUM_BITS / 8 || size > EXACTSUM_BITS / 8 - first ||
		r->at[0] == 0 || r->at[size - 1] == 0)
	{
		fail(r, SKETCH_BAD_SUM);
		return;
	}

	sum->low = (int) first / 4;
	last = (int) (first + size - 1) / 4;
	sum->n = last - sum->low + 1;
	memset(sum->digit, 0, sum->n * sizeof(uint32_t));
	for (int i = (int) first; i < (int) (first + size); i++)
		sum->digit[i / 4 - sum->low] |= (uint32_t) *r->at++ << (i % 4 * 8);
}

/*
 * Merge a packed sketch into dst, whose accuracy was compared already.
 */
static SketchStatus
merge_body(Sketch *dst, Reader *r, Scratch *scratch)
{
	SketchShape shape;
	SketchBucket *neg;
	SketchBucket *pos;
	ExactSumCanon sum;
	SketchStatus status;

	shape.zero = get_varint(r);
	if (shape.zero > SKETCH_MAX_COUNT)
		fail(r, SKETCH_COUNT_OVERFLOW);
	shape.count = shape.zero;
	neg = get_store(r, scratch, &shape.neg_n, &shape.count);
	pos = get_store(r, scratch, &shape.pos_n, &shape.count);
	if (r->status != SKETCH_OK)
		return r->status;

	if (shape.count == 0)
		return left(r) > 0 ? SKETCH_TRAILING : SKETCH_OK;

	shape.min = get_double(r);
	shape.max = get_double(r);
	get_sum(r, &sum);
	if (r->status != SKETCH_OK)
		return r->status;
	if (left(r) > 0)
		return SKETCH_TRAILING;

	if (shape.neg_n > 0)
	{
		shape.neg_low = neg[0].index;
		shape.neg_high = neg[shape.neg_n - 1].index;
	}
	if (shape.pos_n > 0)
	{
		shape.pos_low = pos[0].index;
		shape.pos_high = pos[shape.pos_n - 1].index;
	}
	status = sketch_check_shape(dst, &shape);
	if (status != SKETCH_OK)
		return status;
	if (!sketch_sum_fits(&sum, &shape))
		return SKETCH_BAD_SUM;
	if (shape.count > SKETCH_MAX_COUNT - dst->count)
		return SKETCH_COUNT_OVERFLOW;

	sketch_merge_store(&dst->neg, neg, shape.neg_n);
	sketch_merge_store(&dst->pos, pos, shape.pos_n);
	for (int i = 0; i < sum.n; i++)
		exactsum_add_word(&dst->sum, sum.negative, 32 * (sum.low + i),
						  sum.digit[i]);
	sketch_merge_extremes(dst, shape.min, shape.max);
	dst->zero += shape.zero;
	dst->count += shape.count;
	return SKETCH_OK;
}

/* Read version and accuracy. */
static SketchStatus
get_head(Reader *r, double *accuracy)
{
	if (left(r) < ACCURACY_OFFSET)
		return SKETCH_TRUNCATED;
	if (*r->at++ != PACK_VERSION)
		return SKETCH_BAD_VERSION;
	*accuracy = get_double(r);
	return r->status;
}

static SketchStatus
merge_checked(Sketch *dst, Reader *r)
{
	Scratch		scratch;
	SketchStatus status;

	scratch.bucket = scratch.local;
	scratch.free = LOCAL_BUCKETS;
	scratch.allocated = NULL;
	status = merge_body(dst, r, &scratch);
	core_free(scratch.allocated);
	return status;
}

SketchStatus
sketch_merge_packed(Sketch *dst, const void *packed, size_t size)
{
	Reader		r = {packed, (const unsigned char *) packed + size, SKETCH_OK};
	double		accuracy;
	SketchStatus status;

	status = get_head(&r, &accuracy);
	if (status != SKETCH_OK)
		return status;
	if (accuracy != dst->accuracy)
		return SKETCH_ACCURACY_DIFFERS;
	return merge_checked(dst, &r);
}

SketchStatus
sketch_unpack(Sketch *s, const void *packed, size_t size)
{
	Reader		r = {packed, (const unsigned char *) packed + size, SKETCH_OK};
	double		accuracy;
	SketchStatus status;

	status = get_head(&r, &accuracy);
	if (status == SKETCH_OK)
		status = sketch_init(s, accuracy);
	if (status != SKETCH_OK)
		return status;
	status = merge_checked(s, &r);
	if (status == SKETCH_OK && !sketch_mean_fits(s))
		status = SKETCH_BAD_SUM;
	if (status != SKETCH_OK)
		sketch_free(s);
	return status;
}
