/*
 * pattern.h
 *		Patterns of endpoints and resources, in which * is any text.
 */
#ifndef METER_CORE_PATTERN_H
#define METER_CORE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Is the text what the pattern describes?  Each * of the pattern stands for
 * any number of bytes, also none; all other bytes stand for themselves.
 * Takes at most pattern_length * text_length steps.
 */
extern bool pattern_match(const char *pattern, size_t pattern_length,
						  const char *text, size_t text_length);

#endif							/* METER_CORE_PATTERN_H */
