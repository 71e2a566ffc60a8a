/*
 * sketch.c
 *		SQL type meter_sketch: I/O, aggregates, comparison.
 *
 * The algorithm, both outer forms and all their checks are in core/sketch.h,
 * the functions that ask a sketch for something in sketch_query.c; here are
 * the datums, the errors and the aggregates' states.  A meter_sketch on disk
 * is a varlena around the packed form, which is canonical: equal sketches are
 * equal bytes.
 *
 * The state of the aggregates is a Sketch in the aggregate's memory context.
 * Their final function only reads it, so they can be used as window
 * aggregates.  For parallel query it travels packed.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "core/alloc.h"
#include "sketch.h"

/*
 * What a value of the type points to.  PG_DETOAST_DATUM_PACKED does not align
 * it, and the packed form is read byte by byte.
 */
typedef struct PackedSketch
{
	struct varlena *datum;
	const char *data;
	size_t		size;
} PackedSketch;

static PackedSketch
detoast(Datum value)
{
	PackedSketch p;

	p.datum = PG_DETOAST_DATUM_PACKED(value);
	p.data = VARDATA_ANY(p.datum);
	p.size = VARSIZE_ANY_EXHDR(p.datum);
	return p;
}

/* Hourly sketches are merged by the ten thousand, so do not leave a copy. */
static void
release(PackedSketch *p, Datum value)
{
	if ((Pointer) p->datum != DatumGetPointer(value))
		pfree(p->datum);
}

static void
error_accuracy_differs(double one, double other)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot merge sketches of different accuracy"),
			 errdetail("One has accuracy %.15g, the other %.15g.", one, other),
			 errhint("Make both from their values with the same accuracy; "
					 "a sketch cannot be converted.")));
}

static void
error_not_finite(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("cannot add NaN or infinity to a sketch"),
			 errhint("Leave such values out with FILTER (WHERE ...), or "
					 "replace them by NULL, which is skipped.")));
}

static void
error_accuracy_range(double accuracy)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("accuracy %.15g is out of range", accuracy),
			 errdetail("The accuracy of a sketch is between %g and %g.",
					   SKETCH_MIN_ACCURACY, SKETCH_MAX_ACCURACY)));
}

/*
 * What comes from outside has passed the input or the receive function, so
 * this is about a value stored.
 */
static void
error_corrupted(SketchStatus status)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("value of type meter_sketch is corrupted"),
			 errdetail_internal("Found that %s.",
								sketch_status_text(status))));
}

void
sketch_check(SketchStatus status)
{
	switch (status)
	{
		case SKETCH_OK:
			return;
		case SKETCH_NOT_FINITE:
			error_not_finite();
			break;
		case SKETCH_COUNT_OVERFLOW:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("count of the sketch is out of range for type bigint")));
			break;
		case SKETCH_SUM_OVERFLOW:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("sum of the sketch is out of range for type double precision")));
			break;
		case SKETCH_EMPTY:
		case SKETCH_BAD_QUANTILE:
		case SKETCH_BAD_ACCURACY:
		case SKETCH_ACCURACY_DIFFERS:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid use of a sketch: %s",
							sketch_status_text(status))));
			break;

		case SKETCH_BAD_VERSION:
		case SKETCH_BAD_SYNTAX:
		case SKETCH_TRUNCATED:
		case SKETCH_TRAILING:
		case SKETCH_BAD_NUMBER:
		case SKETCH_BAD_COUNT:
		case SKETCH_BAD_INDEX:
		case SKETCH_BAD_EXTREMES:
		case SKETCH_BAD_SUM:
			error_corrupted(status);
	}
}

/* Make a Sketch of a stored value, where nothing may be wrong at all. */
static void
unpack(Sketch *s, const PackedSketch *p)
{
	SketchStatus status = sketch_unpack(s, p->data, p->size);

	if (status != SKETCH_OK)
		error_corrupted(status);
}

