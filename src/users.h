/*
 * users.h
 *		Sets of distinct users, to become hll values.
 */
#ifndef METER_USERS_H
#define METER_USERS_H

#include "fmgr.h"

/* The functions of the extension hll that are called for every event. */
typedef struct UsersLibrary
{
	FmgrInfo	hash_text;		/* hll_hash_text(text, integer) */
	FmgrInfo	empty;			/* hll_empty() */
	FmgrInfo	add;			/* hll_add(hll, hll_hashval) */
} UsersLibrary;

/* Distinct hashes: an open-addressed table without deletion. */
typedef struct Users
{
	int64	   *slots;			/* 0 marks a free slot */
	uint32		size;			/* a power of 2 */
	uint32		n;
	bool		has_zero;		/* 0 itself is a member */
} Users;

extern void users_library(UsersLibrary *library, Oid hll_type);
extern int64 users_hash(UsersLibrary *library, Datum user_id);
extern void users_add(Users *users, int64 hash);
extern void users_merge(Users *users, const Users *other);
extern bool users_empty(const Users *users);
extern Datum users_to_hll(UsersLibrary *library, const Users *users);

#endif							/* METER_USERS_H */
