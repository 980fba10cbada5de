/* SPDX-License-Identifier: BSD-3-Clause
 * The choice between huge and small pages by what they cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "page_cost.h"

#define MB      (1ull << 20)
#define FAST_NS (100000u * 32) /* for 32 MiB */
#define SLOW_NS (5000000u * 32)

static uint64_t now_ms = 1000;

uint64_t __wrap_beam_now_ms(void);

uint64_t __wrap_beam_now_ms(void)
{
	return now_ms;
}

static void huge_unless_they_are_slow(void **state)
{
	struct beam_page_cost cost = {0};

	(void)state;
	assert_true(beam_page_cost_favours_huge(&cost));
	beam_page_cost_note(&cost, true, 32 * MB, FAST_NS);
	assert_true(beam_page_cost_favours_huge(&cost));
	beam_page_cost_note(&cost, true, 32 * MB, SLOW_NS);
	assert_false(beam_page_cost_favours_huge(&cost));
}

static void small_while_they_are_worth_it(void **state)
{
	struct beam_page_cost cost = {0};

	(void)state;
	beam_page_cost_note(&cost, true, 32 * MB, SLOW_NS);
	beam_page_cost_note(&cost, false, 32 * MB, FAST_NS);
	assert_false(beam_page_cost_favours_huge(&cost));
	beam_page_cost_note(&cost, false, 32 * MB, SLOW_NS / 3 * 2);
	assert_true(beam_page_cost_favours_huge(&cost));
	beam_page_cost_note(&cost, true, 32 * MB, SLOW_NS); /* both are slow: the better ones */
	assert_true(beam_page_cost_favours_huge(&cost));
}

static void old_measures_are_forgotten(void **state)
{
	struct beam_page_cost cost = {0};

	(void)state;
	beam_page_cost_note(&cost, true, 32 * MB, SLOW_NS);
	beam_page_cost_note(&cost, false, 32 * MB, FAST_NS);
	now_ms += 9000;
	assert_false(beam_page_cost_favours_huge(&cost));
	now_ms += 2000;
	assert_true(beam_page_cost_favours_huge(&cost));
	beam_page_cost_note(&cost, true, 32 * MB, SLOW_NS); /* still so, and small ones are tried */
	assert_false(beam_page_cost_favours_huge(&cost));
}

/* Less than a MiB says nothing. */
static void little_is_no_measure(void **state)
{
	struct beam_page_cost cost = {0};

	(void)state;
	beam_page_cost_note(&cost, true, MB / 2, SLOW_NS);
	assert_true(beam_page_cost_favours_huge(&cost));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(huge_unless_they_are_slow),
	    cmocka_unit_test(small_while_they_are_worth_it),
	    cmocka_unit_test(old_measures_are_forgotten),
	    cmocka_unit_test(little_is_no_measure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
