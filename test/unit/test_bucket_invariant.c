/*
 * test_bucket_invariant.c
 *		The arithmetic of limits: what is to hold for all of them, by number.
 *
 *		I1	no interval has more than the capacity and what it refills
 *		I2	without a refill exactly the capacity is admitted
 *		I3	who keeps to the rate is not refused, who does not gets the rate
 *		I4	what is refused and what only looks changes nothing
 *		I5	what is told is within bounds, and true to the microsecond
 *		I6	a clock that steps back changes nothing, one that steps forward
 *			gives one full bucket
 *		I10 of several limits all are charged or none
 *		I11 a changed limit keeps what is used
 *		I12 the largest numbers there are do not overflow
 *
 * I7 (who is charged stays so), I8 (what is broken off leaves nothing behind) and
 * I9 (restarts, and no room) are about the server: test/t/013_limit.pl and
 * 014_limit_restart.pl.  Expected numbers are counted by hand or
 * follow from what a limit promises.
 */
#include "bucket_test.h"

#include <pthread.h>
#include <sched.h>

static BucketUse
use_of(Bucket *bucket, const BucketLimit *limit, BucketAmount amount,
	   bool shadow)
{
	BucketUse	use = {bucket, limit, amount, shadow, false};

	return use;
}

#define ADMITTED 1500

/*
 * In no interval are more admitted than the capacity and what is refilled in
 * it, whatever is asked for and when.
 */
static void
check_every_interval(const BucketLimit *limit)
{
	static int64_t time[ADMITTED];
	static BucketAmount total[ADMITTED + 1];
	const int64_t period = limit->period;
	BucketAmount least_room = HIGHEST;
	Bucket		bucket = {0, 0};
	int64_t		clock = START;
	int64_t		latest = 0;
	int			n = 0;

	for (int calls = 0; n < ADMITTED; calls++)
	{
		BucketAmount cost = units(1);
		int64_t		gap = (int64_t) (limit->period * limit->capacity /
									 (4 * limit->max)) + 2;

		if (random_below(3) == 0)
			cost = next_random() % (limit->capacity + units(1));
		switch (random_below(8))
		{
			case 0:
				clock += (int64_t) random_below(4 * gap);
				break;
			case 1:
				clock += (int64_t) random_below(gap);
				break;
			case 2:
				/* To the moment. */
				clock += bucket_retry_after(&bucket, limit, units(1), clock);
				break;
			case 3:
				clock -= (int64_t) random_below(8 * gap);
				break;
			case 4:
				clock = latest + 1;
				break;
		}
		if (clock > latest)
			latest = clock;
		if (call(&bucket, limit, cost, clock, 0))
		{
			time[n] = latest;
			total[n + 1] = total[n] + cost;
			n++;
		}
		assert_true(calls < 100 * ADMITTED);
	}
	for (int i = 0; i < n; i++)
	{
		for (int j = i; j < n; j++)
		{
			BucketAmount room = limit->capacity * period;

			room += limit->max * (time[j] - time[i]);
			room -= (total[j + 1] - total[i]) * period;
			if (room < 0)
				fail_msg("calls %d to %d: too many", i, j);
			if (room < least_room)
				least_room = room;
		}
	}

	/* It was tight somewhere. */
	assert_true(least_room < units(1) * period);
}

static void
test_i1_every_interval(void **state)
{
	const BucketLimit limits[] = {
		rate(1, SECOND, 1),
		rate(10, SECOND, 1),
		rate(10, SECOND, 10),
		rate(3, SECOND, 7),
		rate(7, 999983, 3),
		rate(6000, SECOND, 50),
		rate(700000, SECOND, 100),
		rate(5000000, SECOND, 1000),
		rate(1000, DAY, 1000),
		rate(1, BUCKET_MAX_PERIOD, 2),
		{.max = 123456789,.capacity = 3333333333,.period = 777777},
	};

	random_state = 1;
	for (size_t i = 0; i < COUNT(limits); i++)
	{
		check_every_interval(&limits[i]);
		check_every_interval(&limits[i]);
	}
}

