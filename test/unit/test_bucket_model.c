/*
 * test_bucket_model.c
 *		The arithmetic of limits against a slow model of what it means.
 *
 * The model shares no formula with the code.  It keeps what is used as a mixed
 * number, whole billionths and a fraction of one, so that it needs no products
 * of amounts and periods; it knows what is refilled in 1, 2, 4, ... us, found by
 * adding, and finds waiting times by trying those, longest first.
 */
#include "bucket_test.h"

#define SEQUENCES 100000
#define POWERS 64

static BucketAmount
random_wide(void)
{
	BucketAmount high = (BucketAmount) (next_random() >> 1);

	return high << 64 | next_random();
}

/* Of any magnitude up to so many bits, the small as likely as the large. */
static BucketAmount
random_magnitude(int bits)
{
	return random_wide() >> (127 - 1 - random_below(bits));
}

/* whole + part / period billionths, with 0 <= part < period */
typedef struct Mixed
{
	BucketAmount whole;
	int64_t		part;
} Mixed;

typedef struct Model
{
	BucketLimit limit;
	Mixed		used;
	int64_t		time;
	Mixed		refill[POWERS]; /* in 2^i us, or enough for any debt */
} Model;

static Mixed
whole(BucketAmount amount)
{
	Mixed		mixed = {amount, 0};

	return mixed;
}

static Mixed
add(Mixed a, Mixed b, int64_t period)
{
	Mixed		sum = {a.whole + b.whole, a.part + b.part};

	if (sum.part >= period)
	{
		sum.part -= period;
		sum.whole++;
	}
	return sum;
}

static bool
is_less(Mixed a, Mixed b)
{
	return a.whole < b.whole || (a.whole == b.whole && a.part < b.part);
}

static Mixed
subtract(Mixed a, Mixed b, int64_t period)
{
	Mixed		difference = {a.whole - b.whole, a.part - b.part};

	if (is_less(a, b))
		return whole(0);
	if (difference.part < 0)
	{
		difference.part += period;
		difference.whole--;
	}
	return difference;
}

static void
model_set_limit(Model *model, const BucketLimit *limit)
{
	const Mixed enough = whole(2 * BUCKET_MAX_AMOUNT);

	model->limit = *limit;
	if (limit->window)
		return;
	model->refill[0].whole = limit->max / limit->period;
	model->refill[0].part = limit->max % limit->period;
	for (int i = 1; i < POWERS; i++)
	{
		model->refill[i] = add(model->refill[i - 1], model->refill[i - 1],
							   limit->period);
		if (is_less(enough, model->refill[i]))
			model->refill[i] = enough;
	}
}

/* What can be used at most: a token bucket that is limited can be empty. */
static BucketAmount
model_most(const Model *model)
{
	if (model->limit.unlimited || model->limit.window)
		return BUCKET_MAX_AMOUNT;
	return model->limit.capacity;
}

static void
model_advance(Model *model, int64_t now, int64_t window_end)
{
	const BucketLimit *limit = &model->limit;
	const Mixed most = whole(model_most(model));

	if (now >= model->time && limit->window)
	{
		model->used = whole(0);
		model->time = window_end;
	}
	else if (now > model->time && !limit->window)
	{
		__int128	elapsed = (__int128) now - model->time;

		for (int i = 0; i < POWERS; i++)
		{
			if (elapsed >> i & 1)
				model->used = subtract(model->used, model->refill[i],
									   limit->period);
		}
		model->time = now;
	}
	if (is_less(most, model->used))
		model->used = most;
}

static bool
model_admits(const Model *model, BucketAmount amount)
{
	Mixed		after = model->used;

	if (model->limit.unlimited)
		return true;
	if (amount > model->limit.capacity)
		return false;
	after.whole += amount;
	return !is_less(whole(model->limit.capacity), after);
}

static void
model_take(Model *model, BucketAmount amount)
{
	BucketAmount most = model_most(model);

	if (amount > most || model->used.whole + amount >= most)
		model->used = whole(most);
	else
		model->used.whole += amount;
}

static void
model_give(Model *model, BucketAmount amount)
{
	model->used = subtract(model->used, whole(amount),
						   model->limit.period);
}

static void
model_change_period(Model *model, int64_t period)
{
	__int128	part = (__int128) model->used.part * period;
	int64_t		old = model->limit.period;
	BucketLimit limit = model->limit;

	model->used.part = (int64_t) (part / old) + (part % old > 0);
	if (model->used.part == period)
	{
		model->used.part = 0;
		model->used.whole++;
	}
	limit.period = period;
	model_set_limit(model, &limit);
}

