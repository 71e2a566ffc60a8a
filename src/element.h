/*
 * element.h
 *		An element of meter_track_batch().
 */
#ifndef METER_ELEMENT_H
#define METER_ELEMENT_H

#include "event.h"

typedef struct Element
{
	Event		event;			/* checked, if valid */
	bool		valid;
	EventError	error;			/* if not valid */
	Jsonb	   *source;			/* as it came */
} Element;

extern void element_read(Element *element, JsonbValue *value,
						 bool register_metric);
extern text *element_tenant(Jsonb *source);

#endif							/* METER_ELEMENT_H */