/* Without a refill it is the capacity, then none, for ever. */
static void
test_i2_rate_zero(void **state)
{
	for (int64_t capacity = 0; capacity < 50; capacity++)
	{
		const BucketLimit limit = rate(0, SECOND, capacity);
		Bucket		bucket = {0, 0};
		int64_t		admitted = 0;

		for (int i = 0; i < 1000; i++)
			admitted += hit(&bucket, &limit, START + i * DAY);
		assert_int_equal(admitted, capacity);
		assert_false(hit(&bucket, &limit, INT64_MAX));
		assert_int_equal(bucket_retry_after(&bucket, &limit, 1, INT64_MAX),
						 BUCKET_NEVER);
		assert_int_equal(bucket_reset_after(&bucket, &limit, INT64_MAX),
						 capacity > 0 ? BUCKET_NEVER : 0);
	}
}

#define THREADS 16
#define PER_THREAD 5000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct CallerThread
{
	BucketUse	use;
	int			admitted;
} CallerThread;

/* It may assert nothing, being no test. */
static void *
call_many(void *arg)
{
	CallerThread *caller = arg;

	for (int i = 0; i < PER_THREAD; i++)
	{
		pthread_mutex_lock(&lock);
		bucket_advance(caller->use.bucket, caller->use.limit, START + i, 0);
		caller->admitted += bucket_take_all(&caller->use, 1);
		pthread_mutex_unlock(&lock);
		if (i % 16 == 0)
			sched_yield();
	}
	return NULL;
}

static void
test_i2_rate_zero_threads(void **state)
{
	const int64_t capacities[] = {1, 1000, THREADS * PER_THREAD - 1};

	for (size_t c = 0; c < COUNT(capacities); c++)
	{
		const BucketLimit limit = rate(0, SECOND, capacities[c]);
		Bucket		bucket = {0, 0};
		pthread_t	thread[THREADS];
		CallerThread caller[THREADS];
		int			admitted = 0;

		for (int i = 0; i < THREADS; i++)
		{
			caller[i].use = use_of(&bucket, &limit, units(1), false);
			caller[i].admitted = 0;
			assert_int_equal(pthread_create(&thread[i], NULL, call_many,
											&caller[i]), 0);
		}
		for (int i = 0; i < THREADS; i++)
		{
			pthread_join(thread[i], NULL);
			admitted += caller[i].admitted;
		}
		assert_int_equal(admitted, capacities[c]);
	}
}

/*
 * Who asks more often than the rate gets the capacity and then the rate, to
 * the last one: this is both how many there must be and how many may be.
 */
static void
test_i3_no_starvation(void **state)
{
	const struct
	{
		BucketLimit limit;
		int64_t		gap;		/* us between calls, so few that the bucket is
								 * never full */
	}			demands[] =
	{
		{rate(1, SECOND, 2), 999999},
		{rate(1, SECOND, 2), 1000},
		{rate(3, SECOND, 2), 333333},
		{rate(3, SECOND, 5), 77777},
		{rate(7, 999983, 2), 100003},
		{rate(6000, SECOND, 2), 166},
		{rate(700000, SECOND, 2), 1},
		{rate(999983, SECOND, 3), 1},
		{rate(1000003, DAY, 10), 80000},
		{rate(1, BUCKET_MAX_PERIOD, 2), BUCKET_MAX_PERIOD - 1},
		{rate(100, BUCKET_MAX_PERIOD, 2), 1000 * SECOND},
	};

	for (size_t i = 0; i < COUNT(demands); i++)
	{
		const BucketLimit *limit = &demands[i].limit;
		Bucket		bucket = {0, 0};
		int64_t		admitted = 0;
		int64_t		calls = 300000;
		BucketAmount possible;

		for (int64_t k = 0; k <= calls; k++)
			admitted += hit(&bucket, limit, START + k * demands[i].gap);
		possible = (limit->capacity * limit->period +
					limit->max * (calls * demands[i].gap)) /
			(units(1) * limit->period);
		assert_true(calls * demands[i].gap > 10 * limit->period / 100);
		assert_int_equal(admitted, possible);
	}
}

/*
 * Who keeps to the rate is never refused, whether the period can be divided
 * by it or not; and one microsecond less between calls is too much.
 */
