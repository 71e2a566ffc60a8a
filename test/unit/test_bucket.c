/*
 * test_bucket.c
 *		The arithmetic of limits: by example, the mistakes that such code is
 *		known for, and calendar windows.
 *
 * Expected numbers are counted by hand.  test_bucket_invariant.c has what holds
 * for all limits, and test_bucket_model.c compares with a model.
 */
#include "bucket_test.h"

/* Twelve an hour, up to three at once: one in five minutes. */
static void
test_example(void **state)
{
	const BucketLimit limit = rate(12, HOUR, 3);
	const int64_t minute = 60 * SECOND;
	Bucket		bucket = {0, 0};

	bucket_advance(&bucket, &limit, START, 0);
	assert_true(bucket_is_full(&bucket, &limit));
	assert_amount(bucket_remaining(&bucket, &limit), units(3));
	assert_amount(bucket_used(&bucket, &limit), 0);
	assert_int_equal(bucket_reset_after(&bucket, &limit, START), 0);

	for (int i = 1; i <= 3; i++)
	{
		assert_true(hit(&bucket, &limit, START));
		assert_amount(bucket_used(&bucket, &limit), units(i));
		assert_amount(bucket_remaining(&bucket, &limit), units(3 - i));
		assert_int_equal(bucket_reset_after(&bucket, &limit, START),
						 i * 5 * minute);
	}
	assert_false(hit(&bucket, &limit, START));
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1), START),
					 5 * minute);
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(3), START),
					 15 * minute);
	assert_int_equal(bucket_retry_after(&bucket, &limit, 0, START), 0);

	/* Times to come are told from now, and the bucket need not be. */
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1),
										START + minute), 4 * minute);
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1),
										START + 6 * minute), 0);

	/* A fifth of one is refilled in a minute. */
	bucket_advance(&bucket, &limit, START + minute, 0);
	assert_amount(bucket_remaining(&bucket, &limit), units(1) / 5);
	assert_amount(bucket_used(&bucket, &limit), units(14) / 5);
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1),
										START + minute), 4 * minute);
	assert_int_equal(bucket_reset_after(&bucket, &limit, START + minute),
					 14 * minute);
	assert_false(hit(&bucket, &limit, START + 5 * minute - 1));
	assert_true(hit(&bucket, &limit, START + 5 * minute));
	assert_false(hit(&bucket, &limit, START + 5 * minute));

	bucket_give(&bucket, &limit, units(2));
	assert_amount(bucket_remaining(&bucket, &limit), units(2));
	bucket_set_used(&bucket, &limit, units(3) / 2);
	assert_amount(bucket_used(&bucket, &limit), units(3) / 2);
	assert_amount(bucket_remaining(&bucket, &limit), units(3) / 2);

	bucket_advance(&bucket, &limit, START + 5 * minute + 15 * minute / 2, 0);
	assert_true(bucket_is_full(&bucket, &limit));
}

/* What a limit that is none says of itself: always full, but it counts. */
static void
test_unlimited(void **state)
{
	BucketLimit limit = rate(1, SECOND, 5);
	BucketLimit window = calendar(5);
	Bucket		bucket = {0, 0};
	Bucket		month = {0, 0};

	limit.unlimited = window.unlimited = true;
	for (int i = 1; i <= 100; i++)
	{
		assert_true(hit(&bucket, &limit, START));
		assert_true(call(&month, &window, units(1), START, START + DAY));
		assert_amount(bucket_used(&bucket, &limit), units(i));
		assert_amount(bucket_used(&month, &window), units(i));
	}
	assert_amount(bucket_remaining(&bucket, &limit), units(5));
	assert_amount(bucket_remaining(&month, &window), units(5));
	assert_int_equal(bucket_retry_after(&bucket, &limit, HIGHEST, START), 0);
	assert_int_equal(bucket_retry_after(&month, &window, HIGHEST, START), 0);
	assert_false(bucket_is_full(&bucket, &limit));
	assert_int_equal(bucket_reset_after(&bucket, &limit, START), 100 * SECOND);

	/* What it counts is bounded, and so is what is left when it is limited. */
	for (int i = 0; i < 10; i++)
	{
		assert_true(call(&bucket, &limit, HIGHEST, START, 0));
		assert_true(call(&month, &window, HIGHEST, START, START + DAY));
	}
	assert_amount(bucket_used(&bucket, &limit), BUCKET_MAX_AMOUNT);
	assert_amount(bucket_used(&month, &window), BUCKET_MAX_AMOUNT);
	limit.unlimited = window.unlimited = false;
	assert_false(hit(&bucket, &limit, START));
	assert_amount(bucket_used(&bucket, &limit), units(5));
	assert_true(hit(&bucket, &limit, START + SECOND));

	/* But a window has been used as much as it has. */
	assert_false(call(&month, &window, units(1), START, START + DAY));
	assert_amount(bucket_used(&month, &window), BUCKET_MAX_AMOUNT);
	assert_amount(bucket_remaining(&month, &window), 0);
	assert_int_equal(bucket_retry_after(&month, &window, units(1), START), DAY);
	assert_true(call(&month, &window, units(1), START + DAY, START + 2 * DAY));
}

