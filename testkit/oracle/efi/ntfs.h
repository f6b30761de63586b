/* Finding and reading a file on an NTFS volume.
 *
 * Read by name, whole, and only plain files: no attribute lists, no
 * compressed, sparse, encrypted or reparse-point data, ASCII names. */
#ifndef ORACLE_NTFS_H
#define ORACLE_NTFS_H

#include "bytes.h"

enum { NTFS_MAX_RECORD = 4096, NTFS_MAX_INDEX_BLOCK = 65536, NTFS_MAX_PENDING = 1024 };

/* ntfs_read_at reads n bytes at off of the volume, all or nothing. */
typedef bool ntfs_read_at(void *context, uint64_t off, void *buf, size_t n);

typedef struct {
	ntfs_read_at *read;
	void *context;

	uint64_t volume_bytes;
	uint32_t cluster, record, index_block; /* sizes in bytes */
	uint64_t mft_lcn;

	uint8_t mft[NTFS_MAX_RECORD];  /* record 0, which maps the others */
	uint8_t file[NTFS_MAX_RECORD]; /* the record looked at */
	uint8_t index[NTFS_MAX_INDEX_BLOCK];
	uint64_t pending[NTFS_MAX_PENDING]; /* index blocks still to be searched */
} ntfs;

/* Each function gives NULL, or the reason of the failure. */
const char *ntfs_open(ntfs *v, ntfs_read_at *read, void *context);

/* ntfs_find makes the file with this path the current one ("\\a\\b", without
 * regard to case) and gives its size in bytes. */
const char *ntfs_find(ntfs *v, const char *path, uint64_t *size);

/* ntfs_read_file reads the current file, whose size ntfs_find gave. */
const char *ntfs_read_file(ntfs *v, void *buf, uint64_t size);

#endif
