/* What the oracle says: one line a check, on every serial port and on the
 * graphics console.
 *
 *	ORACLE ok <check> <detail>
 *	ORACLE FAIL <check> <reason>
 *	ORACLE VERDICT PASS | ORACLE VERDICT FAIL <check>
 *
 * The serial ports are written to directly: the firmware's own console breaks
 * long lines and puts escape sequences between them. */
#ifndef ORACLE_REPORT_H
#define ORACLE_REPORT_H

#include <efi.h>
#include <efilib.h>

void ok(const char *check, const CHAR16 *format, ...);

/* fail ends the run: it gives the verdict and powers the machine off. */
_Noreturn void fail(const char *check, const CHAR16 *format, ...);

_Noreturn void pass(void);

#endif
