/*
 * charge_params.c
 *		Reading and checking the parameters of charge models.
 *
 * What a price is made of is typed by people, and a mistake is found on
 * somebody's bill.  So nothing is guessed: a key that the model does not know
 * is an error as much as one that is missing, and each error names the field.
 *
 * The functions that compute with a price are immutable.  So what a string
 * says must not depend on the server's version either, as that which
 * numeric_in() takes does, and it gets only what read_decimal() has passed.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "charge.h"
#include "compat.h"

/* What is shown of somebody's input, in bytes. */
#define SHOWN 64

#define REQUIRED	0x01
#define POSITIVE	0x02		/* not 0 */
#define WHOLE		0x04
#define PERCENT		0x08		/* kept as a part of one */
#define TIERS		0x10

typedef struct Field
{
	const char *name;
	size_t		offset;			/* of the Numeric in Charge or ChargeTier */
	int			flags;
} Field;

typedef struct Fields
{
	const char *model;
	const Field *fields;
	int			n;
	const Field *tier_fields;
	int			n_tier;
} Fields;

#define IN_CHARGE(member) offsetof(Charge, member)
#define IN_TIER(member) offsetof(ChargeTier, member)
#define LIST(fields) fields, lengthof(fields)

static const Field flat_fields[] = {
	{"amount", IN_CHARGE(amount), REQUIRED}
};

static const Field per_unit_fields[] = {
	{"unit_amount", IN_CHARGE(unit_amount), REQUIRED}
};

static const Field package_fields[] = {
	{"package_amount", IN_CHARGE(amount), REQUIRED},
	{"package_size", IN_CHARGE(package_size), REQUIRED | POSITIVE},
	{"free_units", IN_CHARGE(free_units), 0}
};

static const Field percentage_fields[] = {
	{"rate_percent", IN_CHARGE(unit_amount), REQUIRED | PERCENT},
	{"fixed_amount", IN_CHARGE(fixed_amount), 0},
	{"free_events", IN_CHARGE(free_events), WHOLE},
	{"free_amount", IN_CHARGE(free_amount), 0},
	{"per_transaction_min_amount", IN_CHARGE(min_amount), 0},
	{"per_transaction_max_amount", IN_CHARGE(max_amount), 0}
};

static const Field dynamic_fields[] = {
	{"markup", IN_CHARGE(unit_amount), 0}
};

static const Field tiers_fields[] = {
	{"tiers", 0, REQUIRED | TIERS}
};

static const Field amount_tier_fields[] = {
	{"up_to", IN_TIER(up_to), 0},
	{"unit_amount", IN_TIER(unit_amount), 0},
	{"flat_amount", IN_TIER(flat_amount), 0}
};

static const Field percent_tier_fields[] = {
	{"up_to", IN_TIER(up_to), 0},
	{"rate_percent", IN_TIER(unit_amount), PERCENT},
	{"flat_amount", IN_TIER(flat_amount), 0}
};

/* In the order of ChargeModel. */
static const Fields charge_models[] = {
	{"flat", LIST(flat_fields)},
	{"per_unit", LIST(per_unit_fields)},
	{"graduated", LIST(tiers_fields), LIST(amount_tier_fields)},
	{"volume", LIST(tiers_fields), LIST(amount_tier_fields)},
	{"package", LIST(package_fields)},
	{"percentage", LIST(percentage_fields)},
	{"graduated_percentage", LIST(tiers_fields), LIST(percent_tier_fields)},
	{"dynamic", LIST(dynamic_fields)}
};

/* What is being read, to name it in errors. */
typedef struct Place
{
	const char *model;
	int			tier;			/* or NO_TIER */
} Place;

#define NO_TIER (-1)

/* --- errors ------------------------------------------------------------- */

/* Of input of any length. */
static char *
shown(const char *s, int length)
{
	return pnstrdup(s, pg_mbcliplen(s, length, SHOWN));
}

static char *
number_shown(Numeric number)
{
	char	   *s = numeric_normalize(number);

	return shown(s, strlen(s));
}

static char *
path_of(const Place *place, const char *name)
{
	return place->tier == NO_TIER ? pstrdup(name) :
		psprintf("tiers[%d].%s", place->tier, name);
}

pg_noreturn static void
refuse(const Place *place, const char *name, const char *rule, char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"%s\" of charge model \"%s\" %s",
					path_of(place, name), place->model, rule),
			 errdetail_internal("%s", detail)));
}

static char *
value_shown(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "It is null.";
		case jbvString:
			return psprintf("It is \"%s\".",
							shown(value->val.string.val, value->val.string.len));
		case jbvNumeric:
			return psprintf("It is %s.", number_shown(value->val.numeric));
		case jbvBool:
			return "It is a boolean.";
		default:
			return value->type == jbvBinary &&
				JsonContainerIsArray(value->val.binary.data) ?
				"It is an array." : "It is an object.";
	}
}