static BucketAmount
model_remaining(const Model *model)
{
	const Mixed capacity = whole(model->limit.capacity);

	if (model->limit.unlimited)
		return capacity.whole;
	if (is_less(capacity, model->used))
		return 0;
	return capacity.whole - model->used.whole - (model->used.part > 0);
}

/* Until so much is refilled: the longest time in which it is not, and one. */
static int64_t
model_wait(const Model *model, Mixed need, int64_t now)
{
	Mixed		refilled = whole(0);
	__int128	wait = 1;

	if (need.whole == 0 && need.part == 0)
		return 0;
	if (model->limit.window)
		return model->time - now;
	if (model->limit.max == 0)
		return BUCKET_NEVER;
	for (int i = POWERS - 1; i >= 0; i--)
	{
		Mixed		more = add(refilled, model->refill[i],
							   model->limit.period);

		if (is_less(more, need))
		{
			refilled = more;
			wait += (__int128) 1 << i;
		}
	}
	wait += model->time;
	return wait > INT64_MAX ? BUCKET_NEVER : (int64_t) (wait - now);
}

static int64_t
model_retry_after(const Model *model, BucketAmount amount, int64_t now)
{
	Mixed		need = model->used;

	if (model_admits(model, amount))
		return 0;
	if (amount > model->limit.capacity)
		return BUCKET_NEVER;
	need.whole -= model->limit.capacity - amount;
	return model_wait(model, need, now);
}

/* One sequence: the bucket, the model, and the clock of both. */
typedef struct Sequence
{
	Bucket		bucket;
	Model		model;
	int64_t		now;
	int64_t		length;			/* of a calendar window */
	int64_t		wait;			/* the last one there was */
} Sequence;

/* How often things happened, so that a test of nothing fails. */
static uint64_t admitted;
static uint64_t refused;
static uint64_t waits;
static uint64_t nevers;
static uint64_t too_late;
static uint64_t behind;
static uint64_t windows;
static uint64_t limits;

static int64_t
window_end(const Sequence *s, int64_t now)
{
	__int128	end = ((__int128) now / s->length + 1) * s->length;

	/* The clock of a token bucket, which has no use for it, may go so far. */
	return end < INT64_MAX ? (int64_t) end : INT64_MAX;
}

static BucketAmount
random_max(void)
{
	BucketAmount max;

	switch (random_below(6))
	{
		case 0:
			return random_below(3);
		case 1:
			return (BucketAmount) random_below(10) * BUCKET_UNIT;
		case 2:
			return (BucketAmount) random_below(1000000) * BUCKET_UNIT;
		case 3:
			return BUCKET_MAX_AMOUNT - random_below(3);
		default:
			max = random_magnitude(80);
			return max <= BUCKET_MAX_AMOUNT ? max : BUCKET_MAX_AMOUNT;
	}
}

static int64_t
random_period(void)
{
	int64_t		period;

	switch (random_below(6))
	{
		case 0:
			return 1 + (int64_t) random_below(3);
		case 1:
			return SECOND;
		case 2:
			return 999983;		/* a prime number */
		case 3:
			return BUCKET_MAX_PERIOD - (int64_t) random_below(2);
		default:
			period = 1 + (int64_t) random_magnitude(42);
			return period <= BUCKET_MAX_PERIOD ? period : BUCKET_MAX_PERIOD;
	}
}

static BucketAmount
random_amount(const Sequence *s)
{
	const BucketLimit *limit = &s->model.limit;
	BucketAmount amount;

	switch (random_below(12))
	{
		case 0:
			return random_below(3);
		case 1:
			return BUCKET_UNIT;
		case 2:
			return limit->capacity;
		case 3:
			return limit->capacity + 1;
		case 4:
			return model_remaining(&s->model);
		case 5:
			return model_remaining(&s->model) + 1;
		case 6:
			return random_below(20) == 0 ? HIGHEST : random_magnitude(127);
		case 7:
			return random_magnitude(80);
		default:

			/* A fair part of it, so that there are some before it is empty. */
			amount = limit->capacity >> random_below(5);
			return amount > 0 ? random_wide() % amount : 0;
	}
}

