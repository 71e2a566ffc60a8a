/*
 * context.c
 *		The tenant for which a session works.
 *
 * The explicit context, of meter_set_tenant(), is the value of the parameter
 * meter.tenant.  As a parameter it comes and goes with transactions and
 * subtransactions, and reaches the workers of a parallel query.  Its check hook
 * lets only ourselves set it, and RESET ALL and DISCARD ALL pass it over.
 *
 * With a token the context is sticky: who does not have the token cannot change
 * it.  A salted hash of the token is kept with the value ("extra"), and so
 * comes and goes with it, too.
 *
 * Without an explicit context, the tenant is implied by who the user is
 * (member.c).
 */
#include "postgres.h"

#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "context.h"
#include "core/hot.h"
#include "member.h"
#include "owner.h"
#include "setting.h"
#include "violation.h"

/* after all others */
#include "server.h"

#define SALT_LENGTH 16

/* What goes with the value of meter.tenant. */
typedef struct ContextExtra
{
	bool		sticky;
	bool		local;
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		search_path[2 * NAMEDATALEN * 3 + 32];
} ContextExtra;

HOT_DATA bool context_explicit = false; /* is there anything in it? */
HOT_DATA char *context_setting = NULL;
HOT_STATEMENT uint64 context_changes = 1;
static const ContextExtra *context_extra = NULL;

/* What meter_set_tenant() is about to set; else the check hook refuses. */
static const ContextExtra *setting_now = NULL;

static uint8 salt[SALT_LENGTH];
static bool has_salt = false;

/* --- the parameter ------------------------------------------------------ */

static bool
context_check_setting(char **newval, void **extra, GucSource source)
{
	ContextExtra *copy;

	if (setting_now == NULL && !InitializingParallelWorker &&
		(source != PGC_S_DEFAULT || **newval != '\0'))
	{
		GUC_check_errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM);
		GUC_check_errmsg("parameter \"meter.tenant\" cannot be set");
		GUC_check_errhint("Call meter_set_tenant().");
		return false;
	}
	copy = compat_guc_malloc(sizeof(ContextExtra));
	if (copy == NULL)
		return false;
	if (setting_now != NULL)
		*copy = *setting_now;
	else
		memset(copy, 0, sizeof(*copy));
	*extra = copy;
	return true;
}

static void
context_assign_setting(const char *newval, void *extra)
{
	context_explicit = newval != NULL && newval[0] != '\0';
	context_extra = extra;
	context_changes++;
}

void
context_define(void)
{
	DefineCustomStringVariable("meter.tenant",
							   "Shows the tenant for which the session works.",
							   "It is set by meter_set_tenant().",
							   &context_setting,
							   "",
							   PGC_SUSET,
							   GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   context_check_setting, context_assign_setting, NULL);
}

/*
 * The same action for both, so that they end together.
 */
static void
put_settings(const char *tenant, const char *search_path, bool local,
			 const ContextExtra *extra)
{
	GucAction	action = local ? GUC_ACTION_LOCAL : GUC_ACTION_SET;

	setting_now = extra;
	PG_TRY();
	{
		(void) set_config_option("meter.tenant", tenant, PGC_SUSET, PGC_S_SESSION,
								 action, true, 0, false);
	}
	PG_FINALLY();
	{
		setting_now = NULL;
	}
	PG_END_TRY();
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, action, true, 0, false);
}

/* --- the token ---------------------------------------------------------- */

static void
digest_token(const text *token, uint8 *digest)
{
	pg_cryptohash_ctx *ctx;

	if (!has_salt)
	{
		if (!pg_strong_random(salt, sizeof(salt)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		has_salt = true;
	}
	ctx = pg_cryptohash_create(PG_SHA256);
	if (ctx == NULL || pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, salt, sizeof(salt)) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) VARDATA_ANY(token),
							 VARSIZE_ANY_EXHDR(token)) < 0 ||
		pg_cryptohash_final(ctx, digest, PG_SHA256_DIGEST_LENGTH) < 0)
	{
		pg_cryptohash_free(ctx);
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the hash of a token")));
	}
	pg_cryptohash_free(ctx);
}

/* In a time that does not tell how much of it is right. */
static bool
same_digest(const uint8 *a, const uint8 *b)
{
	uint8		differences = 0;

	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		differences |= a[i] ^ b[i];
	return differences == 0;
}

static bool
is_sticky(void)
{
	return context_is_explicit() && context_extra != NULL && context_extra->sticky;
}

/* --- the context -------------------------------------------------------- */

const char *
context_tenant(void)
{
	if (context_is_explicit())
		return context_setting;
	return member_tenant();
}

HOT_PATH bool
context_allows(const text *tenant)
{
	const char *own = context_setting;

	if (!context_is_explicit())
	{
		if (likely(member_is_free()))
			return true;
		own = member_tenant();
		if (own == NULL)
			return member_may_work_for(tenant);
	}
	return strlen(own) == VARSIZE_ANY_EXHDR(tenant) &&
		memcmp(own, VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant)) == 0;
}

#define NOT_OWN_DETAIL "It belongs to the role of another tenant."

static char *
not_own_message(const char *tenant)
{
	return psprintf("role \"%s\" may not work for tenant \"%s\"",
					GetUserNameFromId(GetOuterUserId(), false), tenant);
}

