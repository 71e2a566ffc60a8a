/*
 * export.c
 *		meter_export(): usage, bills and costs as lines of CSV or JSON.
 *
 * Rows come from a cursor, a batch at a time, and lines are returned one by
 * one, so in the select list neither side ever holds all of them.  (In FROM,
 * the executor collects the lines first, in work_mem and then in a file.)
 *
 * What can be exported is a fixed list, so that no text of a caller becomes
 * SQL.  Statements run with the caller's privileges.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "core/csv.h"

/* Rows that are read at a time. */
#define EXPORT_BATCH 500

/* Arguments of meter_export, in the order of export.sql. */
enum
{
	ARG_WHAT,
	ARG_FROM,
	ARG_TO,
	ARG_FORMAT
};

/*
 * What can be exported.  The columns are texts, numbers and JSON only, whose
 * output no setting changes.  $1 and $2 are the bounds.
 */
typedef struct Export
{
	const char *what;
	const char *sql;
} Export;

#define UTC(time) "to_char(" time " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define DAY(date) "to_char(" date ", 'YYYY-MM-DD')"
#define IN_DAYS(date) date " >= $1::date AND " date " < $2::date"

#define USAGE_HOURLY \
	"SELECT " UTC("u.hour") " AS hour, u.tenant, u.metric, u.service, u.endpoint, u.method, " \
	"u.dims, u.events, u.successes, u.errors, u.errors_4xx, u.errors_5xx, u.errors_429, " \
	"u.quantity, u.quantity_min, u.quantity_max, u.cost " \
	"FROM meter.usage_hourly AS u WHERE u.hour >= $1 AND u.hour < $2 " \
	"ORDER BY u.hour, u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims"

#define USAGE_DAILY \
	"SELECT " DAY("u.day") " AS day, u.tenant, u.metric, u.service, u.endpoint, u.method, " \
	"u.dims, u.events, u.successes, u.errors, u.quantity, u.quantity_min, u.quantity_max, " \
	"trim_scale(u.time_weighted) AS time_weighted, trim_scale(u.unit_hours) AS unit_hours, " \
	"u.cost, u.unique_users " \
	"FROM meter.usage_daily AS u WHERE " IN_DAYS("u.day") " " \
	"ORDER BY u.day, u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims"

#define BILLS \
	"SELECT b.tenant, " DAY("b.month") " AS month, b.revision, b.bill_id, b.status, " \
	UTC("b.period_from") " AS period_from, " UTC("b.period_to") " AS period_to, " \
	"b.currency, b.subtotal, b.discount, b.credit, b.tax, b.total, " \
	UTC("b.created_at") " AS created_at, " UTC("b.finalized_at") " AS finalized_at, " \
	UTC("b.voided_at") " AS voided_at, b.void_reason " \
	"FROM meter.bill AS b WHERE " IN_DAYS("b.month") " " \
	"ORDER BY b.month, b.tenant, b.revision"

#define BILL_LINES \
	"SELECT l.tenant, " DAY("l.month") " AS month, l.revision, l.line, b.bill_id, b.status, " \
	"l.kind, l.price, l.price_id, l.metric, l.dims, " \
	UTC("l.from_at") " AS from_at, " UTC("l.to_at") " AS to_at, " DAY("l.for_month") " AS for_month, " \
	"l.quantity, l.billed_quantity, l.unit, l.amount_exact, l.amount, b.currency " \
	"FROM meter.bill_line AS l " \
	"JOIN meter.bill AS b ON b.tenant = l.tenant AND b.month = l.month AND b.revision = l.revision " \
	"WHERE " IN_DAYS("l.month") " " \
	"ORDER BY l.month, l.tenant, l.revision, l.line"

#define COSTS \
	"SELECT " DAY("c.month") " AS month, c.tenant, c.component, c.currency, trim_scale(c.cost) AS cost " \
	"FROM meter.cost_allocation AS c WHERE " IN_DAYS("c.month") " " \
	"ORDER BY c.month, c.tenant, c.component, c.currency"