/* ---- What went wrong elsewhere ---- */

/*
 * A request of a million drew a bucket below zero though it was refused, and
 * locked its key for months.
 */
static void
test_weighted_request_drains_while_refused(void **state)
{
	const BucketLimit limit = rate(10, SECOND, 10);
	Bucket		bucket = {0, 0};

	for (int i = 0; i < 7; i++)
		assert_true(hit(&bucket, &limit, START));
	for (int i = 0; i < 1000; i++)
		assert_false(call(&bucket, &limit, units(1000000), START, 0));
	for (int i = 0; i < 1000; i++)
		assert_false(call(&bucket, &limit, units(4), START, 0));
	assert_amount(bucket_remaining(&bucket, &limit), units(3));
	for (int i = 0; i < 3; i++)
		assert_true(hit(&bucket, &limit, START));
	assert_false(hit(&bucket, &limit, START));

	/* Charged in spite of that, the bucket is empty, and no worse. */
	bucket_take(&bucket, &limit, units(1000000));
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1), START),
					 SECOND / 10);
	assert_true(hit(&bucket, &limit, START + SECOND / 10));
}

/* A cost above the burst never is admitted, and says so. */
static void
test_cost_above_burst(void **state)
{
	const BucketLimit limits[] = {rate(10, SECOND, 10), calendar(10)};

	for (size_t i = 0; i < COUNT(limits); i++)
	{
		Bucket		bucket = {0, 0};

		assert_false(call(&bucket, &limits[i], units(10) + 1, START,
						  START + DAY));
		assert_int_equal(bucket_retry_after(&bucket, &limits[i],
											units(10) + 1, START),
						 BUCKET_NEVER);
		assert_true(bucket_is_full(&bucket, &limits[i]));
		assert_amount(bucket_remaining(&bucket, &limits[i]), units(10));
		assert_true(call(&bucket, &limits[i], units(10), START, START + DAY));
		assert_int_equal(bucket_retry_after(&bucket, &limits[i],
											units(10) + 1, START),
						 BUCKET_NEVER);
	}
}

/* Giving back more than was taken made more remain than the limit. */
static void
test_remaining_above_limit(void **state)
{
	const BucketLimit limits[] = {rate(10, SECOND, 10), calendar(10)};

	for (size_t i = 0; i < COUNT(limits); i++)
	{
		const BucketLimit *limit = &limits[i];
		Bucket		bucket = {0, 0};

		assert_true(call(&bucket, limit, units(2), START, START + DAY));
		bucket_give(&bucket, limit, units(1));
		assert_amount(bucket_remaining(&bucket, limit), units(9));
		bucket_give(&bucket, limit, units(5));
		assert_amount(bucket_remaining(&bucket, limit), units(10));
		bucket_give(&bucket, limit, HIGHEST);
		assert_amount(bucket_remaining(&bucket, limit), units(10));
		bucket_set_used(&bucket, limit, -units(3));
		assert_amount(bucket_remaining(&bucket, limit), units(10));
		bucket_advance(&bucket, limit, START + 300 * DAY, START + 301 * DAY);
		assert_amount(bucket_remaining(&bucket, limit), units(10));
		assert_true(call(&bucket, limit, units(10), START + 300 * DAY,
						 START + 301 * DAY));
		assert_false(call(&bucket, limit, 1, START + 300 * DAY,
						  START + 301 * DAY));
	}
}

/*
 * Periods of 166.67 us and 1.43 us were rounded to a whole number, so that
 * there was no limit or one of a million.  With as many calls as will pass.
 */
