/*
 * exactsum.h
 *		A sum of doubles without rounding error.
 *
 * Adding doubles in floating point gives a result that depends on the order
 * of the additions, so a sum merged from parts (parallel workers, hours into
 * days) would differ from the sum over the whole.  An ExactSum holds the sum
 * as a fixed-point integer wide enough for every double there is (Kulisch's
 * long accumulator), so that order and grouping never matter, and rounds
 * once, when it is read.
 *
 * The integer counts units of 2^-1074, the smallest subnormal.  The largest
 * double is below 2^1024, and as long as the number of values added is below
 * 2^64 the magnitude stays below 2^(1074 + 1024 + 64) units: 68 digits of 32
 * bits.  Only the range of digits in use is kept, three to five of them for
 * latencies, and an empty sum owns no memory.
 */
#ifndef METER_CORE_EXACTSUM_H
#define METER_CORE_EXACTSUM_H

#include <stdbool.h>
#include <stdint.h>

#define EXACTSUM_DIGITS 68
#define EXACTSUM_BITS (EXACTSUM_DIGITS * 32)

/* The exponent of bit 0: a bit at position p weighs 2^(p + this). */
#define EXACTSUM_UNIT (-1074)

typedef struct ExactSum
{
	int64_t    *digit;			/* n digits of base 2^32, carried lazily */
	int16_t		low;			/* position of digit[0], in digits */
	int16_t		n;
	uint32_t	pending;		/* additions since the last carry, see .c */
} ExactSum;

/*
 * The same number in its only canonical form: sign and magnitude, lowest and
 * highest digit not zero.  Zero is n = 0, low = 0, not negative.
 */
typedef struct ExactSumCanon
{
	bool		negative;
	int			low;
	int			n;
	uint32_t	digit[EXACTSUM_DIGITS];
} ExactSumCanon;

extern void exactsum_init(ExactSum *s);
extern void exactsum_free(ExactSum *s);

/* value must be finite. */
extern void exactsum_add(ExactSum *s, double value, uint64_t times);

/* dst and src may be the same sum. */
extern void exactsum_merge(ExactSum *dst, const ExactSum *src);

/*
 * Add word * 2^bit units, or subtract them: how the packed and the text form
 * are read back.  bit must be between 0 and EXACTSUM_BITS - 32.
 */
extern void exactsum_add_word(ExactSum *s, bool negative, int bit,
							  uint32_t word);

extern void exactsum_canonical(const ExactSum *s, ExactSumCanon *canon);

/* The number of bits of the magnitude; 0 for zero. */
extern int	exactsum_canon_bits(const ExactSumCanon *canon);

/*
 * The double nearest to the exact sum, ties to even; plus or minus infinity
 * when that is beyond the largest double.
 */
extern double exactsum_value(const ExactSum *s);

/*
 * The double nearest to the exact sum divided by n, 1 <= n <= INT64_MAX.
 * Rounded once, so the mean of finite values is always between the smallest
 * and the largest of them, also where their sum overflows.
 */
extern double exactsum_mean(const ExactSum *s, uint64_t n);

#endif							/* METER_CORE_EXACTSUM_H */