/* The next reading of the clock. */
static int64_t
random_time(const Sequence *s)
{
	__int128	now = s->now;
	const bool	window = s->model.limit.window;
	const int64_t least = window ? -INT64_MAX / 4 : 0;
	const int64_t most = window ? INT64_MAX / 2 : INT64_MAX;

	switch (random_below(12))
	{
		case 0:
			break;
		case 1:
			now += random_below(10);
			break;
		case 2:
			now += random_below(2 * s->model.limit.period);
			break;
		case 3:
		case 4:
			now += s->wait;
			break;
		case 5:
			now += s->wait > 0 ? s->wait - 1 : 0;
			break;
		case 6:
			now += random_magnitude(42);
			break;
		case 7:
			now -= random_below(10);
			break;
		case 8:
			now -= random_magnitude(36);
			break;
		case 9:
			/* Back to where it was, or just before it. */
			now = s->model.time - (int64_t) random_below(2);
			break;
		case 10:
			if (window)
				now = s->model.time;
			break;
		default:
			if (random_below(10) == 0)
				now += random_magnitude(63);
			else if (random_below(50) == 0)
				now = random_below(2) == 0 ? most : least;
	}
	if (now < least)
		now = least;
	return now < most ? (int64_t) now : most;
}

/*
 * The same limit, or another one, of the same kind.  The bucket is to be
 * brought up to a time again afterwards.
 */
static void
change_limit(Sequence *s)
{
	BucketLimit limit = s->model.limit;

	limits++;
	switch (random_below(5))
	{
		case 0:
			limit.max = random_max();
			break;
		case 1:
			limit.capacity = random_max();
			break;
		case 2:
			limit.max = limit.capacity = random_max();
			break;
		case 3:
			limit.unlimited = !limit.unlimited;
			break;
		case 4:
			if (limit.window)
				break;
			limit.period = random_period();
			bucket_change_period(&s->bucket, s->model.limit.period,
								 limit.period);
			model_change_period(&s->model, limit.period);
			break;
	}
	model_set_limit(&s->model, &limit);
}

static void
advance(Sequence *s)
{
	int64_t		end = window_end(s, s->now);

	behind += !s->model.limit.window && s->now < s->model.time;
	windows += s->model.limit.window && s->now >= s->model.time;
	bucket_advance(&s->bucket, &s->model.limit, s->now, end);
	model_advance(&s->model, s->now, end);
}

static bool
admits_at(const Sequence *s, BucketAmount amount, int64_t now)
{
	Bucket		later = s->bucket;

	bucket_advance(&later, &s->model.limit, now, window_end(s, now));
	return bucket_admits(&later, &s->model.limit, amount);
}

static void
check_retry_after(Sequence *s, BucketAmount amount)
{
	const BucketLimit *limit = &s->model.limit;
	int64_t		retry = bucket_retry_after(&s->bucket, limit, amount, s->now);

	assert_int_equal(retry, model_retry_after(&s->model, amount, s->now));
	assert_int_equal(retry == 0, bucket_admits(&s->bucket, limit, amount));
	if (retry > 0)
	{
		assert_false(admits_at(s, amount, s->now + retry - 1));
		assert_true(admits_at(s, amount, s->now + retry));
		s->wait = retry;
		waits++;
	}
	else if (retry == BUCKET_NEVER)
	{
		assert_false(admits_at(s, amount, INT64_MAX / 2));
		if (!limit->window)
			assert_false(admits_at(s, amount, INT64_MAX));
		nevers++;
		too_late += limit->max > 0 && amount <= limit->capacity;
	}
}

static void
check_reset_after(Sequence *s)
{
	const BucketLimit *limit = &s->model.limit;
	int64_t		reset = bucket_reset_after(&s->bucket, limit, s->now);
	Bucket		later = s->bucket;

	assert_int_equal(reset, model_wait(&s->model, s->model.used, s->now));
	assert_int_equal(reset == 0, bucket_is_full(&s->bucket, limit));
	if (reset <= 0)
		return;
	bucket_advance(&later, limit, s->now + reset - 1,
				   window_end(s, s->now + reset - 1));
	assert_false(bucket_is_full(&later, limit));
	bucket_advance(&later, limit, s->now + reset,
				   window_end(s, s->now + reset));
	assert_true(bucket_is_full(&later, limit));
	assert_amount(bucket_remaining(&later, limit), limit->capacity);
	s->wait = reset;
}