static void
test_high_rate(void **state)
{
	const int64_t maxes[] = {1000, 1001, 6000, 299999, 700000, 999999};

	for (size_t i = 0; i < COUNT(maxes); i++)
	{
		const BucketLimit limit = rate(maxes[i], SECOND, 10);
		Bucket		bucket = {0, 0};
		int64_t		admitted = 0;

		for (int64_t now = 0; now <= 2 * SECOND; now++)
		{
			while (hit(&bucket, &limit, START + now))
				admitted++;
			if (now == SECOND)
				assert_int_equal(admitted, 10 + maxes[i]);
		}
		assert_int_equal(admitted, 10 + 2 * maxes[i]);
	}
}

/* More than one in a microsecond. */
static void
test_rate_above_the_clock(void **state)
{
	const BucketLimit limit = rate(INT64_C(3500000000), SECOND, 5000);
	Bucket		bucket = {0, 0};
	int64_t		admitted = 0;

	for (int64_t now = 0; now <= 100; now++)
	{
		while (hit(&bucket, &limit, START + now))
			admitted++;
	}
	assert_int_equal(admitted, 5000 + 100 * 3500);
}

/* Old and new times in turn counted the same seconds again and again. */
static void
test_alternating_clock_mints_tokens(void **state)
{
	const BucketLimit limit = rate(10, SECOND, 10);
	Bucket		bucket = {0, 0};
	int			admitted = 0;

	for (int i = 0; i < 100000; i++)
	{
		admitted += hit(&bucket, &limit, START + i % 2 * HOUR);
		admitted += hit(&bucket, &limit, START + HOUR - i);
	}
	assert_int_equal(admitted, 10 + 1);
}

/* Who went on asking while refused was let in later, or never. */
static void
test_refusals_extend_the_block(void **state)
{
	const BucketLimit limit = rate(1, SECOND, 1);
	Bucket		bucket = {0, 0};

	for (int64_t second = 0; second < 5; second++)
	{
		assert_true(hit(&bucket, &limit, START + second * SECOND));
		for (int64_t now = 0; now < SECOND; now += 97)
			assert_false(hit(&bucket, &limit, START + second * SECOND + now));
	}
}

/* Calls more frequent than what refills a whole unit kept it from refilling. */
static void
test_hits_stop_the_refill(void **state)
{
	const BucketLimit limit = rate(1, DAY, 3);
	Bucket		bucket = {0, 0};
	int64_t		now = 0;

	for (int i = 0; i < 3; i++)
		assert_true(hit(&bucket, &limit, START));
	for (int i = 0; i < 3; i++)
	{
		for (int64_t until = (i + 1) * DAY; now < until; now += SECOND / 10)
			assert_false(hit(&bucket, &limit, START + now));
		assert_true(hit(&bucket, &limit, START + now));
	}
}

/*
 * Sums of rounded numbers drift.  Here a third of a billionth is refilled in
 * a microsecond, and 0.1 is taken again and again.
 */
static void
test_rounding_drifts(void **state)
{
	const BucketLimit slow = {
		.max = 1,.capacity = units(1),.period = 3
	};
	const BucketLimit tenths = rate(1, SECOND, 1000);
	Bucket		bucket = {0, 0};
	Bucket		even = {0, 0};

	assert_true(call(&bucket, &slow, units(1), START, 0));
	for (int64_t now = 1; now <= 3000000; now++)
	{
		bucket_advance(&bucket, &slow, START + now, 0);
		if (bucket_remaining(&bucket, &slow) != now / 3)
			fail_msg("after %d us", (int) now);
	}

	for (int i = 0; i < 10000; i++)
		assert_true(call(&even, &tenths, BUCKET_UNIT / 10, START, 0));
	assert_false(call(&even, &tenths, 1, START, 0));
	bucket_advance(&even, &tenths, START + 1000 * SECOND - 1, 0);
	assert_false(bucket_is_full(&even, &tenths));
	bucket_advance(&even, &tenths, START + 1000 * SECOND, 0);
	assert_true(bucket_is_full(&even, &tenths));
}

/* ---- Calendar windows ---- */

