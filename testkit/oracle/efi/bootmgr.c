/* Stands in for bootmgfw.efi: goes the way from the firmware to the Windows
 * loader that Windows' boot manager goes, checks every step of it, and says
 * what it found. */
#include "ntfs.h"
#include "recovery.h"
#include "report.h"
#include "resolve.h"

#define BOOT_MANAGER L"\\EFI\\Microsoft\\Boot\\bootmgfw.efi"
#define FALLBACK L"\\EFI\\BOOT\\BOOTX64.EFI"
#define LETTER_FILE "\\drive-letter.txt" /* of the test disks' making */
#define STORE L"\\EFI\\Microsoft\\Boot\\BCD"

enum { MAX_LOADER = 64 << 20 };

/* Too large for the stack. */
static ntfs windows;
static ntfs other; /* any volume that is looked at in passing */

static void check_start(EFI_LOADED_IMAGE *image)
{
	CHAR16 *path = DevicePathToStr(image->FilePath);

	ok("started", L"%s (%a)", path,
	   StriCmp(path, FALLBACK) == 0 ? "fallback path: no boot entry in NVRAM" : "boot entry in NVRAM");
}

/* check_esp checks the partition that the firmware started this program from. */
static void check_esp(EFI_LOADED_IMAGE *image, partition *esp)
{
	const char *err = partition_open(image->DeviceHandle, esp);

	if (err)
		fail("esp", L"boot volume: %a", err);
	if (esp->entry.type.p != GPT_TYPE_ESP)
		fail("esp", L"partition %d is not of the type EFI System", esp->entry.number);
	ok("esp", L"partition %d {%g}", esp->entry.number, guid(esp->guid));
}

static void check_store(partition *esp, hive *store)
{
	bytes content;
	const char *err = file_read(esp->handle, STORE, &content);

	if (err)
		fail("bcd-file", L"%s: %a", STORE, err);
	ok("bcd-file", L"%s %d bytes", STORE, content.n);
	err = hive_open(store, content);
	if (err)
		fail("bcd-hive", L"sequence %d/%d: %a", store->primary, store->secondary, err);
	ok("bcd-hive", L"sequence %d/%d", store->primary, store->secondary);
}

static void check_bootmgr_object(const hive *store, partition *esp)
{
	char path[MAX_PATH];
	CHAR16 wide[MAX_PATH];
	partition device;
	bytes content;
	const char *err;

	device_element("bootmgr-device", store, BCD_BOOTMGR, BCD_DEVICE, esp, &device);
	if (!has(device.guid, 0, esp->guid.p, GUID))
		fail("bootmgr-device", L"{%g} is not the volume booted from", guid(device.guid));
	ok("bootmgr-device", L"the volume booted from");

	string_element("bootmgr-path", store, BCD_BOOTMGR, BCD_PATH, path, sizeof path);
	UnicodeSPrint(wide, sizeof wide, L"%a", path);
	if (StriCmp(wide, BOOT_MANAGER) != 0)
		fail("bootmgr-path", L"%s is not %s", wide, BOOT_MANAGER);
	err = file_read(esp->handle, wide, &content);
	if (err)
		fail("bootmgr-path", L"%s: %a", wide, err);
	ok("bootmgr-path", L"%s %d bytes", wide, content.n);
}

static void check_default(const hive *store, char *loader)
{
	uint32_t type;

	string_element("default", store, BCD_BOOTMGR, BCD_DEFAULT, loader, BCD_GUID);
	type = bcd_object_type(store, loader);
	if (type != BCD_OSLOADER)
		fail("default", L"%a has object type 0x%x, not that of an OS loader", loader, type);
	ok("default", L"%a", loader);
}

static void check_os_device(const hive *store, const char *loader, const partition *esp, partition *os)
{
	partition application;

	device_element("osloader-osdevice", store, loader, BCD_OSDEVICE, esp, os);
	if (os->entry.type.p != GPT_TYPE_BASIC_DATA)
		fail("osloader-osdevice", L"partition %d is not of the type basic data", os->entry.number);
	ok("osloader-osdevice", L"partition %d {%g} of disk {%g}", os->entry.number, guid(os->guid),
	   (EFI_GUID *)os->disk);
	device_element("osloader-device", store, loader, BCD_DEVICE, esp, &application);
	if (!has(application.guid, 0, os->guid.p, GUID))
		fail("osloader-device", L"{%g} is not the osdevice", guid(application.guid));
	ok("osloader-device", L"the osdevice");
}

static void check_volume(partition *os)
{
	const char *err = ntfs_open(&windows, partition_read, os);

	if (err)
		fail("os-volume", L"%a", err);
	ok("os-volume", L"NTFS, %d-byte clusters", windows.cluster);
}

/* read_file reads a file of the Windows volume. */
static bytes read_file(const char *check, const char *path)
{
	uint64_t size;
	uint8_t *buf;
	const char *err = ntfs_find(&windows, path, &size);

	if (err)
		fail(check, L"%a: %a", path, err);
	if (size == 0 || size > MAX_LOADER || !(buf = AllocatePool(size)))
		fail(check, L"%a: %ld bytes is no sensible size", path, size);
	err = ntfs_read_file(&windows, buf, size);
	if (err)
		fail(check, L"%a: %a", path, err);
	return bytes_of(buf, size);
}

