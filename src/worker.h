/*
 * worker.h
 *		The background processes.
 */
#ifndef METER_WORKER_H
#define METER_WORKER_H

#include "postmaster/bgworker.h"

#include "shared.h"

extern void launcher_init(void);
extern bool worker_start(Oid database, SharedWorker kind,
						 BackgroundWorkerHandle **handle);

#endif							/* METER_WORKER_H */