static void
test_i3_just_below_the_rate(void **state)
{
	const int64_t maxes[] = {1, 2, 3, 7, 10, 997, 6000, 333333, 700000, 999999};
	const int64_t periods[] = {SECOND, 999983, 60 * SECOND, HOUR, DAY,
	BUCKET_MAX_PERIOD};

	for (size_t i = 0; i < COUNT(maxes); i++)
	{
		for (size_t k = 0; k < COUNT(periods); k++)
		{
			const BucketLimit limit = rate(maxes[i], periods[k], 1);
			int64_t		gap = (periods[k] + maxes[i] - 1) / maxes[i];
			Bucket		bucket = {0, 0};
			BucketLimit spare = limit;
			Bucket		even = {0, 0};

			for (int64_t n = 0; n < 2000; n++)
				assert_true(hit(&bucket, &limit, START + n * gap));
			assert_false(hit(&bucket, &limit, START + 2000 * gap - 1));
			assert_true(hit(&bucket, &limit, START + 2000 * gap));

			/*
			 * Or on the first microsecond after each even share of the
			 * period: less than one late, for which there has to be room.
			 */
			spare.capacity += units(maxes[i]) / periods[k] + 1;
			for (int64_t n = 0; n < 2000; n++)
			{
				int64_t		due = (n * periods[k] + maxes[i] - 1) / maxes[i];

				assert_true(hit(&even, &spare, START + due));
			}
		}
	}
}

static void
test_i4_refused_changes_nothing(void **state)
{
	const BucketLimit limits[] = {rate(10, SECOND, 10), calendar(10)};

	for (size_t i = 0; i < COUNT(limits); i++)
	{
		const BucketLimit *limit = &limits[i];
		const BucketAmount costs[] = {
			units(4) + 1, units(10), units(10) + 1, units(1000),
			BUCKET_MAX_AMOUNT, HIGHEST
		};
		Bucket		bucket = {0, 0};
		Bucket		before;

		assert_true(call(&bucket, limit, units(6), START, START + DAY));
		before = bucket;
		for (size_t k = 0; k < COUNT(costs); k++)
		{
			assert_false(call(&bucket, limit, costs[k], START, START + DAY));
			assert_same(&bucket, &before);
		}
		assert_true(call(&bucket, limit, units(4), START, START + DAY));
	}
}

/* A bucket that is looked at often is as one that is not. */
static void
test_i4_peek_changes_nothing(void **state)
{
	const BucketLimit limit = rate(7, 999983, 20);
	Bucket		bucket = {0, 0};
	Bucket		peeked = {0, 0};
	int64_t		now = START;

	random_state = 4;
	for (int i = 0; i < 2000; i++)
	{
		BucketAmount cost = random_below(3000000000);

		for (int k = 0; k < 20; k++)
		{
			Bucket		before;

			now += (int64_t) random_below(20000);
			bucket_advance(&peeked, &limit, now, 0);
			before = peeked;
			bucket_admits(&peeked, &limit, cost);
			bucket_used(&peeked, &limit);
			bucket_remaining(&peeked, &limit);
			bucket_retry_after(&peeked, &limit, cost, now);
			bucket_reset_after(&peeked, &limit, now);
			bucket_is_full(&peeked, &limit);
			bucket_advance(&peeked, &limit, now, 0);
			assert_same(&peeked, &before);
		}
		bucket_advance(&bucket, &limit, now, 0);
		assert_same(&bucket, &peeked);
		assert_int_equal(call(&bucket, &limit, cost, now, 0),
						 call(&peeked, &limit, cost, now, 0));
	}
}