#define FOCUS \
	"SELECT f.\"BilledCost\", f.\"BillingAccountId\", f.\"BillingAccountName\", " \
	"f.\"BillingCurrency\", " UTC("f.\"BillingPeriodEnd\"") " AS \"BillingPeriodEnd\", " \
	UTC("f.\"BillingPeriodStart\"") " AS \"BillingPeriodStart\", f.\"ChargeCategory\", " \
	"f.\"ChargeClass\", f.\"ChargeDescription\", f.\"ChargeFrequency\", " \
	UTC("f.\"ChargePeriodEnd\"") " AS \"ChargePeriodEnd\", " \
	UTC("f.\"ChargePeriodStart\"") " AS \"ChargePeriodStart\", f.\"ConsumedQuantity\", " \
	"f.\"ConsumedUnit\", f.\"ContractedCost\", f.\"EffectiveCost\", f.\"InvoiceId\", " \
	"f.\"InvoiceIssuerName\", f.\"ListCost\", f.\"PricingCategory\", f.\"PricingQuantity\", " \
	"f.\"PricingUnit\", f.\"ProviderName\", f.\"PublisherName\", f.\"RegionId\", " \
	"f.\"RegionName\", f.\"ServiceCategory\", f.\"ServiceName\", f.\"SkuId\", " \
	"f.\"SkuMeter\", f.\"SkuPriceId\", f.\"Tags\", " \
	"f.\"x_BillStatus\", f.\"x_Kind\", f.\"x_Line\", f.\"x_Metric\", " DAY("f.\"x_Month\"") " AS \"x_Month\" " \
	"FROM meter.focus AS f WHERE " IN_DAYS("f.\"x_Month\"") " " \
	"ORDER BY f.\"x_Month\", f.\"BillingAccountId\", f.\"x_Line\""

static const Export exports[] = {
	{"usage_hourly", USAGE_HOURLY},
	{"usage_daily", USAGE_DAILY},
	{"bills", BILLS},
	{"bill_lines", BILL_LINES},
	{"costs", COSTS},
	{"focus", FOCUS},
};

typedef struct ExportState
{
	char	   *portal;
	bool		csv;
	bool		header_due;
	bool		closed;			/* the cursor has given all */
	int			columns;
	FmgrInfo   *output;			/* of each column */
	MemoryContext batch;		/* the lines */
	text	  **lines;
	uint64		n_lines;
	uint64		next;
} ExportState;

static const Export *
find_export(const char *what)
{
	StringInfoData names;

	for (int i = 0; i < lengthof(exports); i++)
	{
		if (strcmp(what, exports[i].what) == 0)
			return &exports[i];
	}
	initStringInfo(&names);
	for (int i = 0; i < lengthof(exports); i++)
		appendStringInfo(&names, "%s%s", i == 0 ? "" :
						 i == lengthof(exports) - 1 ? " and " : ", ",
						 exports[i].what);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot export \"%s\"", what),
			 errhint("It is one of %s.", names.data)));
}

static bool
format_is_csv(const char *format)
{
	if (strcmp(format, "csv") == 0)
		return true;
	if (strcmp(format, "jsonl") == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown format \"%s\"", format),
			 errhint("It is csv or jsonl.")));
}

static void
append_field(StringInfo line, const char *field)
{
	size_t		length = strlen(field);

	enlargeStringInfo(line, CSV_MAX_QUOTED(length) + 1);
	line->len += csv_quote(line->data + line->len, field, length);
	line->data[line->len] = '\0';
}

static text *
csv_header(TupleDesc desc)
{
	StringInfoData line;

	initStringInfo(&line);
	for (int i = 0; i < desc->natts; i++)
	{
		if (i > 0)
			appendStringInfoChar(&line, ',');
		append_field(&line, NameStr(TupleDescAttr(desc, i)->attname));
	}
	return cstring_to_text_with_len(line.data, line.len);
}

static text *
csv_line(ExportState *state, HeapTuple tuple, TupleDesc desc)
{
	StringInfoData line;

	initStringInfo(&line);
	for (int i = 0; i < desc->natts; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, desc, i + 1, &isnull);

		if (i > 0)
			appendStringInfoChar(&line, ',');
		if (!isnull)
			append_field(&line, OutputFunctionCall(&state->output[i], value));
	}
	return cstring_to_text_with_len(line.data, line.len);
}

/*
 * When the caller wants no more rows before the last.
 */