static void
refuse_unknown(const Place *place, const char *name, const Field *fields, int n)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < n; i++)
		appendStringInfo(&names, "%s%s", i == 0 ? "" : i < n - 1 ? ", " : " and ",
						 fields[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("charge model \"%s\" has no parameter \"%s\"",
					place->model, path_of(place, name)),
			 place->tier == NO_TIER ? errhint("It has %s.", names.data) :
			 errhint("A tier has %s.", names.data)));
}

static void
refuse_missing(const Place *place, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("charge model \"%s\" needs the parameter \"%s\"",
					place->model, path_of(place, name))));
}

/* --- numbers ------------------------------------------------------------ */

static const char *
skip_digits(const char *s, const char *end)
{
	while (s < end && *s >= '0' && *s <= '9')
		s++;
	return s;
}

/*
 * A number in a string: [+-]digits[.digits][e[+-]digits], where the exponent
 * has at most 4 digits, so that nothing is too large for numeric_in().  NULL
 * if it is something else.
 */
static Numeric
read_decimal(const char *s, int length)
{
	const char *end = s + length;
	const char *p = s;
	const char *start;
	int			digits;

	if (length > 2 * CHARGE_MAX_SCALE)
		return NULL;
	if (p < end && (*p == '+' || *p == '-'))
		p++;
	start = p;
	p = skip_digits(p, end);
	digits = p - start;
	if (p < end && *p == '.')
	{
		start = ++p;
		p = skip_digits(p, end);
		digits += p - start;
	}
	if (digits == 0)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		start = p;
		p = skip_digits(p, end);
		if (p == start || p - start > 4)
			return NULL;
	}
	if (p != end)
		return NULL;
	return DatumGetNumeric(DirectFunctionCall3(numeric_in,
											   CStringGetDatum(pnstrdup(s, length)),
											   ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(-1)));
}

static Numeric
read_number(const Place *place, const Field *field, const JsonbValue *value)
{
	Numeric		zero = int64_to_numeric(0);
	Numeric		number = NULL;

	if (value->type == jbvNumeric)
		number = value->val.numeric;
	else if (value->type == jbvString)
		number = read_decimal(value->val.string.val, value->val.string.len);
	if (number == NULL)
		refuse(place, field->name, "must be a number, or a string that is one",
			   value_shown(value));

	/* also a copy, with a header that needs no conversion later */
	number = charge_trim(number);
	if (charge_compare(number, zero) < 0)
		refuse(place, field->name, "must not be negative", value_shown(value));
	if ((field->flags & POSITIVE) && charge_compare(number, zero) == 0)
		refuse(place, field->name, "must be above 0", value_shown(value));
	if ((field->flags & WHOLE) && charge_scale(number) > 0)
		refuse(place, field->name, "must be a whole number", value_shown(value));
	if (charge_scale(number) > CHARGE_MAX_SCALE)
		refuse(place, field->name, "has too many decimals",
			   psprintf("It has %d, at most %d are allowed.",
						charge_scale(number), CHARGE_MAX_SCALE));
	if (field->flags & PERCENT)
		number = charge_trim(charge_mul(number, int64_div_fast_to_numeric(1, 2)));
	return number;
}

/* --- objects and tiers -------------------------------------------------- */

static void read_tiers(Charge *charge, const Fields *model, JsonbValue *value);

static const Field *
find_field(const Field *fields, int n, const JsonbValue *key)
{
	for (int i = 0; i < n; i++)
		if (key->val.string.len == strlen(fields[i].name) &&
			memcmp(key->val.string.val, fields[i].name, key->val.string.len) == 0)
			return &fields[i];
	return NULL;
}

/*
 * Read an object's members into a Charge or ChargeTier.  null is the same as
 * a member left out: what builds JSON of columns writes it for "none".
 */
static void
read_object(const Place *place, JsonbContainer *object, const Field *fields,
			int n, Charge *charge, void *target)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		const Field *field;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		field = find_field(fields, n, &key);
		if (field == NULL)
			refuse_unknown(place, shown(key.val.string.val, key.val.string.len),
						   fields, n);
		if (value.type == jbvNull)
			continue;
		if (field->flags & TIERS)
			read_tiers(charge, &charge_models[charge->model], &value);
		else
			*(Numeric *) ((char *) target + field->offset) =
				read_number(place, field, &value);
	}
	for (int i = 0; i < n; i++)
	{
		const Field *field = &fields[i];

		if ((field->flags & REQUIRED) &&
			((field->flags & TIERS) ? charge->tiers == NULL :
			 *(Numeric *) ((char *) target + field->offset) == NULL))
			refuse_missing(place, field->name);
	}
}

/*
 * The bounds of the tiers ascend from 0, and the last has none.  The first may
 * be 0 itself: that tier is what no usage at all costs.
 */