/*
 * What a call for another tenant is told, after it was recorded.
 */
bool
context_refuse(const text *tenant, const char *function, EventError *error)
{
	Violation	violation = {0};
	char	   *name = text_to_cstring(tenant);
	const char *own = context_tenant();

	/* what is recorded may have it forgotten */
	if (own != NULL)
		own = pstrdup(own);
	if (setting_isolation != ISOLATION_OFF)
	{
		violation.command = function;
		violation.tenant = own;
		violation.foreign_tenant = name;
		violation.refused = true;
		violation_record(&violation);
	}
	if (own == NULL)
		return event_refuse(error, ERRCODE_INSUFFICIENT_PRIVILEGE, not_own_message(name),
							pstrdup(NOT_OWN_DETAIL), NULL);
	return event_refuse(error, ERRCODE_INSUFFICIENT_PRIVILEGE,
						psprintf("tenant \"%s\" is not the tenant of the context", name),
						psprintf("The session works for tenant \"%s\".", own),
						NULL);
}

HOT_PATH void
context_check(const text *tenant, Oid function)
{
	EventError	error;

	if (likely(tenant == NULL || context_allows(tenant)))
		return;
	(void) context_refuse(tenant, get_func_name(function), &error);
	event_throw(&error);
}

/* --- meter_set_tenant() ------------------------------------------------- */

/*
 * The search_path for a tenant, with the schema of our own functions.  An error
 * if there is no such tenant, or if the user may not work for it.
 */
static void
read_tenant(text *tenant, const char *own_schema, ContextExtra *extra)
{
	static SPIPlanPtr plan = NULL;
	OwnerScope	scope;
	Datum		args[1];
	char	   *schema = NULL;
	bool		found;

	/* the same for no tenant, so that nobody finds out what tenants there are */
	if (!member_may_work_for(tenant))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg_internal("%s", not_own_message(text_to_cstring(tenant))),
				 errdetail_internal(NOT_OWN_DETAIL)));
	owner_begin(&scope);
	owner_plan(&plan, "SELECT t.schema_name::text FROM meter.tenant AS t WHERE t.tenant = $1",
			   1, TEXTOID);
	args[0] = PointerGetDatum(tenant);
	if (SPI_execute_snapshot(plan, args, NULL, GetLatestSnapshot(), InvalidSnapshot,
							 true, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read meter.tenant");
	found = SPI_processed > 0;
	if (found)
		schema = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant \"%s\" does not exist", text_to_cstring(tenant)),
				 errhint("meter_create_tenant() makes one.")));
	snprintf(extra->search_path, sizeof(extra->search_path), "%s%s%s%s%s",
			 schema != NULL ? quote_identifier(schema) : "",
			 schema != NULL ? ", " : "", "public",
			 strcmp(own_schema, "public") != 0 ? ", " : "",
			 strcmp(own_schema, "public") != 0 ? quote_identifier(own_schema) : "");
	owner_end(&scope);
}

PG_FUNCTION_INFO_V1(meter_set_tenant);

Datum
meter_set_tenant(PG_FUNCTION_ARGS)
{
	text	   *token = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	bool		local = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	ContextExtra extra = {0};

	PreventCommandIfParallelMode("meter_set_tenant()");
	if (token != NULL && VARSIZE_ANY_EXHDR(token) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("token must not be empty")));
	if (token != NULL)
		digest_token(token, extra.digest);
	if (is_sticky() &&
		(token == NULL || !same_digest(extra.digest, context_extra->digest)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the context of tenant \"%s\" cannot be changed without its token",
						context_setting),
				 errhint("Give meter_set_tenant() the token with which the context was set.")));
	if (PG_ARGISNULL(0))
	{
		put_settings("", NULL, local, &extra);
		PG_RETURN_VOID();
	}
	extra.sticky = token != NULL;
	extra.local = local;
	read_tenant(PG_GETARG_TEXT_PP(0),
				get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid)),
				&extra);
	put_settings(text_to_cstring(PG_GETARG_TEXT_PP(0)), extra.search_path,
				 local, &extra);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(meter_current_tenant);

Datum
meter_current_tenant(PG_FUNCTION_ARGS)
{
	const char *tenant = context_tenant();

	if (tenant == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(tenant));
}

/* --- DISCARD ALL and RESET ALL ------------------------------------------ */

bool
context_is_reset_by(const Node *statement)
{
	if (IsA(statement, DiscardStmt))
		return ((const DiscardStmt *) statement)->target == DISCARD_ALL;
	return IsA(statement, VariableSetStmt) &&
		((const VariableSetStmt *) statement)->kind == VAR_RESET_ALL;
}

/*
 * Both pass over meter.tenant, but not over search_path.  A context that
 * anybody may change ends with them; a sticky one gets its search_path back.
 */
void
context_reset(void)
{
	if (!context_is_explicit())
		return;
	if (is_sticky())
		(void) set_config_option("search_path", context_extra->search_path,
								 PGC_USERSET, PGC_S_SESSION,
								 context_extra->local ? GUC_ACTION_LOCAL : GUC_ACTION_SET,
								 true, 0, false);
	else
	{
		ContextExtra none = {0};

		put_settings("", NULL, false, &none);
	}
}