static void
export_shutdown(Datum arg)
{
	ExportState *state = (ExportState *) DatumGetPointer(arg);
	Portal		portal = state->closed ? NULL : GetPortalByName(state->portal);

	if (PortalIsValid(portal))
		SPI_cursor_close(portal);
}

/*
 * Open the cursor.  Names are looked up in pg_catalog only; what a function or
 * an operator is, is known when the statement has been planned.
 */
static void
export_open(ExportState *state, const char *sql, Datum *bounds,
			MemoryContext context)
{
	Oid			types[2] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	int			level = NewGUCNestLevel();
	SPIPlanPtr	plan;
	Portal		portal;
	MemoryContext old;

	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!state->csv)
		sql = psprintf("SELECT row_to_json(x)::text FROM (%s) AS x", sql);
	plan = SPI_prepare_cursor(sql, 2, types, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, bounds, NULL, true);
	old = MemoryContextSwitchTo(context);
	state->portal = pstrdup(portal->name);
	state->columns = portal->tupDesc->natts;
	state->output = palloc(state->columns * sizeof(FmgrInfo));
	for (int i = 0; i < state->columns; i++)
	{
		Oid			function;
		bool		varlena;

		getTypeOutputInfo(TupleDescAttr(portal->tupDesc, i)->atttypid,
						  &function, &varlena);
		fmgr_info_cxt(function, &state->output[i], context);
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
	AtEOXact_GUC(true, level);
}

/*
 * Read the next rows and make lines of them, the header before the first.
 */
static void
export_read(ExportState *state)
{
	Portal		portal;
	MemoryContext old;

	state->next = 0;
	state->n_lines = 0;
	MemoryContextReset(state->batch);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_find(state->portal);
	if (portal == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_STATE),
				 errmsg("the cursor of meter_export() was closed")));
	SPI_cursor_fetch(portal, true, EXPORT_BATCH);

	/* lines are made in the batch's context, so resetting it frees all */
	old = MemoryContextSwitchTo(state->batch);
	state->lines = palloc((SPI_processed + 1) * sizeof(text *));
	if (state->csv && state->header_due)
		state->lines[state->n_lines++] = csv_header(portal->tupDesc);
	state->header_due = false;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;

		if (state->csv)
			state->lines[state->n_lines++] =
				csv_line(state, tuple, SPI_tuptable->tupdesc);
		else
			state->lines[state->n_lines++] =
				DatumGetTextPCopy(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
	}
	MemoryContextSwitchTo(old);
	if (SPI_processed < EXPORT_BATCH)
	{
		SPI_cursor_close(portal);
		state->closed = true;
	}
	SPI_finish();
}

PG_FUNCTION_INFO_V1(meter_export);

Datum
meter_export(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	ExportState *state;

	if (SRF_IS_FIRSTCALL())
	{
		ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
		const Export *export = find_export(text_to_cstring(PG_GETARG_TEXT_PP(ARG_WHAT)));
		bool		csv = format_is_csv(text_to_cstring(PG_GETARG_TEXT_PP(ARG_FORMAT)));
		Datum		bounds[2];

		bounds[0] = PG_GETARG_DATUM(ARG_FROM);
		bounds[1] = PG_GETARG_DATUM(ARG_TO);
		call = SRF_FIRSTCALL_INIT();
		state = MemoryContextAllocZero(call->multi_call_memory_ctx,
									   sizeof(ExportState));
		state->csv = csv;
		state->header_due = csv;
		state->batch = AllocSetContextCreate(call->multi_call_memory_ctx,
											 "meter export",
											 ALLOCSET_DEFAULT_SIZES);
		export_open(state, export->sql, bounds, call->multi_call_memory_ctx);
		RegisterExprContextCallback(rsinfo->econtext, export_shutdown,
									PointerGetDatum(state));
		call->user_fctx = state;
	}
	call = SRF_PERCALL_SETUP();
	state = call->user_fctx;
	if (state->next >= state->n_lines && !state->closed)
		export_read(state);
	if (state->next < state->n_lines)
		SRF_RETURN_NEXT(call, PointerGetDatum(state->lines[state->next++]));
	UnregisterExprContextCallback(((ReturnSetInfo *) fcinfo->resultinfo)->econtext,
								  export_shutdown, PointerGetDatum(state));
	SRF_RETURN_DONE(call);
}
