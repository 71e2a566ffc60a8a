/*
 * exactsum.c
 *		A sum of doubles without rounding error.
 *
 * See exactsum.h for what it is for.  The idea is U. Kulisch's long
 * accumulator ("Computer Arithmetic and Validity", de Gruyter 2008); the
 * lazy carry in digits wider than their base is the "small superaccumulator"
 * of R. M. Neal (arXiv:1505.05571).
 *
 * A digit is an int64 that nominally holds 32 bits.  An addition puts at
 * most ADD_BOUND * 2^32 into a digit and does not carry, so that adding one
 * double is three integer additions.  After PENDING_MAX additions the carry
 * is done:
 *
 *		|digit| <= (pending * ADD_BOUND + 1) * 2^32 <= 2^61 + 2^32
 *
 * and so two sums can be added digit by digit, whatever their state, without
 * leaving the int64.  After a carry all digits are in [0, 2^32) except the
 * top one, which carries the sign and is in [-2^32, 2^32).
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/exactsum.h"

#define PENDING_MAX (1U << 26)
#define ADD_BOUND 8

#define LOW32(x) ((uint32_t) (x))
#define HIGH32(x) ((uint32_t) ((x) >> 32))

void
exactsum_init(ExactSum *s)
{
	s->digit = NULL;
	s->low = 0;
	s->n = 0;
	s->pending = 0;
}

void
exactsum_free(ExactSum *s)
{
	core_free(s->digit);
	exactsum_init(s);
}

/*
 * Make digits [low, high) part of the range kept.  The first range is taken
 * with a digit to spare on either side, as neighbouring magnitudes usually
 * follow.
 */
static void
grow_range(ExactSum *s, int low, int high)
{
	int			n;

	if (s->n == 0)
	{
		low = low > 0 ? low - 1 : 0;
		high = high < EXACTSUM_DIGITS ? high + 1 : EXACTSUM_DIGITS;
	}
	else
	{
		if (low > s->low)
			low = s->low;
		if (high < s->low + s->n)
			high = s->low + s->n;
	}

	n = high - low;
	s->digit = core_realloc(s->digit, n * sizeof(int64_t));
	if (s->n == 0)
		memset(s->digit, 0, n * sizeof(int64_t));
	else
	{
		int			below = s->low - low;

		memmove(s->digit + below, s->digit, s->n * sizeof(int64_t));
		memset(s->digit, 0, below * sizeof(int64_t));
		memset(s->digit + below + s->n, 0,
			   (n - below - s->n) * sizeof(int64_t));
	}
	s->low = low;
	s->n = n;
}

static inline void
need_range(ExactSum *s, int low, int high)
{
	if (low < s->low || high > s->low + s->n)
		grow_range(s, low, high);
}

/*
 * Carry through n digits; what does not fit into the digits stays in the top
 * one.  Written with a mask and an exact division instead of a shift of a
 * negative number, which C leaves to the implementation.
 */
static void
carry_digits(int64_t *digit, int n)
{
	for (int i = 0; i < n - 1; i++)
	{
		int64_t		rest = digit[i] & INT64_C(0xFFFFFFFF);

		digit[i + 1] += (digit[i] - rest) / (INT64_C(1) << 32);
		digit[i] = rest;
	}
}

static void
carry(ExactSum *s)
{
	const int64_t bound = INT64_C(1) << 32;

	if (s->n > 0)
	{
		carry_digits(s->digit, s->n);
		if ((s->digit[s->n - 1] >= bound || s->digit[s->n - 1] < -bound) &&
			s->low + s->n < EXACTSUM_DIGITS)
		{
			grow_range(s, s->low, s->low + s->n + 1);
			carry_digits(s->digit, s->n);
		}
	}
	s->pending = 0;
}

static inline void
note_addition(ExactSum *s)
{
	if (++s->pending >= PENDING_MAX)
		carry(s);
}

/*
 * A finite double is +-mantissa * 2^bit units: the integer mantissa and the
 * position of its lowest bit are the fields of the IEEE format as they are.
 */
static inline void
split_double(double value, bool *negative, uint64_t *mantissa, int *bit)
{
	uint64_t	bits;
	int			exponent;

	memcpy(&bits, &value, sizeof(bits));
	*negative = (bits >> 63) != 0;
	exponent = (bits >> 52) & 0x7FF;
	*mantissa = bits & ((UINT64_C(1) << 52) - 1);
	if (exponent > 0)
	{
		*mantissa |= UINT64_C(1) << 52;
		*bit = exponent - 1;
	}
	else
		*bit = 0;
}

void
exactsum_add(ExactSum *s, double value, uint64_t times)
{
	bool		negative;
	uint64_t	mantissa;
	int			bit;
	int			shift;
	uint64_t	low;
	uint64_t	part[5];
	int			n;
	int64_t    *digit;

	split_double(value, &negative, &mantissa, &bit);
	if (mantissa == 0 || times == 0)
		return;

	/* The mantissa shifted into place: 53 + 31 bits, three digits. */
	shift = bit % 32;
	low = mantissa << shift;
	part[0] = LOW32(low);
	part[1] = HIGH32(low);
	part[2] = shift > 0 ? mantissa >> (64 - shift) : 0;
	n = 3;

	if (times > 1)
	{
		uint64_t	factor[3] = {part[0], part[1], part[2]};

		memset(part, 0, sizeof(part));
		for (int i = 0; i < 3; i++)
		{
			uint64_t	product = factor[i] * LOW32(times);

			part[i] += LOW32(product);
			part[i + 1] += HIGH32(product);
			product = factor[i] * HIGH32(times);
			part[i + 1] += LOW32(product);
			part[i + 2] += HIGH32(product);
		}
		n = 5;
	}

	/* The largest double has bit = 2045: 63 + 5 digits are all there are. */
	need_range(s, bit / 32, bit / 32 + n);
	digit = s->digit + (bit / 32 - s->low);
	if (negative)
	{
		for (int i = 0; i < n; i++)
			digit[i] -= (int64_t) part[i];
	}
	else
	{
		for (int i = 0; i < n; i++)
			digit[i] += (int64_t) part[i];
	}
	note_addition(s);
}

