/* Reading a Boot Configuration Data store, which is a registry hive. */
#ifndef ORACLE_BCD_H
#define ORACLE_BCD_H

#include "regf.h"

/* BCD_GUID is the length of "{...}" with its NUL. */
enum { BCD_GUID = 39 };

#define BCD_BOOTMGR "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"

enum { BCD_OSLOADER = 0x10200003, BCD_DEVICE_OPTIONS = 0x30000000 };

/* The elements that the way to the kernel needs, and that to Windows RE. */
#define BCD_DEVICE "11000001"
#define BCD_PATH "12000002"
#define BCD_RECOVERY_SEQUENCE "14000008"
#define BCD_DEFAULT "23000003" /* of the boot manager */
#define BCD_OSDEVICE "21000001" /* of an OS loader */
#define BCD_SYSTEMROOT "22000002"
#define BCD_SDI_DEVICE "31000003" /* of the options of a RAM disk */
#define BCD_SDI_PATH "32000004"

typedef struct {
	uint32_t type;
	bytes partition, disk; /* of a GPT partition: GUIDs, 16 bytes */
	uint32_t element;      /* of a device to be located: what names the file */
	bytes options;         /* of a RAM disk: the GUID of an object with options, */
	bytes source;          /* the descriptor of the device that its file lies on, */
	bytes path;            /* and the file, in UTF-16 */
} bcd_device;

enum {
	BCD_DEVICE_RAMDISK = 0,
	BCD_DEVICE_BOOT = 5, /* the partition booted from */
	BCD_DEVICE_PARTITION = 6,
	BCD_DEVICE_LOCATE = 8,
};

/* bcd_object_type is the type of an object, 0 if there is no such object. */
uint32_t bcd_object_type(const hive *store, const char *object);

/* bcd_element gives the data of an element, which must be of the registry
 * type that its format is stored as. */
bool bcd_element(const hive *store, const char *object, const char *element,
		 uint32_t type, bytes *data);

/* bcd_device_decode decodes a device element, bcd_descriptor_decode the source
 * of a RAM disk. NULL, or why that is no well-formed device of a kind that is
 * known; an MBR partition is none. */
const char *bcd_device_decode(bytes element, bcd_device *device);
const char *bcd_descriptor_decode(bytes descriptor, bcd_device *device);

/* bcd_guid_text writes a GUID as "{...}", as objects are named. */
void bcd_guid_text(bytes guid, char text[BCD_GUID]);

#endif
