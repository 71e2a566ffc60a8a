/*
 * export.c
 *		meter_export(): events, usage, bills, costs and alerts as lines of CSV or
 *		JSON.
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
#include "utils/timestamp.h"

#include "core/csv.h"

/* Rows that are read at a time. */
#define EXPORT_BATCH 500

/* Arguments of meter_export, in the order of export.sql. */
enum
{
	ARG_WHAT,
	ARG_FROM,
	ARG_TO,
	ARG_FORMAT,
	ARG_TENANT
};

static const char *const argument_names[] = {"what", "from", "to", "format"};

typedef enum ExportFormat
{
	FORMAT_CSV,
	FORMAT_SPREADSHEET,
	FORMAT_JSONL
} ExportFormat;

static const char *const format_names[] = {"csv", "spreadsheet", "jsonl"};

/*
 * What can be exported.  The columns are of types whose output no setting
 * changes: texts, numbers, booleans, uuid and JSON.  $1 and $2 are the bounds,
 * $3 is the tenant or null.
 */
typedef struct Export
{
	const char *what;
	const char *sql;
} Export;

#define UTC_AS(time, seconds) "to_char(" time " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:" seconds "\"Z\"')"
#define UTC(time) UTC_AS(time, "SS")
#define UTC_EXACT(time) UTC_AS(time, "SS.US")
#define DAY(date) "to_char(" date ", 'YYYY-MM-DD')"
#define OF_TENANT(tenant) "($3 IS NULL OR " tenant " = $3)"
#define IN_DAYS(date) date " >= $1::date AND " date " < $2::date"
#define IN_TIME(time) time " >= $1 AND " time " < $2"

/* By the log's position, which needs no sort: the partitions have it in order. */
#define EVENTS \
	"SELECT e.seq, " UTC_EXACT("e.at") " AS at, e.tenant, e.metric, e.quantity, " \
	"e.service, e.endpoint, e.method, e.status, e.latency_ms::numeric AS latency_ms, " \
	"e.user_id, e.cost, e.metadata, e.idempotency_key, e.request_id, e.error_message, " \
	"e.corrects, e.superseded_by, " UTC_EXACT("e.received_at") " AS received_at " \
	"FROM meter.event AS e WHERE " IN_TIME("e.at") " AND " OF_TENANT("e.tenant") " " \
	"ORDER BY e.seq"

#define MILLISECONDS(latency) "trim_scale(round(" latency "::numeric, 3))"

/* OFFSET keeps the sketch from being read for each of its figures anew. */
#define USAGE_HOURLY \
	"SELECT " UTC("u.hour") " AS hour, u.tenant, u.metric, u.service, u.endpoint, u.method, " \
	"u.dims, u.events, u.successes, u.errors, u.errors_4xx, u.errors_5xx, u.errors_429, " \
	"u.quantity, u.quantity_min, u.quantity_max, u.cost, " \
	"meter.users_count(u.users) AS unique_users, " \
	MILLISECONDS("l.ms[1]") " AS latency_avg, " MILLISECONDS("l.ms[2]") " AS p50, " \
	MILLISECONDS("l.ms[3]") " AS p95, " MILLISECONDS("l.ms[4]") " AS p99 " \
	"FROM meter.usage_hourly AS u " \
	"CROSS JOIN LATERAL (SELECT meter.export_latency(u.latency) AS ms OFFSET 0) AS l WHERE " IN_TIME("u.hour") " AND " OF_TENANT("u.tenant") " " \
	"ORDER BY u.hour, u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims"

/* usage_daily and usage_monthly, which have the same columns */
#define USAGE_BY(view, date) \
	"SELECT " DAY("u." date) " AS " date ", u.tenant, u.metric, u.service, u.endpoint, u.method, " \
	"u.dims, u.events, u.successes, u.errors, u.errors_4xx, u.errors_5xx, u.errors_429, " \
	"u.quantity, u.quantity_min, u.quantity_max, " \
	"trim_scale(u.time_weighted) AS time_weighted, trim_scale(u.unit_hours) AS unit_hours, " \
	"u.cost, u.unique_users, " MILLISECONDS("u.latency_avg") " AS latency_avg, " \
	MILLISECONDS("u.p50") " AS p50, " MILLISECONDS("u.p95") " AS p95, " \
	MILLISECONDS("u.p99") " AS p99 " \
	"FROM meter." view " AS u WHERE " IN_DAYS("u." date) " AND " OF_TENANT("u.tenant") " " \
	"ORDER BY u." date ", u.tenant, u.metric, u.service, u.endpoint, u.method, u.dims"

