/*
 * listen.h
 *		Who may LISTEN to channel "meter".
 */
#ifndef METER_LISTEN_H
#define METER_LISTEN_H

extern void listen_init(void);

#endif							/* METER_LISTEN_H */