/* What is told is within bounds, and true to the microsecond. */
static void
test_i5_told_is_true(void **state)
{
	const BucketLimit limits[] = {
		rate(1, SECOND, 1), rate(3, SECOND, 10), rate(7, 999983, 10),
		rate(6000, SECOND, 6000), rate(700000, SECOND, 10),
		rate(3000000, SECOND, 10), rate(1, BUCKET_MAX_PERIOD, 10),
		rate(1000003, DAY, 1000),
	};

	random_state = 5;
	for (size_t i = 0; i < COUNT(limits); i++)
	{
		const BucketLimit *limit = &limits[i];
		Bucket		bucket = {0, 0};
		int64_t		now = START;
		int			refused = 0;

		for (int k = 0; k < 20000; k++)
		{
			BucketAmount cost = next_random() % limit->capacity + 1;
			BucketAmount before;
			int64_t		retry;

			bucket_advance(&bucket, limit, now, 0);
			before = bucket_remaining(&bucket, limit);
			assert_true(before >= 0 && before <= limit->capacity);
			retry = bucket_retry_after(&bucket, limit, cost, now);
			assert_int_equal(retry == 0, cost <= before);
			if (retry > 0)
			{
				assert_false(call(&bucket, limit, cost, now, 0));
				assert_false(call(&bucket, limit, cost, now + retry - 1, 0));
				now += retry;
				bucket_advance(&bucket, limit, now, 0);
				before = bucket_remaining(&bucket, limit);
				refused++;
			}
			assert_true(call(&bucket, limit, cost, now, 0));
			assert_amount(bucket_remaining(&bucket, limit), before - cost);
		}
		assert_true(refused > 1000);
	}
}

/* A clock that steps back an hour gives nothing and takes nothing. */
static void
test_i6_clock_back(void **state)
{
	const BucketLimit limit = rate(10, SECOND, 10);
	Bucket		bucket = {0, 0};
	Bucket		before;

	for (int i = 0; i < 5; i++)
		assert_true(hit(&bucket, &limit, START));
	before = bucket;
	for (int64_t back = 1; back <= START + HOUR; back *= 2)
	{
		bucket_advance(&bucket, &limit, START - back, 0);
		assert_same(&bucket, &before);
	}
	bucket_advance(&bucket, &limit, INT64_MIN, 0);
	assert_same(&bucket, &before);

	/* What is left can be had, and then the waiting time says it all. */
	for (int i = 0; i < 5; i++)
		assert_true(hit(&bucket, &limit, START - HOUR));
	assert_false(hit(&bucket, &limit, START - HOUR));
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1),
										START - HOUR), HOUR + SECOND / 10);
	assert_int_equal(bucket_reset_after(&bucket, &limit, START - HOUR),
					 HOUR + SECOND);
	assert_false(hit(&bucket, &limit, START + SECOND / 10 - 1));
	assert_true(hit(&bucket, &limit, START + SECOND / 10));
}

/* However far it steps forward, there is one full bucket to be had. */
static void
test_i6_clock_forward(void **state)
{
	const BucketLimit limit = rate(10, SECOND, 10);
	const int64_t steps[] = {HOUR, 365 * DAY, 1000 * 365 * DAY,
	INT64_MAX - 2 * START};
	int64_t		now = START;
	Bucket		bucket = {0, 0};

	for (size_t i = 0; i < COUNT(steps); i++)
	{
		int			admitted = 0;

		now += i > 0 ? steps[i] - steps[i - 1] : steps[i];
		for (int k = 0; k < 100; k++)
			admitted += hit(&bucket, &limit, now);
		assert_int_equal(admitted, 10);
	}
}