struct varlena *
sketch_to_datum(const Sketch *s)
{
	size_t		size = sketch_pack_size(s);
	struct varlena *result = palloc(VARHDRSZ + size);

	SET_VARSIZE(result, VARHDRSZ + size);
	sketch_pack(s, VARDATA(result));
	return result;
}

void
sketch_from_datum(Sketch *s, Datum value)
{
	PackedSketch p = detoast(value);

	unpack(s, &p);
	release(&p, value);
}

static void
merge_packed(Sketch *dst, const PackedSketch *p)
{
	SketchStatus status = sketch_merge_packed(dst, p->data, p->size);

	if (status == SKETCH_ACCURACY_DIFFERS)
	{
		Sketch		other;

		unpack(&other, p);
		error_accuracy_differs(dst->accuracy, other.accuracy);
	}
	sketch_check(status);
}

void
sketch_merge_datum(Sketch *dst, Datum value)
{
	PackedSketch p = detoast(value);

	merge_packed(dst, &p);
	release(&p, value);
}

PG_FUNCTION_INFO_V1(meter_sketch_in);
Datum
meter_sketch_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	Sketch		s;
	size_t		error_at;
	SketchStatus status = sketch_from_text(&s, text, &error_at);

	if (status != SKETCH_OK)
		METER_ERETURN(METER_ESCONTEXT(fcinfo), (Datum) 0,
					  (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					   errmsg("invalid input syntax for type %s: \"%s\"",
							  "meter_sketch", text),
					   errdetail("At byte %zu: %s.", error_at + 1,
								 sketch_status_text(status))));
	PG_RETURN_POINTER(sketch_to_datum(&s));
}

PG_FUNCTION_INFO_V1(meter_sketch_out);
Datum
meter_sketch_out(PG_FUNCTION_ARGS)
{
	Sketch		s;

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	PG_RETURN_CSTRING(sketch_to_text(&s));
}

PG_FUNCTION_INFO_V1(meter_sketch_recv);
Datum
meter_sketch_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			size = buf->len - buf->cursor;
	const char *data = pq_getmsgbytes(buf, size);
	Sketch		s;
	SketchStatus status = sketch_unpack(&s, data, size);

	if (status != SKETCH_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary representation of type %s",
						"meter_sketch"),
				 errdetail_internal("Found that %s.",
									sketch_status_text(status))));
	PG_RETURN_POINTER(sketch_to_datum(&s));
}

PG_FUNCTION_INFO_V1(meter_sketch_send);
Datum
meter_sketch_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate support function called in non-aggregate context");
	return context;
}

static Sketch *
make_state(MemoryContext context, double accuracy)
{
	Sketch	   *state = MemoryContextAlloc(context, sizeof(Sketch));

	if (sketch_init(state, accuracy) != SKETCH_OK)
		error_accuracy_range(accuracy);
	return state;
}

static inline Sketch *
get_state(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : (Sketch *) PG_GETARG_POINTER(arg);
}

/* The state as it is, or NULL as long as there is none. */
#define RETURN_STATE(state) \
	do { \
		if ((state) == NULL) \
			PG_RETURN_NULL(); \
		PG_RETURN_POINTER(state); \
	} while (0)

/* Transition of meter_sketch_agg, with and without an accuracy. */
PG_FUNCTION_INFO_V1(meter_sketch_agg_add);
Datum
meter_sketch_agg_add(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	MemoryContext old_context;
	Sketch	   *state = get_state(fcinfo, 0);
	double		accuracy = SKETCH_DEFAULT_ACCURACY;

	if (PG_ARGISNULL(1))
		RETURN_STATE(state);

	if (PG_NARGS() > 2)
	{
		if (PG_ARGISNULL(2))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("accuracy must not be null")));
		accuracy = PG_GETARG_FLOAT8(2);
	}
	if (state == NULL)
		state = make_state(context, accuracy);
	else if (state->accuracy != accuracy)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("accuracy must be the same for all values of a sketch"),
				 errdetail("It is %.15g, and was %.15g before.", accuracy,
						   state->accuracy),
				 errhint("Group by what the accuracy depends on.")));

	old_context = MemoryContextSwitchTo(context);
	sketch_check(sketch_add(state, PG_GETARG_FLOAT8(1), 1));
	MemoryContextSwitchTo(old_context);
	PG_RETURN_POINTER(state);
}

