/* The partitions and files that the firmware offers. */
#ifndef ORACLE_VOLUME_H
#define ORACLE_VOLUME_H

#include <efi.h>
#include <efilib.h>

#include "gpt.h"

typedef struct {
	EFI_HANDLE handle;
	HARDDRIVE_DEVICE_PATH *node; /* of its device path */
	bytes guid;                  /* inside the node */
	gpt_entry entry;
	uint8_t disk[16];            /* GUID of the disk */
} partition;

/* partition_open finds the GPT partition that a handle stands for, and reads
 * its entry in both tables of its disk. NULL, or the reason of the failure. */
const char *partition_open(EFI_HANDLE handle, partition *p);

/* partition_find does so by the GUID, among all that the firmware knows. */
const char *partition_find(bytes guid, partition *p);

/* partition_next opens the GPT partitions that the firmware knows, one after the
 * other; *at is 0 for the first. It skips those that cannot be opened. */
bool partition_next(UINTN *at, partition *p);

/* partition_read is a ntfs_read_at; context is the partition. */
bool partition_read(void *context, uint64_t off, void *buf, size_t n);

/* file_read reads a whole file of a volume that the firmware can read. */
const char *file_read(EFI_HANDLE volume, CHAR16 *path, bytes *content);

#endif
