/*
 * listen.h
 *		Who may LISTEN to channel "meter".
 */
#ifndef METER_LISTEN_H
#define METER_LISTEN_H

#include "nodes/parsenodes.h"

/* An error if the user may not. */
extern void listen_check(const ListenStmt *listen);

#endif							/* METER_LISTEN_H */
