#include "bcd.h"

/* Layout of a device element: the GUID of additional options, then the device
 * descriptor, whose size counts from its own beginning. */
enum {
	GUID = 16,

	TYPE_AT = 0x00,
	SIZE_AT = 0x08,
	PARTITION_AT = 0x10,
	LOCAL_DEVICE_AT = 0x20, /* 0 = a disk */
	STYLE_AT = 0x24,
	DISK_AT = 0x28,
	PARTITION_DESCRIPTOR = 0x48,

	STYLE_GPT = 0,
	STYLE_MBR = 1,

	LOCATED_ELEMENT_AT = 0x14,
	LOCATE_DESCRIPTOR = 0x1e,

	RAMDISK_KIND_AT = 0x10, /* of local devices */
	RAMDISK_KIND = 3,
	SOURCE_AT = 0x28, /* version, size from here, kind, a descriptor, a path */
	SOURCE_DESCRIPTOR = 12,
	SOURCE_VERSION = 1,
	SOURCE_FILE = 5,
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

static const char *partition_decode(bytes d, bcd_device *device)
{
	if (d.n != PARTITION_DESCRIPTOR)
		return "is a partition device of the wrong size";
	if (u32(d, STYLE_AT) == STYLE_MBR)
		return "still names an MBR partition";
	if (u32(d, STYLE_AT) != STYLE_GPT || u32(d, LOCAL_DEVICE_AT) != 0)
		return "is of an unknown partition style";
	device->partition = cut(d, PARTITION_AT, GUID);
	device->disk = cut(d, DISK_AT, GUID);
	return NULL;
}

static const char *ramdisk_decode(bytes d, bcd_device *device)
{
	bytes source = cut(d, SOURCE_AT, u32(d, SOURCE_AT + 4));

	if (u32(d, RAMDISK_KIND_AT) != RAMDISK_KIND)
		return "is a local device, but no RAM disk";
	if (source.n < SOURCE_DESCRIPTOR || u32(source, 0) != SOURCE_VERSION || u32(source, 8) != SOURCE_FILE)
		return "is a RAM disk that is made of no file";
	device->source = tail(source, SOURCE_DESCRIPTOR);
	device->path = tail(device->source, u32(device->source, SIZE_AT));
	if (device->path.n == 0)
		return "is a RAM disk that is made of a file without a name";
	return NULL;
}

const char *bcd_descriptor_decode(bytes descriptor, bcd_device *device)
{
	bytes d = cut(descriptor, 0, u32(descriptor, SIZE_AT));

	*device = (bcd_device){.type = u32(descriptor, TYPE_AT)};
	if (d.n == 0)
		return "is a device cut short";
	switch (device->type) {
	case BCD_DEVICE_PARTITION:
		return partition_decode(d, device);
	case BCD_DEVICE_BOOT:
		return NULL;
	case BCD_DEVICE_LOCATE:
		device->element = u32(d, LOCATED_ELEMENT_AT);
		return d.n == LOCATE_DESCRIPTOR ? NULL : "is a device to be located in a way that is not known";
	case BCD_DEVICE_RAMDISK:
		return ramdisk_decode(d, device);
	}
	return "is no device of a kind that is known";
}

const char *bcd_device_decode(bytes element, bcd_device *device)
{
	const char *err = bcd_descriptor_decode(tail(element, GUID), device);

	device->options = cut(element, 0, GUID);
	return err;
}

void bcd_guid_text(bytes guid, char text[BCD_GUID])
{
	/* In the order of the text; the first three groups are numbers. */
	static const uint8_t order[GUID] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	text[at++] = '{';
	for (size_t i = 0; i < GUID; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		text[at++] = digits[u8(guid, order[i]) >> 4];
		text[at++] = digits[u8(guid, order[i]) & 15];
	}
	text[at++] = '}';
	text[at] = 0;
}
