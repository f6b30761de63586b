#include "bcd.h"

/* Layout of a device element: the GUID of additional options, then the device
 * descriptor, whose size counts from its own beginning. */
enum {
	TYPE_AT = 0x10,
	SIZE_AT = 0x18,
	PARTITION_AT = 0x20,
	LOCAL_DEVICE_AT = 0x30, /* 0 = a disk */
	STYLE_AT = 0x34,
	DISK_AT = 0x38,

	PARTITION_DESCRIPTOR = 0x48,
	GUID = 16,
};

/* object_key finds \Objects\<object>\<child>. */
static bytes object_key(const hive *store, const char *object, const char *child)
{
	char path[128];
	const char *parts[] = {"Objects\\", object, "\\", child};
	size_t at = 0;

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (const char *s = parts[i]; *s; s++) {
			if (at + 1 == sizeof path)
				return (bytes){NULL, 0};
			path[at++] = *s;
		}
	path[at] = 0;
	return hive_key(store, path);
}

uint32_t bcd_object_type(const hive *store, const char *object)
{
	uint32_t type;
	bytes data;

	if (!hive_value(store, object_key(store, object, "Description"), "Type", &type, &data) ||
	    type != REG_DWORD)
		return 0;
	return u32(data, 0);
}

bool bcd_element(const hive *store, const char *object, const char *element,
		 uint32_t type, bytes *data)
{
	char child[32] = "Elements\\";
	size_t at = length(child);
	uint32_t found;

	for (; *element && at + 1 < sizeof child; element++)
		child[at++] = *element;
	child[at] = 0;
	return hive_value(store, object_key(store, object, child), "Element", &found, data) &&
	       found == type;
}

const char *bcd_device_decode(bytes element, bcd_device *device)
{
	device->type = u32(element, TYPE_AT);
	if (device->type != BCD_DEVICE_PARTITION)
		return "is not a partition device";
	if (u32(element, SIZE_AT) != PARTITION_DESCRIPTOR ||
	    element.n < TYPE_AT + PARTITION_DESCRIPTOR)
		return "is a partition device of the wrong size";
	device->style = u32(element, STYLE_AT);
	if (device->style == BCD_STYLE_MBR)
		return "still names an MBR partition";
	if (device->style != BCD_STYLE_GPT || u32(element, LOCAL_DEVICE_AT) != 0)
		return "is of an unknown partition style";
	device->partition = cut(element, PARTITION_AT, GUID);
	device->disk = cut(element, DISK_AT, GUID);
	return NULL;
}