static void
test_window(void **state)
{
	const BucketLimit limit = calendar(3);
	const int64_t noon = START / DAY * DAY + 12 * HOUR;
	const int64_t midnight = noon + 12 * HOUR;
	Bucket		bucket = {0, 0};

	bucket_advance(&bucket, &limit, noon, midnight);
	assert_true(bucket_is_full(&bucket, &limit));
	assert_int_equal(bucket_reset_after(&bucket, &limit, noon), 0);
	for (int i = 1; i <= 3; i++)
	{
		int64_t		now = noon + i * HOUR;

		assert_true(call(&bucket, &limit, units(1), now, midnight));
		assert_amount(bucket_used(&bucket, &limit), units(i));
		assert_amount(bucket_remaining(&bucket, &limit), units(3 - i));
		assert_int_equal(bucket_reset_after(&bucket, &limit, now),
						 midnight - now);
	}
	assert_false(call(&bucket, &limit, 1, noon + 4 * HOUR, midnight));
	assert_int_equal(bucket_retry_after(&bucket, &limit, 1, noon + 4 * HOUR),
					 8 * HOUR);
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(3),
										midnight - 1), 1);

	/* What is given back can be had again. */
	bucket_give(&bucket, &limit, units(1));
	assert_true(call(&bucket, &limit, units(1), noon + 5 * HOUR, midnight));
	assert_false(call(&bucket, &limit, 1, midnight - 1, midnight));
	assert_true(call(&bucket, &limit, units(3), midnight, midnight + DAY));
	assert_int_equal(bucket_retry_after(&bucket, &limit, 1, midnight), DAY);

	/* And windows in which nothing happened are no different. */
	assert_true(call(&bucket, &limit, units(3), midnight + 99 * DAY,
					 midnight + 100 * DAY));
	assert_false(call(&bucket, &limit, 1, midnight + 100 * DAY - 1,
					  midnight + 100 * DAY));
}

/* A window that had just begun was taken for ended, milliseconds later. */
static void
test_window_resets_early(void **state)
{
	const BucketLimit limit = calendar(1000000);
	const int64_t hour = 493827 * HOUR;
	Bucket		bucket = {0, 0};
	int64_t		admitted = 0;

	for (int64_t now = hour - 5000; now < hour; now++)
		admitted += call(&bucket, &limit, units(1), now, hour);
	assert_int_equal(admitted, 5000);
	assert_amount(bucket_used(&bucket, &limit), units(5000));
	for (int64_t now = hour; now < hour + 5000; now++)
	{
		assert_true(call(&bucket, &limit, units(1), now, hour + HOUR));
		assert_amount(bucket_used(&bucket, &limit), units(now - hour + 1));
	}
}

/* A calendar that steps finds the window it had, and no new one. */
static void
test_window_steps(void **state)
{
	const BucketLimit limit = calendar(10);
	const int64_t hour = 493827 * HOUR;
	Bucket		bucket = {0, 0};
	int			admitted = 0;

	for (int i = 0; i < 1000; i++)
	{
		/* Just before the end of an hour, and just after it. */
		admitted += call(&bucket, &limit, units(1), hour - 1, hour);
		admitted += call(&bucket, &limit, units(1), hour + 1, hour + HOUR);
	}
	assert_int_equal(admitted, 1 + 10);
	assert_int_equal(bucket.time, hour + HOUR);
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1), hour - 1),
					 HOUR + 1);

	/* When it has ended, there is nothing to wait for. */
	assert_int_equal(bucket_retry_after(&bucket, &limit, units(1),
										hour + 2 * HOUR), 0);
	assert_int_equal(bucket_reset_after(&bucket, &limit, hour + 2 * HOUR), 0);

	/* Ends that are no later ones begin nothing. */
	assert_false(call(&bucket, &limit, units(1), hour + HOUR, hour + HOUR));
	assert_false(call(&bucket, &limit, units(1), hour + HOUR, hour));
	assert_false(call(&bucket, &limit, units(1), hour + 2 * HOUR, INT64_MIN));
	assert_int_equal(bucket.time, hour + HOUR);
	assert_true(call(&bucket, &limit, units(1), hour + 2 * HOUR,
					 hour + 3 * HOUR));
}

