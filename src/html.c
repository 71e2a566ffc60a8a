/*
 * html.c
 *		meter.html(): the SQL face of core/html.c.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "core/html.h"

PG_FUNCTION_INFO_V1(meter_html);

Datum
meter_html(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(0);
	char	   *utf8 = VARDATA_ANY(given);
	size_t		length = VARSIZE_ANY_EXHDR(given);
	size_t		size;
	text	   *escaped;

	/* of bytes without an encoding, those that are UTF-8 are shown */
	if (GetDatabaseEncoding() != PG_SQL_ASCII && GetDatabaseEncoding() != PG_UTF8)
	{
		char	   *converted = pg_server_to_any(utf8, length, PG_UTF8);

		if (converted != utf8)
		{
			utf8 = converted;
			length = strlen(converted);
		}
	}
	size = VARHDRSZ + HTML_MAX_ESCAPED(length);
	if (!AllocSizeIsValid(size))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("text of %zu bytes is too long for a page", length)));
	escaped = palloc(size);
	SET_VARSIZE(escaped, VARHDRSZ + html_escape(VARDATA(escaped), utf8, length));
	PG_RETURN_TEXT_P(escaped);
}
