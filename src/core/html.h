/*
 * html.h
 *		Text as it is written into a page of HTML.
 */
#ifndef METER_HTML_H
#define METER_HTML_H

#include <stddef.h>

/*
 * The most bytes that html_escape() writes for so many bytes of UTF-8, without
 * the terminating zero, of which there is none.
 */
#define HTML_MAX_ESCAPED(length) (8 * (length))

extern size_t html_escape(char *to, const char *from, size_t length);

#endif							/* METER_HTML_H */