/* Lowered in the middle of a window, and raised again. */
static void
test_window_changed_max(void **state)
{
	BucketLimit limit = calendar(100);
	Bucket		bucket = {0, 0};

	assert_true(call(&bucket, &limit, units(80), START, START + DAY));
	limit = calendar(50);
	assert_amount(bucket_remaining(&bucket, &limit), 0);
	assert_false(call(&bucket, &limit, 1, START + 1, START + DAY));
	assert_amount(bucket_remaining(&bucket, &limit), 0);
	assert_int_equal(bucket_retry_after(&bucket, &limit, 1, START + 1),
					 DAY - 1);
	assert_false(call(&bucket, &limit, 0, START + 1, START + DAY));
	assert_amount(bucket_used(&bucket, &limit), units(80));

	/* What was above the lower one is not forgotten, ... */
	limit = calendar(90);
	bucket_advance(&bucket, &limit, START + 2, START + DAY);
	assert_amount(bucket_remaining(&bucket, &limit), units(10));

	/* ... nor does giving it back make room below it. */
	limit = calendar(50);
	bucket_advance(&bucket, &limit, START + 3, START + DAY);
	bucket_give(&bucket, &limit, units(20));
	assert_amount(bucket_remaining(&bucket, &limit), 0);
	assert_false(call(&bucket, &limit, 1, START + 3, START + DAY));
	bucket_give(&bucket, &limit, units(20));
	assert_amount(bucket_remaining(&bucket, &limit), units(10));
	assert_true(call(&bucket, &limit, units(10), START + 3, START + DAY));
	assert_false(call(&bucket, &limit, 1, START + 3, START + DAY));

	/* The same of what is found to have been used of it before. */
	bucket_set_used(&bucket, &limit, units(95));
	assert_amount(bucket_remaining(&bucket, &limit), 0);
	assert_int_equal(bucket_reset_after(&bucket, &limit, START + 3), DAY - 3);
	limit = calendar(100);
	bucket_advance(&bucket, &limit, START + 4, START + DAY);
	assert_amount(bucket_remaining(&bucket, &limit), units(5));

	limit = calendar(0);
	assert_false(call(&bucket, &limit, 1, START + DAY, START + 2 * DAY));
	assert_int_equal(bucket_retry_after(&bucket, &limit, 1, START + DAY),
					 BUCKET_NEVER);
	assert_true(call(&bucket, &limit, 0, START + DAY, START + 2 * DAY));
}

/* Below 2^bits, of any size there is below it. */
static BucketAmount
random_amount(int bits)
{
	unsigned	__int128 amount = (unsigned __int128) next_random() << 64 | next_random();

	return (BucketAmount) (amount >> (128 - 1 - random_below((uint64_t) bits)));
}

/*
 * Against the exact quotient, with numbers of all sizes: never less, and not
 * more where the level is below 2^64.
 */
static void
test_refill_seconds(void **state)
{
	for (int i = 0; i < 1000000; i++)
	{
		BucketLimit limit = rate(1, SECOND, 1);
		Bucket		bucket = {0};
		BucketAmount exact;
		uint32_t	seconds;

		limit.max = 1 + random_amount(79);
		bucket.level = random_amount(123);
		exact = bucket.level / (limit.max * SECOND);
		seconds = bucket_refill_seconds(&bucket, &limit);
		if (exact >= BUCKET_LONGEST_REFILL)
			assert_int_equal(seconds, BUCKET_LONGEST_REFILL);
		else if (bucket.level >> 64 == 0)
			assert_int_equal(seconds, exact);
		else
			assert_in_range(seconds, exact, exact + 1 + (exact >> 31) + 1);
	}
}

static void
test_refill_seconds_by_hand(void **state)
{
	/* 60 a minute: one a second, whatever is refilled */
	BucketLimit limit = rate(60, 60 * SECOND, 1000000000);
	Bucket		bucket = {0};

	bucket.level = units(7) * limit.period;
	assert_int_equal(bucket_refill_seconds(&bucket, &limit), 7);
	bucket.level -= 1;
	assert_int_equal(bucket_refill_seconds(&bucket, &limit), 6);
	bucket.level = units(1000000000) * limit.period;
	assert_in_range(bucket_refill_seconds(&bucket, &limit), 1000000000, 1000000001);
	limit.max = 0;
	assert_int_equal(bucket_refill_seconds(&bucket, &limit), BUCKET_LONGEST_REFILL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_unlimited),
		cmocka_unit_test(test_weighted_request_drains_while_refused),
		cmocka_unit_test(test_cost_above_burst),
		cmocka_unit_test(test_remaining_above_limit),
		cmocka_unit_test(test_high_rate),
		cmocka_unit_test(test_rate_above_the_clock),
		cmocka_unit_test(test_alternating_clock_mints_tokens),
		cmocka_unit_test(test_refusals_extend_the_block),
		cmocka_unit_test(test_hits_stop_the_refill),
		cmocka_unit_test(test_rounding_drifts),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_window_resets_early),
		cmocka_unit_test(test_window_steps),
		cmocka_unit_test(test_window_changed_max),
		cmocka_unit_test(test_refill_seconds),
		cmocka_unit_test(test_refill_seconds_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
