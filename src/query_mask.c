/*
 * query_mask.c
 *		The text of a query without what may be secret in it.
 *
 * The server's own scanner takes it apart.  Constants become "?", comments and
 * line breaks go, all else stays.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "parser/scanner.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "query_mask.h"

/*
 * What the scanner says a token is.  It numbers its tokens itself, the same in
 * all grammars that use it, as PL/pgSQL's does (see pl_gram.y).
 */
enum
{
	TOKEN_FCONST = 260,
	TOKEN_SCONST,
	TOKEN_USCONST,
	TOKEN_BCONST,
	TOKEN_XCONST,
	TOKEN_ICONST = 266
};

/* PL/pgSQL's grammar has them, too; none of them matters here. */
#define PG_KEYWORD(name, value, category, collabel) 258,
static const uint16 keyword_tokens[] = {
#include "parser/kwlist.h"
};
#undef PG_KEYWORD

static bool
is_constant(int token)
{
	return (token >= TOKEN_FCONST && token <= TOKEN_XCONST) || token == TOKEN_ICONST;
}

/*
 * Takes the strings for standard ones or not.  What cannot be read ends it.
 */
static void
mask(StringInfo masked, const char *query, bool standard, int limit)
{
	core_yy_extra_type extra;
	core_YYSTYPE value;
	YYLTYPE		place;
	core_yyscan_t scanner = scanner_init(query, &extra, &ScanKeywords, keyword_tokens);
	int			end = -1;
	int			token;

	compat_scan_strings(&extra, standard);
	while (masked->len <= limit && (token = core_yylex(&value, &place, scanner)) != 0)
	{
		/* the scanner ends each token with a zero while it is the current one */
		int			length = strlen(extra.scanbuf + place);

		if (end >= 0 && place > end)
			appendStringInfoChar(masked, ' ');
		if (is_constant(token))
			appendStringInfoChar(masked, '?');
		else
			appendBinaryStringInfo(masked, query + place, length);
		end = place + length;
	}
	scanner_finish(scanner);
}

static bool
mask_readable(StringInfo masked, const char *query, bool standard, int limit)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool readable = true;

	initStringInfo(masked);
	PG_TRY();
	{
		mask(masked, query, standard, limit);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		readable = false;
	}
	PG_END_TRY();
	return readable;
}

/*
 * At most limit bytes of it.  What the scanner cannot read is left out.
 *
 * A query may have been parsed under another standard_conforming_strings than
 * is set now, and a string that ends with a backslash then end elsewhere.  A
 * reading that fails is not the server's.  If none does, or both, the query
 * stays only as far as they agree.
 */
char *
query_mask(const char *query, int limit)
{
	StringInfoData masked;
	StringInfoData other;
	bool		readable = mask_readable(&masked, query, true, limit);
	int			same = 0;

	if (strchr(query, '\\') != NULL)
	{
		if (mask_readable(&other, query, false, limit) == readable)
		{
			while (same < masked.len && same < other.len &&
				   masked.data[same] == other.data[same])
				same++;
			masked.len = same;
		}
		else if (!readable)
			masked = other;
	}
	masked.len = pg_mbcliplen(masked.data, masked.len, limit);
	masked.data[masked.len] = '\0';
	return masked.data;
}

PG_FUNCTION_INFO_V1(meter_mask_query);

Datum
meter_mask_query(PG_FUNCTION_ARGS)
{
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(query_mask(query, MaxAllocSize / 2)));
}
