/* Reading a Boot Configuration Data store, which is a registry hive. */
#ifndef ORACLE_BCD_H
#define ORACLE_BCD_H

#include "regf.h"

/* BCD_GUID is the length of "{...}" with its NUL. */
enum { BCD_GUID = 39 };

#define BCD_BOOTMGR "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"

enum { BCD_OSLOADER = 0x10200003 };

/* The elements that the way to the kernel needs. */
#define BCD_DEVICE "11000001"
#define BCD_PATH "12000002"
#define BCD_DEFAULT "23000003" /* of the boot manager */
#define BCD_OSDEVICE "21000001" /* of an OS loader */
#define BCD_SYSTEMROOT "22000002"

typedef struct {
	uint32_t type;       /* 6 = partition, the only one that is decoded */
	uint32_t style;      /* 0 = GPT, 1 = MBR */
	bytes partition, disk; /* the GUIDs, 16 bytes, if style is GPT */
} bcd_device;

enum { BCD_DEVICE_PARTITION = 6, BCD_STYLE_GPT = 0, BCD_STYLE_MBR = 1 };

/* bcd_object_type is the type of an object, 0 if there is no such object. */
uint32_t bcd_object_type(const hive *store, const char *object);

/* bcd_element gives the data of an element, which must be of the registry
 * type that its format is stored as. */
bool bcd_element(const hive *store, const char *object, const char *element,
		 uint32_t type, bytes *data);

/* bcd_device_decode gives NULL, or why the element is not a well-formed
 * partition device on a GPT disk. */
const char *bcd_device_decode(bytes element, bcd_device *device);

#endif