void
exactsum_add_word(ExactSum *s, bool negative, int bit, uint32_t word)
{
	uint64_t	shifted = (uint64_t) word << (bit % 32);
	int64_t    *digit;

	if (word == 0)
		return;
	need_range(s, bit / 32, bit / 32 + (HIGH32(shifted) != 0 ? 2 : 1));
	digit = s->digit + (bit / 32 - s->low);
	digit[0] += negative ? -(int64_t) LOW32(shifted) : LOW32(shifted);
	if (HIGH32(shifted) != 0)
		digit[1] += negative ? -(int64_t) HIGH32(shifted) : HIGH32(shifted);
	note_addition(s);
}

void
exactsum_merge(ExactSum *dst, const ExactSum *src)
{
	if (src->n == 0)
		return;
	need_range(dst, src->low, src->low + src->n);
	for (int i = 0; i < src->n; i++)
		dst->digit[src->low - dst->low + i] += src->digit[i];

	/*
	 * Counts the carried remainder of src, too.  Both were below PENDING_MAX,
	 * so the sum of the two obeys the bound in the head of this file until
	 * the carry that may follow at once.
	 */
	dst->pending += src->pending + 1;
	if (dst->pending >= PENDING_MAX)
		carry(dst);
}

void
exactsum_canonical(const ExactSum *s, ExactSumCanon *canon)
{
	int64_t		digit[EXACTSUM_DIGITS + 1];
	int			n = s->n;
	int			first = 0;

	canon->negative = false;
	canon->low = 0;
	canon->n = 0;
	if (n == 0)
		return;

	/* One digit more takes up what is in the top digit. */
	memcpy(digit, s->digit, n * sizeof(int64_t));
	digit[n++] = 0;
	carry_digits(digit, n);

	if (digit[n - 1] < 0)
	{
		canon->negative = true;
		for (int i = 0; i < n; i++)
			digit[i] = -digit[i];
		carry_digits(digit, n);
	}

	while (n > 0 && digit[n - 1] == 0)
		n--;
	while (first < n && digit[first] == 0)
		first++;
	if (n == 0)
		return;

	/* Cannot exceed the digits there are: see the bound in exactsum.h. */
	canon->low = s->low + first;
	canon->n = n - first;
	for (int i = first; i < n; i++)
		canon->digit[i - first] = (uint32_t) digit[i];
}

static int
bit_width(uint64_t x)
{
	return x == 0 ? 0 : 64 - __builtin_clzll(x);
}

int
exactsum_canon_bits(const ExactSumCanon *canon)
{
	if (canon->n == 0)
		return 0;
	return 32 * (canon->low + canon->n - 1) +
		bit_width(canon->digit[canon->n - 1]);
}

/*
 * The double nearest to (m + rest) * 2^bit units, ties to even, where rest is
 * in (0, 1) if sticky and else 0.  The caller has seen to it that m reaches
 * below the last bit of the result if sticky.
 */
static double
round_to_double(uint64_t m, int bit, bool sticky)
{
	int			drop = bit_width(m) - 53;

	/* Nothing is finer than one unit. */
	if (drop < -bit)
		drop = -bit;
	if (drop > 0)
	{
		uint64_t	half = UINT64_C(1) << (drop - 1);
		uint64_t	rest = m & (half | (half - 1));

		m >>= drop;
		if (rest > half || (rest == half && (sticky || (m & 1) != 0)))
			m++;
		bit += drop;
	}
	return ldexp((double) m, bit + EXACTSUM_UNIT);
}

/*
 * Long division, bit by bit from the top, until the quotient has ten bits
 * more than a double or the rest cannot matter.  It is done once per reading
 * of a mean, and its cost is some hundred nanoseconds.
 */
double
exactsum_mean(const ExactSum *s, uint64_t n)
{
	ExactSumCanon canon;
	uint64_t	quotient = 0;
	uint64_t	rest = 0;
	int			bottom;
	int			bit;
	bool		sticky;
	double		result;

	exactsum_canonical(s, &canon);
	if (canon.n == 0)
		return 0.0;

	/* rest < n <= 2^63, so that it can be doubled */
	bottom = 32 * canon.low;
	bit = bottom + 32 * canon.n;
	do
	{
		bit--;
		rest <<= 1;
		if (bit >= bottom)
			rest |= (canon.digit[(bit - bottom) / 32] >> (bit % 32)) & 1;
		quotient <<= 1;
		if (rest >= n)
		{
			rest -= n;
			quotient |= 1;
		}
	} while (quotient >> 62 == 0 && bit > -2 && (bit > bottom || rest != 0));

	/* Is there anything in what was not looked at? */
	sticky = rest != 0;
	if (bit >= bottom + 32)
		sticky = true;
	else if (bit > bottom)
		sticky |= (canon.digit[0] &
				   ((UINT32_C(1) << (bit - bottom)) - 1)) != 0;

	result = round_to_double(quotient, bit, sticky);
	return canon.negative ? -result : result;
}

double
exactsum_value(const ExactSum *s)
{
	return exactsum_mean(s, 1);
}
