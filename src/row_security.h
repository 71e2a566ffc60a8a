/*
 * row_security.h
 *		Whose rows of meter's own tables a user sees.
 */
#ifndef METER_ROW_SECURITY_H
#define METER_ROW_SECURITY_H

#include "utils/array.h"

/* May the role see what is of all tenants? */
extern bool row_security_sees_all(Oid user);

/* The tenants whose rows the current user sees now, or NULL for all. */
extern ArrayType *row_security_tenants(void);

/* Is the tenant among them? */
extern bool row_security_shows(ArrayType *tenants, const char *tenant, int length);

#endif							/* METER_ROW_SECURITY_H */