static void
test_i10_all_or_none(void **state)
{
	const BucketLimit limits[] = {
		rate(1, SECOND, 5), rate(100, HOUR, 3), calendar(1000),
	};
	Bucket		bucket[3] = {{0, 0}};
	Bucket		before[3];
	BucketUse	use[3];
	int			order[3] = {0, 1, 2};

	for (int i = 0; i < 3; i++)
		bucket_advance(&bucket[i], &limits[i], START, START + DAY);
	assert_true(bucket_take_all(NULL, 0));

	/* In any order; the second one is the tightest. */
	for (int i = 0; i < 10; i++)
	{
		int			swap = order[i % 3];

		order[i % 3] = order[0];
		order[0] = swap;
		for (int k = 0; k < 3; k++)
			use[k] = use_of(&bucket[order[k]], &limits[order[k]], units(1),
							false);
		memcpy(before, bucket, sizeof(bucket));
		assert_int_equal(bucket_take_all(use, 3), i < 3);
		for (int k = 0; k < 3; k++)
		{
			assert_int_equal(use[k].admitted, i < 3 || order[k] != 1);
			if (i < 3)
				assert_amount(bucket_used(&bucket[k], &limits[k]),
							  units(i + 1));
			else
				assert_same(&bucket[k], &before[k]);
		}
	}

	/* Amounts of their own: each refuses one in turn, or all do. */
	for (int i = 0; i < 3; i++)
		bucket_set_used(&bucket[i], &limits[i], units(1));
	for (int refusing = 1; refusing < 8; refusing++)
	{
		memcpy(before, bucket, sizeof(bucket));
		for (int k = 0; k < 3; k++)
			use[k] = use_of(&bucket[k], &limits[k], limits[k].capacity -
							units(1) + (refusing >> k & 1), false);
		assert_false(bucket_take_all(use, 3));
		for (int k = 0; k < 3; k++)
		{
			assert_int_equal(use[k].admitted, !(refusing >> k & 1));
			assert_same(&bucket[k], &before[k]);
			use[k].amount = limits[k].capacity - units(1);
		}
	}
	assert_true(bucket_take_all(use, 3));
	for (int k = 0; k < 3; k++)
		assert_amount(bucket_remaining(&bucket[k], &limits[k]), 0);
}

/* A shadow refuses nothing, and is never taken from if others refuse. */
static void
test_i10_shadows(void **state)
{
	const BucketLimit limits[] = {
		rate(1, SECOND, 5), rate(1, SECOND, 2), rate(1, SECOND, 9),
	};
	Bucket		bucket[3] = {{0, 0}};
	BucketUse	use[3];

	for (int i = 0; i < 3; i++)
	{
		bucket_advance(&bucket[i], &limits[i], START, 0);
		use[i] = use_of(&bucket[i], &limits[i], units(1), i > 0);
	}
	for (int i = 1; i <= 10; i++)
	{
		assert_int_equal(bucket_take_all(use, 3), i <= 5);
		assert_int_equal(use[0].admitted, i <= 5);

		/* Whether each shadow would have been the one to refuse. */
		assert_int_equal(use[1].admitted, i <= 2);
		assert_true(use[2].admitted);
		assert_amount(bucket_used(&bucket[0], &limits[0]),
					  units(i < 5 ? i : 5));
		assert_amount(bucket_used(&bucket[1], &limits[1]),
					  units(i < 2 ? i : 2));
		assert_amount(bucket_used(&bucket[2], &limits[2]),
					  units(i < 5 ? i : 5));
	}

	/* A part of an amount is not taken, either. */
	bucket_set_used(&bucket[0], &limits[0], 0);
	bucket_set_used(&bucket[1], &limits[1], units(2) - 1);
	assert_true(bucket_take_all(use, 3));
	assert_false(use[1].admitted);
	assert_amount(bucket_used(&bucket[1], &limits[1]), units(2) - 1);
	bucket_set_used(&bucket[0], &limits[0], units(5));
	bucket_set_used(&bucket[2], &limits[2], units(5));

	/* Nobody is left who could refuse. */
	use[0].shadow = true;
	assert_true(bucket_take_all(use, 3));
	assert_false(use[0].admitted);
	assert_amount(bucket_used(&bucket[0], &limits[0]), units(5));
	assert_amount(bucket_used(&bucket[2], &limits[2]), units(6));
}

