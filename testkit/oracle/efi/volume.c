#include "volume.h"

enum { MAX_BLOCK = 4096, MAX_FILE = 64 << 20 };

static bool disk_read(EFI_HANDLE handle, uint64_t off, void *buf, size_t n)
{
	EFI_BLOCK_IO *block;
	EFI_DISK_IO *disk;

	return !EFI_ERROR(BS->HandleProtocol(handle, &BlockIoProtocol, (VOID **)&block)) &&
	       !EFI_ERROR(BS->HandleProtocol(handle, &DiskIoProtocol, (VOID **)&disk)) &&
	       !EFI_ERROR(disk->ReadDisk(disk, block->Media->MediaId, off, n, buf));
}

bool partition_read(void *context, uint64_t off, void *buf, size_t n)
{
	return disk_read(((partition *)context)->handle, off, buf, n);
}

/* gpt_node is the node of a device path that says "this GPT partition". */
static HARDDRIVE_DEVICE_PATH *gpt_node(EFI_DEVICE_PATH *path)
{
	for (; path && !IsDevicePathEnd(path); path = NextDevicePathNode(path)) {
		HARDDRIVE_DEVICE_PATH *node = (HARDDRIVE_DEVICE_PATH *)path;

		if (DevicePathType(path) == MEDIA_DEVICE_PATH &&
		    DevicePathSubType(path) == MEDIA_HARDDRIVE_DP &&
		    node->SignatureType == SIGNATURE_TYPE_GUID)
			return node;
	}
	return NULL;
}

/* disk_of finds the whole disk that a partition lies on: the device whose
 * path is the partition's, up to the partition's own node. */
static EFI_HANDLE disk_of(EFI_HANDLE handle)
{
	EFI_DEVICE_PATH *path = DuplicateDevicePath(DevicePathFromHandle(handle));
	EFI_DEVICE_PATH *rest = path;
	EFI_HANDLE disk;
	EFI_STATUS status;

	SetDevicePathEndNode((EFI_DEVICE_PATH *)gpt_node(path));
	status = BS->LocateDevicePath(&BlockIoProtocol, &rest, &disk);
	FreePool(path);
	return EFI_ERROR(status) ? NULL : disk;
}

/* find_entry reads the table whose header is at lba, and the partition in it. */
static const char *find_entry(EFI_HANDLE disk, uint64_t lba, partition *p, gpt_header *header)
{
	static uint8_t block[MAX_BLOCK];
	EFI_BLOCK_IO *io;
	const char *err;
	uint8_t *entries;
	uint64_t block_size;
	size_t size;

	if (EFI_ERROR(BS->HandleProtocol(disk, &BlockIoProtocol, (VOID **)&io)))
		return "disk has no block interface";
	block_size = io->Media->BlockSize;
	if (block_size > sizeof block || lba > io->Media->LastBlock)
		return "GPT lies beyond the end of the disk";
	if (!disk_read(disk, lba * block_size, block, block_size))
		return "GPT header cannot be read";
	err = gpt_header_decode(bytes_of(block, block_size), lba, header);
	if (err)
		return err;
	if (header->entries_lba > io->Media->LastBlock)
		return "GPT entry array lies beyond the end of the disk";
	size = gpt_entries_size(header);
	entries = AllocatePool(size);
	if (!entries)
		return "no memory for the GPT entry array";
	if (disk_read(disk, header->entries_lba * block_size, entries, size))
		err = gpt_find(header, bytes_of(entries, size), p->guid, &p->entry);
	else
		err = "GPT entry array cannot be read";
	/* The entry's type is compared by the caller: keep a copy that stays. */
	if (!err)
		p->entry.type = has(p->entry.type, 0, GPT_TYPE_ESP, 16)		 ? bytes_of(GPT_TYPE_ESP, 16)
				: has(p->entry.type, 0, GPT_TYPE_BASIC_DATA, 16) ? bytes_of(GPT_TYPE_BASIC_DATA, 16)
										 : (bytes){NULL, 0};
	FreePool(entries);
	return err;
}

const char *partition_open(EFI_HANDLE handle, partition *p)
{
	EFI_HANDLE disk;
	gpt_header primary, backup;
	gpt_entry in_primary;
	const char *err;

	p->handle = handle;
	p->node = gpt_node(DevicePathFromHandle(handle));
	if (!p->node)
		return "is not a GPT partition";
	p->guid = bytes_of(p->node->Signature, sizeof p->node->Signature);
	disk = disk_of(handle);
	if (!disk)
		return "lies on a disk that the firmware does not know";
	err = find_entry(disk, 1, p, &primary);
	if (err)
		return err;
	in_primary = p->entry;
	CopyMem(p->disk, (VOID *)primary.disk.p, sizeof p->disk);
	err = find_entry(disk, primary.alternate_lba, p, &backup);
	if (err)
		return "backup GPT cannot be used";
	if (!has(backup.disk, 0, p->disk, sizeof p->disk) ||
	    p->entry.number != in_primary.number || p->entry.type.p != in_primary.type.p ||
	    p->entry.first_lba != in_primary.first_lba || p->entry.last_lba != in_primary.last_lba)
		return "backup GPT differs from the primary one";
	return NULL;
}

const char *partition_find(bytes guid, partition *p)
{
	const char *err = "partition GUID is none of the firmware's";
	EFI_HANDLE *handles;
	UINTN count;

	if (EFI_ERROR(LibLocateHandle(ByProtocol, &BlockIoProtocol, NULL, &count, &handles)))
		return "firmware offers no disk";
	for (UINTN i = 0; i < count; i++) {
		HARDDRIVE_DEVICE_PATH *node = gpt_node(DevicePathFromHandle(handles[i]));

		if (node && has(guid, 0, node->Signature, sizeof node->Signature)) {
			err = partition_open(handles[i], p);
			break;
		}
	}
	FreePool(handles);
	return err;
}

bool partition_next(UINTN *at, partition *p)
{
	static EFI_HANDLE *handles;
	static UINTN count;

	if (!handles && EFI_ERROR(LibLocateHandle(ByProtocol, &BlockIoProtocol, NULL, &count, &handles)))
		return false;
	while (*at < count) {
		EFI_HANDLE handle = handles[(*at)++];

		if (!partition_open(handle, p))
			return true;
	}
	return false;
}

const char *file_read(EFI_HANDLE volume, CHAR16 *path, bytes *content)
{
	EFI_FILE_HANDLE root = LibOpenRoot(volume), file;
	const char *err = NULL;
	EFI_FILE_INFO *info;
	UINT8 *buf = NULL;
	UINTN size;

	if (!root)
		return "volume cannot be opened";
	if (EFI_ERROR(root->Open(root, &file, path, EFI_FILE_MODE_READ, 0))) {
		root->Close(root);
		return "no such file";
	}
	info = LibFileInfo(file);
	if (!info || info->Attribute & EFI_FILE_DIRECTORY || info->FileSize > MAX_FILE)
		err = "not a file of a sensible size";
	else if (!(buf = AllocatePool(info->FileSize + 1)))
		err = "no memory";
	else {
		size = info->FileSize;
		if (EFI_ERROR(file->Read(file, &size, buf)) || size != info->FileSize)
			err = "file cannot be read";
		else
			*content = bytes_of(buf, size);
	}
	if (err && buf)
		FreePool(buf);
	if (info)
		FreePool(info);
	file->Close(file);
	root->Close(root);
	return err;
}
