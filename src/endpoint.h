/*
 * endpoint.h
 *		Endpoints of events.
 */
#ifndef METER_ENDPOINT_H
#define METER_ENDPOINT_H

/*
 * The form in which an endpoint is stored: normalised if that is set, without
 * credentials and not too long.  NULL if nothing of it is left.
 */
extern text *endpoint_stored(text *endpoint);

#endif							/* METER_ENDPOINT_H */
