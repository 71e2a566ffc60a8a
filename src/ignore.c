/*
 * ignore.c
 *		Endpoints whose calls are not tracked: meter.ignore_endpoints.
 *
 * Health checks and scrapes are often most of an API's calls and of no
 * interest to anybody.  The setting's text is taken apart once, when it is
 * set, into what the settings' machinery keeps with it.
 */
#include "postgres.h"

#include "compat.h"
#include "core/pattern.h"
#include "core/hot.h"
#include "ignore.h"

typedef struct IgnorePattern
{
	int			start;			/* in text */
	int			length;
} IgnorePattern;

struct IgnoreList
{
	char	   *text;			/* behind the patterns */
	int			n;
	IgnorePattern patterns[FLEXIBLE_ARRAY_MEMBER];
};

HOT_DATA IgnoreList *ignore_list = NULL;

/*
 * Patterns are separated by commas; blanks around them do not count.
 */
bool
ignore_check_setting(char **newval, void **extra, GucSource source)
{
	const char *value = *newval;
	size_t		length = strlen(value);
	int			most = 1;
	Size		header;
	IgnoreList *list;

	*extra = NULL;
	if (strspn(value, " \t\n") == length)
		return true;
	for (size_t i = 0; i < length; i++)
		most += value[i] == ',';
	header = offsetof(IgnoreList, patterns) + most * sizeof(IgnorePattern);
	list = compat_guc_malloc(header + length + 1);
	if (list == NULL)
		return false;
	list->text = (char *) list + header;
	memcpy(list->text, value, length + 1);
	list->n = 0;
	for (const char *p = value;; p++)
	{
		size_t		n;

		p += strspn(p, " \t\n");
		n = strcspn(p, ",");
		list->patterns[list->n].start = p - value;
		p += n;
		while (n > 0 && strchr(" \t\n", p[-1]) != NULL)
		{
			n--;
			p--;
		}
		list->patterns[list->n].length = n;
		if (n == 0)
		{
			GUC_check_errdetail("A pattern is empty.");
			compat_guc_free(list);
			return false;
		}
		list->n++;
		p += strcspn(p, ",");
		if (*p == '\0')
			break;
	}
	*extra = list;
	return true;
}

void
ignore_assign_setting(const char *newval, void *extra)
{
	ignore_list = extra;
}

/*
 * Does a pattern describe the endpoint?
 */
bool
ignore_matches(const text *endpoint)
{
	for (int i = 0; i < ignore_list->n; i++)
	{
		const IgnorePattern *pattern = &ignore_list->patterns[i];

		if (pattern_match(ignore_list->text +pattern->start, pattern->length,
						  VARDATA_ANY(endpoint), VARSIZE_ANY_EXHDR(endpoint)))
			return true;
	}
	return false;
}
