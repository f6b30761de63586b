/* Reading a GUID partition table ([UEFI] 5.3). */
#ifndef ORACLE_GPT_H
#define ORACLE_GPT_H

#include "bytes.h"

enum { GPT_HEADER = 92 };

typedef struct {
	uint64_t alternate_lba;
	bytes disk;          /* GUID, points into the header block */
	uint64_t entries_lba;
	uint32_t entry_count, entry_size, entries_crc;
} gpt_header;

typedef struct {
	uint32_t number; /* from 1 */
	bytes type;
	uint64_t first_lba, last_lba;
} gpt_entry;

extern const uint8_t GPT_TYPE_ESP[16], GPT_TYPE_BASIC_DATA[16];

/* gpt_header_decode checks the header that was read from LBA lba; it gives
 * NULL or the reason to refuse. */
const char *gpt_header_decode(bytes block, uint64_t lba, gpt_header *header);

/* gpt_entries_size is the number of bytes to read at entries_lba. */
size_t gpt_entries_size(const gpt_header *header);

/* gpt_find looks for a partition by its GUID, after checking the array. */
const char *gpt_find(const gpt_header *header, bytes entries, bytes partition, gpt_entry *entry);

#endif