/* A changed limit keeps what is used, and never has more than its capacity. */
static void
test_i11_changed_limit(void **state)
{
	BucketLimit limit = rate(10, SECOND, 100);
	Bucket		bucket = {0, 0};
	int64_t		now = START;

	assert_true(call(&bucket, &limit, units(80), now, 0));
	limit.capacity = units(50);
	bucket_advance(&bucket, &limit, now, 0);
	assert_amount(bucket_remaining(&bucket, &limit), 0);
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1), now),
					 SECOND / 10);
	assert_int_equal(bucket_reset_after(&bucket, &limit, now), 5 * SECOND);

	/* Raised again: what was above the lower one is forgotten. */
	limit.capacity = units(200);
	bucket_advance(&bucket, &limit, now, 0);
	assert_amount(bucket_used(&bucket, &limit), units(50));
	assert_amount(bucket_remaining(&bucket, &limit), units(150));

	/* A rate that is twice as high pays off in half the time. */
	limit.max = units(20);
	bucket_advance(&bucket, &limit, now, 0);
	assert_amount(bucket_used(&bucket, &limit), units(50));
	assert_int_equal(bucket_reset_after(&bucket, &limit, now), 5 * SECOND / 2);

	/* So does half the period. */
	bucket_change_period(&bucket, limit.period, limit.period / 2);
	limit.period /= 2;
	bucket_advance(&bucket, &limit, now, 0);
	assert_amount(bucket_used(&bucket, &limit), units(50));
	assert_int_equal(bucket_reset_after(&bucket, &limit, now), 5 * SECOND / 4);

	/* From nothing at all to something, and back. */
	limit.capacity = 0;
	assert_false(call(&bucket, &limit, 1, now, 0));
	limit.capacity = units(1);
	assert_true(call(&bucket, &limit, units(1), now, 0));
	assert_false(call(&bucket, &limit, 1, now, 0));
}

/* Periods that do not divide each other: nothing is given away. */
static void
test_i11_changed_period_mints_nothing(void **state)
{
	const int64_t periods[] = {999983, SECOND, 3, BUCKET_MAX_PERIOD, 1,
	60 * SECOND, 7919};
	BucketLimit limit = rate(1, 7919, 10);
	Bucket		bucket = {0, 0};
	BucketAmount before;

	assert_true(call(&bucket, &limit, units(10), START, 0));
	bucket_advance(&bucket, &limit, START + 1, 0);
	before = bucket_used(&bucket, &limit);
	for (int i = 0; i < 7000; i++)
	{
		int64_t		period = periods[i % COUNT(periods)];
		BucketAmount used;

		bucket_change_period(&bucket, limit.period, period);
		limit.period = period;
		bucket_advance(&bucket, &limit, START + 1, 0);
		used = bucket_used(&bucket, &limit);
		assert_true(used >= before && used <= before + 1);
		before = used;
	}
	assert_true(before <= units(10) - BUCKET_UNIT / 7919 + 1);

	/* A whole amount stays what it is. */
	bucket_set_used(&bucket, &limit, units(3) + 1);
	for (int i = 0; i < 70; i++)
	{
		int64_t		period = periods[i % COUNT(periods)];

		bucket_change_period(&bucket, limit.period, period);
		limit.period = period;
		assert_amount(bucket.level, (units(3) + 1) * period);
	}
}

/* The largest of everything, together; the sanitizers look on. */
static void
test_i12_extremes(void **state)
{
	const BucketAmount amounts[] = {
		0, 1, BUCKET_UNIT, BUCKET_MAX_AMOUNT - 1, BUCKET_MAX_AMOUNT
	};
	const BucketAmount costs[] = {
		0, 1, BUCKET_UNIT, BUCKET_MAX_AMOUNT - 1, BUCKET_MAX_AMOUNT,
		BUCKET_MAX_AMOUNT + 1, (BucketAmount) INT64_MAX << 32, HIGHEST
	};
	const int64_t periods[] = {1, SECOND, BUCKET_MAX_PERIOD};

	for (size_t m = 0; m < COUNT(amounts); m++)
	{
		for (size_t c = 0; c < COUNT(amounts); c++)
		{
			for (size_t p = 0; p < COUNT(periods) * 2; p++)
			{
				BucketLimit limit = {
					.max = amounts[m],.capacity = amounts[c],
					.period = periods[p / 2],.window = p % 2
				};
				const BucketAmount most = p % 2 ? BUCKET_MAX_AMOUNT : amounts[c];

				for (size_t k = 0; k < COUNT(costs); k++)
				{
					Bucket		bucket = {0, 0};

					assert_int_equal(call(&bucket, &limit, costs[k], 5, 10),
									 costs[k] <= amounts[c]);
					bucket_set_used(&bucket, &limit, costs[k]);
					assert_amount(bucket_used(&bucket, &limit),
								  costs[k] < most ? costs[k] : most);
					assert_amount(bucket_remaining(&bucket, &limit),
								  costs[k] < amounts[c] ?
								  amounts[c] - costs[k] : 0);
					assert_true(bucket_retry_after(&bucket, &limit, costs[k],
												   0) >= BUCKET_NEVER);
					assert_true(bucket_reset_after(&bucket, &limit, 0) >=
								BUCKET_NEVER);
					bucket_take(&bucket, &limit, costs[k]);
					bucket_take(&bucket, &limit, BUCKET_MAX_AMOUNT);
					assert_amount(bucket_used(&bucket, &limit), most);
					assert_amount(bucket_remaining(&bucket, &limit), 0);
					bucket_give(&bucket, &limit, costs[k]);
					assert_amount(bucket_used(&bucket, &limit),
								  costs[k] < most ? most - costs[k] : 0);
					bucket_advance(&bucket, &limit, INT64_MAX - 1, INT64_MAX);
					bucket_set_used(&bucket, &limit, -HIGHEST - 1);
					assert_true(bucket_is_full(&bucket, &limit));
				}
			}
		}
	}
}

