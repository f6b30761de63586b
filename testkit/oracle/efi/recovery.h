/* What is started when Windows does not start. */
#ifndef ORACLE_RECOVERY_H
#define ORACLE_RECOVERY_H

#include "regf.h"

/* check_recovery checks the way from an OS loader to the files of Windows RE;
 * an OS loader need not have one. */
void check_recovery(const hive *store, const char *loader);

#endif