#define USERS_DAILY \
	"SELECT " DAY("u.day") " AS day, u.tenant, u.user_id, u.metric, u.dims, u.events, u.errors, " \
	"u.quantity, u.cost, " UTC("u.first_at") " AS first_at, " UTC("u.last_at") " AS last_at " \
	"FROM meter.usage_user_daily AS u WHERE " IN_DAYS("u.day") " AND " OF_TENANT("u.tenant") " " \
	"ORDER BY u.day, u.tenant, u.user_id, u.metric, u.dims"

#define BILLS \
	"SELECT b.tenant, " DAY("b.month") " AS month, b.revision, b.bill_id, b.status, " \
	UTC("b.period_from") " AS period_from, " UTC("b.period_to") " AS period_to, " \
	"b.currency, b.subtotal, b.discount, b.credit, b.tax, b.total, " \
	UTC("b.created_at") " AS created_at, " UTC("b.finalized_at") " AS finalized_at, " \
	UTC("b.voided_at") " AS voided_at, b.void_reason " \
	"FROM meter.bill AS b WHERE " IN_DAYS("b.month") " AND " OF_TENANT("b.tenant") " " \
	"ORDER BY b.month, b.tenant, b.revision"

#define BILL_LINES \
	"SELECT l.tenant, " DAY("l.month") " AS month, l.revision, l.line, b.bill_id, b.status, " \
	"l.kind, l.price, l.price_id, l.metric, l.dims, " \
	UTC("l.from_at") " AS from_at, " UTC("l.to_at") " AS to_at, " DAY("l.for_month") " AS for_month, " \
	"l.quantity, l.billed_quantity, l.unit, l.amount_exact, l.amount, b.currency " \
	"FROM meter.bill_line AS l " \
	"JOIN meter.bill AS b ON b.tenant = l.tenant AND b.month = l.month AND b.revision = l.revision " \
	"WHERE " IN_DAYS("l.month") " AND " OF_TENANT("l.tenant") " " \
	"ORDER BY l.month, l.tenant, l.revision, l.line"

#define COSTS \
	"SELECT " DAY("c.month") " AS month, c.tenant, c.component, c.currency, trim_scale(c.cost) AS cost " \
	"FROM meter.cost_allocation AS c WHERE " IN_DAYS("c.month") " AND " OF_TENANT("c.tenant") " " \
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
	"FROM meter.focus AS f WHERE " IN_DAYS("f.\"x_Month\"") " AND " OF_TENANT("f.\"BillingAccountId\"") " " \
	"ORDER BY f.\"x_Month\", f.\"BillingAccountId\", f.\"x_Line\""

#define ALERTS \
	"SELECT a.alert_id, a.rule, a.signal, a.tenant, a.service, a.subject, a.severity, a.state, " \
	"a.title, a.value, a.peak, a.threshold, a.period, " UTC("a.started_at") " AS started_at, " \
	UTC("a.fired_at") " AS fired_at, " UTC("a.resolved_at") " AS resolved_at, a.reason, " \
	"a.silenced, a.incident_id " \
	"FROM meter.alert AS a WHERE " IN_TIME("a.started_at") " AND " OF_TENANT("a.tenant") " " \
	"ORDER BY a.started_at, a.alert_id"

#define INCIDENTS \
	"SELECT i.incident_id, i.tenant, i.service, i.severity, i.status, i.title, " \
	UTC("i.opened_at") " AS opened_at, " UTC("i.acknowledged_at") " AS acknowledged_at, " \
	"i.acknowledged_by, " UTC("i.resolved_at") " AS resolved_at " \
	"FROM meter.incident AS i WHERE " IN_TIME("i.opened_at") " AND " OF_TENANT("i.tenant") " " \
	"ORDER BY i.opened_at, i.incident_id"

static const Export exports[] = {
	{"events", EVENTS},
	{"usage_hourly", USAGE_HOURLY},
	{"usage_daily", USAGE_BY("usage_daily", "day")},
	{"usage_monthly", USAGE_BY("usage_monthly", "month")},
	{"users_daily", USERS_DAILY},
	{"bills", BILLS},
	{"bill_lines", BILL_LINES},
	{"costs", COSTS},
	{"focus", FOCUS},
	{"alerts", ALERTS},
	{"incidents", INCIDENTS},
};

