/* From the elements of a boot configuration to what they stand for. What is not
 * there fails the check that is named. */
#ifndef ORACLE_RESOLVE_H
#define ORACLE_RESOLVE_H

#include "bcd.h"
#include "volume.h"

enum { MAX_PATH = 260, GUID = 16 };

/* guid is for the format %g. */
EFI_GUID *guid(bytes b);

/* append adds to a string in an array of size characters. */
void append(char *to, const char *s, size_t size);

void string_element(const char *check, const hive *store, const char *object,
		    const char *element, char *out, size_t size);

/* named_partition finds the partition that a decoded device names by GUIDs. */
void named_partition(const char *check, const bcd_device *device, partition *p);

/* device_element decodes a device of an object, and finds its partition. The
 * one booted from is esp. */
void device_element(const char *check, const hive *store, const char *object,
		    const char *element, const partition *esp, partition *p);

#endif
