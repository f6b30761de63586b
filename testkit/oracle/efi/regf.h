/* Reading registry hives (the "regf" format, versions 1.3 to 1.6). */
#ifndef ORACLE_REGF_H
#define ORACLE_REGF_H

#include "bytes.h"

enum { REG_SZ = 1, REG_BINARY = 3, REG_DWORD = 4, REG_MULTI_SZ = 7 };

typedef struct {
	bytes bins;             /* what cell offsets are relative to */
	uint32_t primary, secondary; /* sequence numbers: equal in a clean hive */
	uint32_t root;
} hive;

/* hive_open checks the base block. It gives NULL, or the reason to refuse.
 * Transaction logs are not replayed: a hive that needs them is refused. */
const char *hive_open(hive *h, bytes file);

/* hive_key finds a key by its path below the root, without regard to case;
 * the result is empty if there is none. */
bytes hive_key(const hive *h, const char *path);

/* hive_value finds a value of a key. Values above 16 KiB ("big data") are not
 * read. */
bool hive_value(const hive *h, bytes key, const char *name, uint32_t *type, bytes *data);

#endif
