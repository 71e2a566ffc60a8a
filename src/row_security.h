/*
 * row_security.h
 *		Whose rows of meter's own tables a user sees.
 */
#ifndef METER_ROW_SECURITY_H
#define METER_ROW_SECURITY_H

/* May the role see what is of all tenants? */
extern bool row_security_sees_all(Oid user);

#endif							/* METER_ROW_SECURITY_H */