static void
check(Sequence *s, BucketAmount amount)
{
	const BucketLimit *limit = &s->model.limit;
	const Mixed used = s->model.used;
	BucketAmount remaining = bucket_remaining(&s->bucket, limit);

	assert_amount(bucket_used(&s->bucket, limit),
				  used.whole + (used.part > 0));
	assert_amount(remaining, model_remaining(&s->model));
	assert_true(remaining >= 0 && remaining <= limit->capacity);
	assert_int_equal(s->bucket.time, s->model.time);
	assert_int_equal(bucket_admits(&s->bucket, limit, amount),
					 model_admits(&s->model, amount));
	check_reset_after(s);
	check_retry_after(s, amount);

	/* Not only what can be seen of it, but all of it. */
	assert_amount(s->bucket.level, limit->window ? used.whole :
				  used.whole * limit->period + used.part);
}

static void
run_sequence(Sequence *s)
{
	BucketLimit limit = {.max = random_max(),.period = random_period()};
	int			operations = 10 + (int) random_below(50);

	limit.capacity = random_below(2) == 0 ? limit.max : random_max();
	limit.window = random_below(4) == 0;
	limit.unlimited = random_below(20) == 0;
	memset(s, 0, sizeof(*s));
	s->length = 1 + (int64_t) random_magnitude(42);
	s->now = (int64_t) random_magnitude(50);
	model_set_limit(&s->model, &limit);
	advance(s);

	for (int i = 0; i < operations; i++)
	{
		BucketAmount amount = random_amount(s);
		BucketAmount used;

		switch (random_below(20))
		{
			case 0:
				bucket_give(&s->bucket, &s->model.limit, amount);
				model_give(&s->model, amount);
				break;
			case 1:
				used = random_below(10) == 0 ? -amount : amount;
				bucket_set_used(&s->bucket, &s->model.limit, used);
				s->model.used = whole(0);
				if (used > 0)
					model_take(&s->model, used);
				break;
			case 2:
				change_limit(s);
				advance(s);
				break;
			case 3:

				/* Whether it admits the amount or not. */
				bucket_take(&s->bucket, &s->model.limit, amount);
				model_take(&s->model, amount);
				break;
			default:
				s->now = random_time(s);
				advance(s);
				check(s, amount);
				if (bucket_admits(&s->bucket, &s->model.limit, amount))
				{
					bucket_take(&s->bucket, &s->model.limit, amount);
					model_take(&s->model, amount);
					admitted++;
				}
				else
					refused++;
		}
		check(s, amount);
	}
}

/* I5 and I12 for what may happen to a bucket, and all else besides. */
static void
test_model(void **state)
{
	for (uint64_t i = 0; i < SEQUENCES; i++)
	{
		Sequence	s;

		random_state = i;
		run_sequence(&s);
	}
	assert_true(admitted > 500000 && refused > 500000);
	assert_true(waits > 500000 && nevers > 100000 && too_late > 10000);
	assert_true(behind > 100000 && windows > 100000 && limits > 100000);
}

/*
 * The model's own refill, against counting every microsecond: amounts so
 * small that both can be had.
 */
static void
test_model_of_the_model(void **state)
{
	random_state = 0;
	for (int run = 0; run < 2000; run++)
	{
		BucketLimit limit = {
			.max = 1 + random_below(40),
			.capacity = random_below(30),
			.period = 1 + (int64_t) random_below(50)
		};
		Model		model = {.time = 0};
		Bucket		bucket = {0, 0};
		int64_t		tokens = (int64_t) limit.capacity * limit.period;
		const int64_t full = tokens;
		int64_t		time = 0;

		model_set_limit(&model, &limit);
		for (int call = 0; call < 30; call++)
		{
			int64_t		amount = (int64_t) random_below(10);
			int64_t		wait = 0;

			for (int64_t until = time + (int64_t) random_below(20);
				 time < until; time++)
				tokens = tokens + (int64_t) limit.max < full ?
					tokens + (int64_t) limit.max : full;
			bucket_advance(&bucket, &limit, time, 0);
			model_advance(&model, time, 0);
			if (amount > limit.capacity)
				wait = BUCKET_NEVER;
			else
			{
				while (tokens + wait * (int64_t) limit.max <
					   amount * limit.period)
					wait++;
			}
			assert_int_equal(bucket_retry_after(&bucket, &limit, amount,
												time), wait);
			assert_int_equal(model_retry_after(&model, amount, time), wait);
			assert_amount(bucket_remaining(&bucket, &limit),
						  tokens / limit.period);
			assert_amount(model_remaining(&model), tokens / limit.period);
			if (wait == 0)
			{
				tokens -= amount * limit.period;
				bucket_take(&bucket, &limit, amount);
				model_take(&model, amount);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_of_the_model),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