typedef struct ExportState
{
	char	   *portal;
	ExportFormat format;
	bool		header_due;
	bool		closed;			/* the cursor has given all */
	int			columns;
	FmgrInfo   *output;			/* of each column */
	bool	   *is_text;		/* each column: could have a formula */
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

static ExportFormat
find_format(const char *format)
{
	for (int i = 0; i < lengthof(format_names); i++)
	{
		if (strcmp(format, format_names[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown format \"%s\"", format),
			 errhint("It is csv, spreadsheet or jsonl.")));
}

static void
check_bounds(TimestampTz from, TimestampTz to)
{
	if (from >= to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("from must be before to"),
				 errdetail("From is %s, to is %s.",
						   pstrdup(timestamptz_to_str(from)),
						   pstrdup(timestamptz_to_str(to)))));
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
		{
			char	   *field = OutputFunctionCall(&state->output[i], value);

			if (state->format == FORMAT_SPREADSHEET && state->is_text[i] &&
				csv_is_formula(field, strlen(field)))
				field = psprintf("'%s", field);
			append_field(&line, field);
		}
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
export_open(ExportState *state, const char *sql, Datum *arguments,
			const char *nulls, MemoryContext context)
{
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID};
	int			level = NewGUCNestLevel();
	SPIPlanPtr	plan;
	Portal		portal;
	MemoryContext old;

	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	/* the views' many expressions take longer to compile than to evaluate */
	(void) set_config_option("jit", "off",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (state->format == FORMAT_JSONL)
		sql = psprintf("SELECT row_to_json(x)::text FROM (%s) AS x", sql);
	plan = SPI_prepare_cursor(sql, lengthof(types), types, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, arguments, nulls, true);
	old = MemoryContextSwitchTo(context);
	state->portal = pstrdup(portal->name);
	state->columns = portal->tupDesc->natts;
	state->output = palloc(state->columns * sizeof(FmgrInfo));
	state->is_text = palloc(state->columns * sizeof(bool));
	for (int i = 0; i < state->columns; i++)
	{
		Oid			type = TupleDescAttr(portal->tupDesc, i)->atttypid;
		Oid			function;
		bool		varlena;

		getTypeOutputInfo(type, &function, &varlena);
		fmgr_info_cxt(function, &state->output[i], context);
		state->is_text[i] = type == TEXTOID;
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
				 errmsg("the cursor of meter_export() was closed"),
				 errdetail("It ends with the transaction or the savepoint in which the first line was read."),
				 errhint("Call meter_export() in FROM, where all lines are read at once.")));
	SPI_cursor_fetch(portal, true, EXPORT_BATCH);

	/* lines are made in the batch's context, so resetting it frees all */
	old = MemoryContextSwitchTo(state->batch);
	state->lines = palloc((SPI_processed + 1) * sizeof(text *));
	if (state->header_due)
		state->lines[state->n_lines++] = csv_header(portal->tupDesc);
	state->header_due = false;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;

		if (state->format == FORMAT_JSONL)
			state->lines[state->n_lines++] =
				DatumGetTextPCopy(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		else
			state->lines[state->n_lines++] =
				csv_line(state, tuple, SPI_tuptable->tupdesc);
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
		Datum		arguments[3] = {0};
		char		nulls[] = "   ";	/* of the arguments of the statement */
		const Export *export;
		ExportFormat format;

		for (int i = 0; i < lengthof(argument_names); i++)
		{
			if (PG_ARGISNULL(i))
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("%s must not be null", argument_names[i])));
		}
		export = find_export(text_to_cstring(PG_GETARG_TEXT_PP(ARG_WHAT)));
		format = find_format(text_to_cstring(PG_GETARG_TEXT_PP(ARG_FORMAT)));
		check_bounds(PG_GETARG_TIMESTAMPTZ(ARG_FROM), PG_GETARG_TIMESTAMPTZ(ARG_TO));
		arguments[0] = PG_GETARG_DATUM(ARG_FROM);
		arguments[1] = PG_GETARG_DATUM(ARG_TO);
		if (PG_ARGISNULL(ARG_TENANT))
			nulls[2] = 'n';
		else
			arguments[2] = PG_GETARG_DATUM(ARG_TENANT);
		call = SRF_FIRSTCALL_INIT();
		state = MemoryContextAllocZero(call->multi_call_memory_ctx,
									   sizeof(ExportState));
		state->format = format;
		state->header_due = format != FORMAT_JSONL;
		state->batch = AllocSetContextCreate(call->multi_call_memory_ctx,
											 "meter export",
											 ALLOCSET_DEFAULT_SIZES);
		export_open(state, export->sql, arguments, nulls,
					call->multi_call_memory_ctx);
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
