/*
 * schema.h
 *		Whose schema is it?
 */
#ifndef METER_SCHEMA_H
#define METER_SCHEMA_H

/*
 * The tenant whose schema this is, or NULL.  Kept in the session until
 * meter.tenant or the schema changes; the string lives until the next call of
 * CommandCounterIncrement() or AcceptInvalidationMessages().
 */
extern const char *schema_tenant(Oid schema);
extern const char *schema_tenant_by_name(const char *schema);

/* Another one whenever what schema_tenant() has answered may be out of date. */
extern uint64 schema_changes;

/* meter.tenant is being read for this: then what is looked at is nobody's. */
extern bool schema_busy;

extern void schema_init(void);

#endif							/* METER_SCHEMA_H */
