#include "gpt.h"

enum { MIN_ENTRY = 128, MAX_ENTRY = 4096, MAX_ENTRIES = 1024, GUID = 16 };

/* c12a7328-f81f-11d2-ba4b-00a0c93ec93b */
const uint8_t GPT_TYPE_ESP[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
				  0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
/* ebd0a0a2-b9e5-4433-87c0-68b6b72699c7 */
const uint8_t GPT_TYPE_BASIC_DATA[16] = {0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44,
					 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7};

/* crc32 treats the bytes from hole to hole+4 as zero: the header's own field. */
static uint32_t crc32(bytes b, size_t hole)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < b.n; i++) {
		crc ^= i >= hole && i < hole + 4 ? 0 : b.p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

const char *gpt_header_decode(bytes block, uint64_t lba, gpt_header *header)
{
	uint32_t size = u32(block, 12);

	if (!has(block, 0, "EFI PART", 8))
		return "no GPT header";
	if (size < GPT_HEADER || size > block.n)
		return "GPT header of an impossible size";
	if (crc32(cut(block, 0, size), 16) != u32(block, 16))
		return "GPT header has a wrong CRC";
	if (u64(block, 24) != lba)
		return "GPT header names another LBA as its own";
	header->alternate_lba = u64(block, 32);
	header->disk = cut(block, 56, GUID);
	header->entries_lba = u64(block, 72);
	header->entry_count = u32(block, 80);
	header->entry_size = u32(block, 84);
	header->entries_crc = u32(block, 88);
	if (header->entry_count == 0 || header->entry_count > MAX_ENTRIES ||
	    header->entry_size < MIN_ENTRY || header->entry_size > MAX_ENTRY)
		return "GPT entry array of an impossible size";
	return NULL;
}

size_t gpt_entries_size(const gpt_header *header)
{
	return (size_t)header->entry_count * header->entry_size;
}

const char *gpt_find(const gpt_header *header, bytes entries, bytes partition, gpt_entry *entry)
{
	if (entries.n != gpt_entries_size(header) || partition.n != GUID)
		return "GPT entry array cut short";
	if (crc32(entries, SIZE_MAX - 4) != header->entries_crc)
		return "GPT entry array has a wrong CRC";
	for (uint32_t i = 0; i < header->entry_count; i++) {
		bytes e = cut(entries, (size_t)i * header->entry_size, header->entry_size);

		if (!has(e, 16, partition.p, GUID))
			continue;
		entry->number = i + 1;
		entry->type = cut(e, 0, GUID);
		entry->first_lba = u64(e, 32);
		entry->last_lba = u64(e, 40);
		return NULL;
	}
	return "partition GUID is not in the GPT";
}