/* Transition of meter_sketch_merge. */
PG_FUNCTION_INFO_V1(meter_sketch_agg_merge);
Datum
meter_sketch_agg_merge(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	MemoryContext old_context;
	Sketch	   *state = get_state(fcinfo, 0);
	PackedSketch p;

	if (PG_ARGISNULL(1))
		RETURN_STATE(state);

	/* The copy made here, if any, is not for the aggregate's context. */
	p = detoast(PG_GETARG_DATUM(1));
	old_context = MemoryContextSwitchTo(context);
	if (state == NULL)
	{
		state = palloc(sizeof(Sketch));
		unpack(state, &p);
	}
	else
		merge_packed(state, &p);
	MemoryContextSwitchTo(old_context);
	release(&p, PG_GETARG_DATUM(1));
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(meter_sketch_agg_combine);
Datum
meter_sketch_agg_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	MemoryContext old_context;
	Sketch	   *state = get_state(fcinfo, 0);
	Sketch	   *other = get_state(fcinfo, 1);

	if (other == NULL)
		RETURN_STATE(state);

	if (state == NULL)
		state = make_state(context, other->accuracy);
	else if (state->accuracy != other->accuracy)
		error_accuracy_differs(state->accuracy, other->accuracy);

	old_context = MemoryContextSwitchTo(context);
	sketch_check(sketch_merge(state, other));
	MemoryContextSwitchTo(old_context);
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(meter_sketch_agg_serialize);
Datum
meter_sketch_agg_serialize(PG_FUNCTION_ARGS)
{
	(void) aggregate_context(fcinfo);
	PG_RETURN_BYTEA_P(sketch_to_datum((Sketch *) PG_GETARG_POINTER(0)));
}

PG_FUNCTION_INFO_V1(meter_sketch_agg_deserialize);
Datum
meter_sketch_agg_deserialize(PG_FUNCTION_ARGS)
{
	Sketch	   *state;

	(void) aggregate_context(fcinfo);
	state = palloc(sizeof(Sketch));
	sketch_from_datum(state, PG_GETARG_DATUM(0));
	PG_RETURN_POINTER(state);
}

PG_FUNCTION_INFO_V1(meter_sketch_agg_final);
Datum
meter_sketch_agg_final(PG_FUNCTION_ARGS)
{
	(void) aggregate_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(sketch_to_datum((Sketch *) PG_GETARG_POINTER(0)));
}

/* Not strict: NULL is no sketch, and the other one is the answer. */
PG_FUNCTION_INFO_V1(meter_sketch_union);
Datum
meter_sketch_union(PG_FUNCTION_ARGS)
{
	Sketch		s;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));

	sketch_from_datum(&s, PG_GETARG_DATUM(0));
	sketch_merge_datum(&s, PG_GETARG_DATUM(1));
	PG_RETURN_POINTER(sketch_to_datum(&s));
}

static bool
same_bytes(FunctionCallInfo fcinfo)
{
	PackedSketch a = detoast(PG_GETARG_DATUM(0));
	PackedSketch b = detoast(PG_GETARG_DATUM(1));
	bool		same = a.size == b.size && memcmp(a.data, b.data, a.size) == 0;

	release(&a, PG_GETARG_DATUM(0));
	release(&b, PG_GETARG_DATUM(1));
	return same;
}

PG_FUNCTION_INFO_V1(meter_sketch_eq);
Datum
meter_sketch_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(same_bytes(fcinfo));
}

PG_FUNCTION_INFO_V1(meter_sketch_ne);
Datum
meter_sketch_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!same_bytes(fcinfo));
}
