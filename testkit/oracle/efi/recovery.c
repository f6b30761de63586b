#include "recovery.h"

#include "ntfs.h"
#include "report.h"
#include "resolve.h"

static ntfs other; /* too large for the stack */

/* on_volume checks that a device is a partition, with a file on it. */
static void on_volume(const char *check, const bcd_device *device, const char *path)
{
	const char *err;
	uint64_t size;
	partition p;

	if (device->type != BCD_DEVICE_PARTITION)
		fail(check, L"%a is not on a partition (type %d)", path, device->type);
	named_partition(check, device, &p);
	err = ntfs_open(&other, partition_read, &p);
	if (!err)
		err = ntfs_find(&other, path, &size);
	if (err)
		fail(check, L"%a on partition %d: %a", path, p.entry.number, err);
	ok(check, L"%a on partition %d %ld bytes", path, p.entry.number, size);
}

/* check_ramdisk checks a device of the loader of Windows RE: the archive that
 * it is made of, and the options for that. */
static void check_ramdisk(const char *check, const hive *store, const char *object, const char *element)
{
	char options[BCD_GUID], path[MAX_PATH];
	bcd_device device, source;
	const char *err;
	bytes data;

	if (!bcd_element(store, object, element, REG_BINARY, &data))
		fail(check, L"%a has no element %a", object, element);
	err = bcd_device_decode(data, &device);
	if (!err && device.type != BCD_DEVICE_RAMDISK)
		err = "is not a RAM disk";
	if (!err)
		err = bcd_descriptor_decode(device.source, &source);
	if (err)
		fail(check, L"element %a %a", element, err);
	ascii(device.path, path, sizeof path);
	on_volume(check, &source, path);

	bcd_guid_text(device.options, options);
	if (bcd_object_type(store, options) != BCD_DEVICE_OPTIONS)
		fail(check, L"%a are no options of a RAM disk", options);
	if (!bcd_element(store, options, BCD_SDI_DEVICE, REG_BINARY, &data))
		fail(check, L"%a has no element %a", options, BCD_SDI_DEVICE);
	err = bcd_device_decode(data, &device);
	if (err)
		fail(check, L"element %a %a (type %d)", BCD_SDI_DEVICE, err, device.type);
	string_element(check, store, options, BCD_SDI_PATH, path, sizeof path);
	on_volume(check, &device, path);
}

void check_recovery(const hive *store, const char *loader)
{
	char object[BCD_GUID];
	bytes data;

	if (!bcd_element(store, loader, BCD_RECOVERY_SEQUENCE, REG_MULTI_SZ, &data)) {
		ok("recovery", L"none");
		return;
	}
	ascii(data, object, sizeof object);
	if (bcd_object_type(store, object) != BCD_OSLOADER)
		fail("recovery", L"%a is no OS loader", object);
	ok("recovery", L"%a", object);
	check_ramdisk("recovery-device", store, object, BCD_DEVICE);
	check_ramdisk("recovery-osdevice", store, object, BCD_OSDEVICE);
}