static bytes check_loader(const hive *store, const char *loader, char *path, size_t size)
{
	bytes content;
	size_t n;

	string_element("osloader-path", store, loader, BCD_PATH, path, size);
	n = length(path);
	if (n < 4 || !same_name(bytes_of(path + n - 4, 4), 1, ".efi", 4))
		fail("osloader-path", L"%a is not an EFI program", path);
	content = read_file("osloader-path", path);
	ok("osloader-path", L"%a %d bytes", path, content.n);
	return content;
}

static void check_system_hive(const hive *store, const char *loader, hive *system)
{
	char path[MAX_PATH], name[32] = "?";
	const char *err;
	uint32_t type;
	bytes data;

	string_element("system-hive", store, loader, BCD_SYSTEMROOT, path, sizeof path);
	append(path, "\\System32\\config\\SYSTEM", sizeof path);
	err = hive_open(system, read_file("system-hive", path));
	if (err)
		fail("system-hive", L"%a: sequence %d/%d: %a", path, system->primary, system->secondary, err);
	if (hive_value(system, hive_key(system, "ControlSet001\\Control\\ComputerName\\ComputerName"),
		       "ComputerName", &type, &data))
		ascii(data, name, sizeof name);
	ok("system-hive", L"%a sequence %d/%d computer %a", path, system->primary, system->secondary, name);
}

/* lettered checks that a drive letter stands for a GPT partition. */
static void lettered(const char *check, const hive *system, char letter, const partition *p)
{
	char name[] = "\\DosDevices\\?:";
	uint32_t type;
	bytes data;

	name[sizeof name - 3] = letter;
	if (!hive_value(system, hive_key(system, "MountedDevices"), name, &type, &data))
		fail(check, L"no drive letter %c:", letter);
	if (data.n != 8 + GUID || !has(data, 0, "DMIO:ID:", 8))
		fail(check, L"%c: is no GPT partition (%d bytes)", letter, data.n);
	if (!has(data, 8, p->guid.p, GUID))
		fail(check, L"%c: is {%g}, not partition %d", letter, guid(tail(data, 8)), p->entry.number);
}

/* check_drive_letters checks that C: will be the partition booted from, and
 * that volumes have the letter that a file on them says they have. */
static void check_drive_letters(const hive *system, const partition *os)
{
	char letters[27 * 3] = "";
	partition p;

	lettered("mounted-devices", system, 'C', os);
	ok("mounted-devices", L"C: {%g}", guid(os->guid));
	for (UINTN at = 0; partition_next(&at, &p);) {
		char text[3] = "";
		uint64_t size;

		if (ntfs_open(&other, partition_read, &p) || ntfs_find(&other, LETTER_FILE, &size))
			continue;
		if (size != 2 || ntfs_read_file(&other, text, size) || text[1] != ':')
			fail("drive-letters", L"partition %d: %a cannot be read", p.entry.number, LETTER_FILE);
		if (p.entry.type.p != GPT_TYPE_BASIC_DATA)
			fail("drive-letters", L"%a partition %d is not of the type basic data", text, p.entry.number);
		lettered("drive-letters", system, text[0], &p);
		append(letters, text, sizeof letters);
		append(letters, " ", sizeof letters);
	}
	ok("drive-letters", L"%a", *letters ? letters : "none but C:");
}

static void start_loader(EFI_HANDLE self, const partition *os, const char *path, bytes content)
{
	CHAR16 wide[MAX_PATH];
	EFI_HANDLE image;
	EFI_STATUS status;

	UnicodeSPrint(wide, sizeof wide, L"%a", path);
	status = BS->LoadImage(FALSE, self, FileDevicePath(os->handle, wide), (VOID *)content.p, content.n, &image);
	if (EFI_ERROR(status))
		fail("load-image", L"%s: %r", wide, status);
	ok("load-image", L"%s", wide);
	status = BS->StartImage(image, NULL, NULL);
	if (EFI_ERROR(status))
		fail("start-image", L"%s: %r", wide, status);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system_table)
{
	char loader[BCD_GUID], path[MAX_PATH];
	EFI_LOADED_IMAGE *image;
	partition esp, os;
	bytes content;
	hive store, system;

	InitializeLib(self, system_table);
	if (EFI_ERROR(BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&image)))
		fail("started", L"firmware does not say from where");
	check_start(image);
	check_esp(image, &esp);
	check_store(&esp, &store);
	check_bootmgr_object(&store, &esp);
	check_default(&store, loader);
	check_os_device(&store, loader, &esp, &os);
	check_volume(&os);
	content = check_loader(&store, loader, path, sizeof path);
	check_system_hive(&store, loader, &system);
	check_drive_letters(&system, &os);
	check_recovery(&store, loader);
	start_loader(self, &os, path, content);
	pass();
}
