/*
 * member.h
 *		To which tenants' roles does the user belong?
 */
#ifndef METER_MEMBER_H
#define METER_MEMBER_H

extern void member_init(void);

/*
 * The only tenant whose role the user is or belongs to; NULL if there is none
 * or more than one, or if it cannot be looked at now.  Not to be kept.
 */
extern const char *member_tenant(void);

/*
 * Does the user belong to no tenant's role, so that he may work for any?  True
 * also if it cannot be looked at now.
 */
extern bool member_is_free(void);

/* False for a tenant that is none of those of a user who belongs to some. */
extern bool member_may_work_for(const text *tenant);

/* meter.tenant is being read for that */
extern bool member_busy;

#endif							/* METER_MEMBER_H */
