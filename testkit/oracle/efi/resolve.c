#include "resolve.h"

#include "ntfs.h"
#include "report.h"

static ntfs other; /* too large for the stack */

EFI_GUID *guid(bytes b)
{
	return (EFI_GUID *)b.p;
}

void string_element(const char *check, const hive *store, const char *object,
			   const char *element, char *out, size_t size)
{
	bytes data;

	if (!bcd_element(store, object, element, REG_SZ, &data))
		fail(check, L"%a has no element %a", object, element);
	ascii(data, out, size);
}

void named_partition(const char *check, const bcd_device *device, partition *p)
{
	const char *err = partition_find(device->partition, p);

	if (err)
		fail(check, L"{%g}: %a", guid(device->partition), err);
	if (!has(device->disk, 0, p->disk, GUID))
		fail(check, L"disk {%g} is not the GPT's {%g}", guid(device->disk), (EFI_GUID *)p->disk);
}

void append(char *to, const char *s, size_t size)
{
	size_t at = length(to);

	while (*s && at + 1 < size)
		to[at++] = *s++;
	to[at] = 0;
}

/* locate finds the one volume with the file that an element of the object
 * names; for a folder of Windows, a file is looked for that is always there. */
static void locate(const char *check, const hive *store, const char *object, uint32_t element, partition *p)
{
	char path[MAX_PATH];
	partition candidate;
	uint64_t size;
	int found = 0;

	if (element == 0x12000002) {
		string_element(check, store, object, BCD_PATH, path, sizeof path);
	} else if (element == 0x22000002) {
		string_element(check, store, object, BCD_SYSTEMROOT, path, sizeof path);
		append(path, "\\System32\\ntoskrnl.exe", sizeof path);
	} else {
		fail(check, L"is to be located by element %08x, which names no file", element);
	}
	for (UINTN at = 0; partition_next(&at, &candidate);)
		if (!ntfs_open(&other, partition_read, &candidate) && !ntfs_find(&other, path, &size)) {
			*p = candidate;
			found++;
		}
	if (found != 1)
		fail(check, L"%a is to be located, and is on %d volumes", path, found);
}

void device_element(const char *check, const hive *store, const char *object,
			   const char *element, const partition *esp, partition *p)
{
	bcd_device device;
	const char *err;
	bytes data;

	if (!bcd_element(store, object, element, REG_BINARY, &data))
		fail(check, L"%a has no element %a", object, element);
	err = bcd_device_decode(data, &device);
	if (err)
		fail(check, L"element %a %a (type %d)", element, err, device.type);
	switch (device.type) {
	case BCD_DEVICE_PARTITION:
		named_partition(check, &device, p);
		break;
	case BCD_DEVICE_BOOT:
		*p = *esp;
		break;
	case BCD_DEVICE_LOCATE:
		locate(check, store, object, device.element, p);
		break;
	default:
		fail(check, L"element %a is a RAM disk", element);
	}
}