/* The longest of times: exact as long as there is a clock that shows them. */
static void
test_i12_longest_wait(void **state)
{
	BucketLimit limit = {
		.max = 1,.capacity = BUCKET_MAX_AMOUNT,.period = SECOND
	};
	Bucket		bucket = {0, 0};
	const BucketLimit window = calendar(1);
	Bucket		full = {units(1), INT64_MAX - 1};

	/* A billionth a second: 9223372036854 are refilled until the end. */
	bucket_set_used(&bucket, &limit, BUCKET_MAX_AMOUNT);
	assert_int_equal(bucket_retry_after(&bucket, &limit,
										INT64_C(9223372036854), 0),
					 INT64_C(9223372036854000000));
	assert_int_equal(bucket_retry_after(&bucket, &limit,
										INT64_C(9223372036855), 0),
					 BUCKET_NEVER);
	assert_int_equal(bucket_reset_after(&bucket, &limit, 0), BUCKET_NEVER);
	bucket_advance(&bucket, &limit, INT64_C(9223372036854000000) - 1, 0);
	assert_amount(bucket_remaining(&bucket, &limit), INT64_C(9223372036853));
	bucket_advance(&bucket, &limit, INT64_C(9223372036854000000), 0);
	assert_amount(bucket_remaining(&bucket, &limit), INT64_C(9223372036854));

	/* A difference that is no time is not told as one. */
	assert_int_equal(bucket_reset_after(&bucket, &limit, INT64_MIN),
					 BUCKET_NEVER);
	assert_int_equal(bucket_retry_after(&full, &window, 1, INT64_MIN),
					 BUCKET_NEVER);
	assert_int_equal(bucket_retry_after(&full, &window, 1, -1), INT64_MAX);

	/* Times before the first one are times, too. */
	bucket_set_used(&bucket, &limit, BUCKET_MAX_AMOUNT);
	bucket.time = INT64_MIN;
	bucket_advance(&bucket, &limit, INT64_MAX, 0);
	assert_amount(bucket_remaining(&bucket, &limit), INT64_C(18446744073709));
	bucket.time = INT64_MIN;
	limit.max = BUCKET_MAX_AMOUNT;
	bucket_advance(&bucket, &limit, INT64_MAX, 0);
	assert_true(bucket_is_full(&bucket, &limit));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i1_every_interval),
		cmocka_unit_test(test_i2_rate_zero),
		cmocka_unit_test(test_i2_rate_zero_threads),
		cmocka_unit_test(test_i3_no_starvation),
		cmocka_unit_test(test_i3_just_below_the_rate),
		cmocka_unit_test(test_i4_refused_changes_nothing),
		cmocka_unit_test(test_i4_peek_changes_nothing),
		cmocka_unit_test(test_i5_told_is_true),
		cmocka_unit_test(test_i6_clock_back),
		cmocka_unit_test(test_i6_clock_forward),
		cmocka_unit_test(test_i10_all_or_none),
		cmocka_unit_test(test_i10_shadows),
		cmocka_unit_test(test_i11_changed_limit),
		cmocka_unit_test(test_i11_changed_period_mints_nothing),
		cmocka_unit_test(test_i12_extremes),
		cmocka_unit_test(test_i12_longest_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