static void
check_bounds(const Place *place, const Charge *charge)
{
	const ChargeTier *tier = &charge->tiers[place->tier];
	bool		last = place->tier == charge->ntiers - 1;

	if (last && tier->up_to != NULL)
		refuse(place, "up_to", "must be null",
			   psprintf("It is %s, and the last tier has no bound.",
						number_shown(tier->up_to)));
	if (!last && tier->up_to == NULL)
		refuse(place, "up_to", "must not be null",
			   "Only the last tier has no bound.");
	if (!last && place->tier > 0 && charge_compare(tier->up_to, tier[-1].up_to) <= 0)
		refuse(place, "up_to", "must be above that of the tier before",
			   psprintf("It is %s, and that one is %s.",
						number_shown(tier->up_to), number_shown(tier[-1].up_to)));
}

static void
read_tiers(Charge *charge, const Fields *model, JsonbValue *value)
{
	Place		place = {model->model, NO_TIER};
	JsonbContainer *array;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse(&place, "tiers", "must be an array", value_shown(value));
	array = value->val.binary.data;
	charge->ntiers = JsonContainerSize(array);
	if (charge->ntiers == 0)
		refuse(&place, "tiers", "must not be empty",
			   "The simplest price has one tier without bound.");
	charge->tiers = palloc0_array(ChargeTier, charge->ntiers);

	for (int i = 0; i < charge->ntiers; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);
		ChargeTier *tier = &charge->tiers[i];

		if (element->type != jbvBinary ||
			!JsonContainerIsObject(element->val.binary.data))
			refuse(&place, psprintf("tiers[%d]", i), "must be an object",
				   value_shown(element));
		place.tier = i;
		read_object(&place, element->val.binary.data, model->tier_fields,
					model->n_tier, charge, tier);
		check_bounds(&place, charge);
		if (tier->unit_amount == NULL && tier->flat_amount == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("charge model \"%s\" needs the parameter \"%s\" or \"%s\"",
							model->model,
							path_of(&place, model->tier_fields[1].name),
							path_of(&place, model->tier_fields[2].name))));
		if (tier->unit_amount == NULL)
			tier->unit_amount = charge->zero;
		if (tier->flat_amount == NULL)
			tier->flat_amount = charge->zero;
		place.tier = NO_TIER;
	}
}

/* So that a charge need not add up the tiers below its own each time. */
static void
sum_tiers(Charge *charge)
{
	Numeric		lower = charge->zero;
	Numeric		below = charge->zero;

	for (int i = 0; i < charge->ntiers; i++)
	{
		ChargeTier *tier = &charge->tiers[i];

		tier->start_amount = charge_add(below, tier->flat_amount);
		if (tier->up_to == NULL)
			break;
		below = charge_add(tier->start_amount,
						   charge_mul(charge_sub(tier->up_to, lower),
									  tier->unit_amount));
		lower = tier->up_to;
	}
}

static ChargeModel
find_model(text *model)
{
	int			length = VARSIZE_ANY_EXHDR(model);

	for (int i = 0; i < lengthof(charge_models); i++)
		if (length == strlen(charge_models[i].model) &&
			memcmp(VARDATA_ANY(model), charge_models[i].model, length) == 0)
			return (ChargeModel) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown charge model \"%s\"",
					shown(VARDATA_ANY(model), length)),
			 errhint("It is one of flat, per_unit, graduated, volume, package, "
					 "percentage, graduated_percentage and dynamic.")));
}

Charge *
charge_read(text *model, Jsonb *params)
{
	Charge	   *charge = palloc0_object(Charge);
	const Fields *fields;
	Place		place;

	charge->model = find_model(model);
	charge->zero = int64_to_numeric(0);
	fields = &charge_models[charge->model];
	place.model = fields->model;
	place.tier = NO_TIER;

	if (!JB_ROOT_IS_OBJECT(params))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters of charge model \"%s\" must be a JSON object",
						fields->model)));
	read_object(&place, &params->root, fields->fields, fields->n, charge, charge);

	if (charge->min_amount != NULL && charge->max_amount != NULL &&
		charge_compare(charge->min_amount, charge->max_amount) > 0)
		refuse(&place, "per_transaction_min_amount",
			   "must not be above per_transaction_max_amount",
			   psprintf("It is %s, and that one is %s.",
						number_shown(charge->min_amount),
						number_shown(charge->max_amount)));
	if (charge->model == CHARGE_DYNAMIC && charge->unit_amount == NULL)
		charge->unit_amount = int64_to_numeric(1);
	if (charge->model == CHARGE_PERCENTAGE && charge->fixed_amount == NULL)
		charge->fixed_amount = charge->zero;
	if (charge->model == CHARGE_PACKAGE && charge->free_units == NULL)
		charge->free_units = charge->zero;
	if (charge->model != CHARGE_VOLUME)
		sum_tiers(charge);
	return charge;
}
