/*
 * pattern.c
 *		Patterns of endpoints and resources, in which * is any text.
 *
 * A * is first taken for nothing, and for one byte more whenever what follows
 * it does not fit.  Going back to the last * is enough: an earlier one that
 * takes more could only find what the last one finds as well.
 */
#include "core/pattern.h"

bool
pattern_match(const char *pattern, size_t pattern_length,
			  const char *text, size_t text_length)
{
	size_t		p = 0;
	size_t		t = 0;
	size_t		star = 0;		/* after the last *; 0: there was none */
	size_t		resume = 0;		/* where its text ends */

	while (t < text_length)
	{
		if (p < pattern_length && pattern[p] == '*')
		{
			star = ++p;
			resume = t;
		}
		else if (p < pattern_length && pattern[p] == text[t])
		{
			p++;
			t++;
		}
		else if (star > 0)
		{
			p = star;
			t = ++resume;
		}
		else
			return false;
	}
	while (p < pattern_length && pattern[p] == '*')
		p++;
	return p == pattern_length;
}
