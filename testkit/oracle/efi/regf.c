#include "regf.h"

enum {
	BASE_BLOCK = 4096,
	CHECKSUM_AT = 508,

	NK_ASCII_NAME = 0x20, /* flag of a key: name in 1-byte characters */
	VK_ASCII_NAME = 0x01,
	VK_INLINE_DATA = 0x80000000,

	MAX_VALUES = 65536,
	MAX_PATH_DEPTH = 16,
};

static uint32_t base_block_checksum(bytes file)
{
	uint32_t sum = 0;

	for (size_t off = 0; off < CHECKSUM_AT; off += 4)
		sum ^= u32(file, off);
	if (sum == 0)
		return 1;
	return sum == 0xffffffff ? 0xfffffffe : sum;
}

const char *hive_open(hive *h, bytes file)
{
	*h = (hive){0};
	if (file.n < BASE_BLOCK || !has(file, 0, "regf", 4))
		return "not a registry hive";
	h->primary = u32(file, 4);
	h->secondary = u32(file, 8);
	if (h->primary != h->secondary)
		return "sequence numbers differ: the hive needs its transaction logs";
	if (u32(file, CHECKSUM_AT) != base_block_checksum(file))
		return "base block checksum is wrong";
	if (u32(file, 20) != 1 || u32(file, 24) < 3 || u32(file, 24) > 6)
		return "unknown hive version";
	h->root = u32(file, 36);
	h->bins = cut(file, BASE_BLOCK, u32(file, 40));
	if (h->bins.n == 0)
		return "hive bins reach beyond the end of the file";
	if (!has(h->bins, 0, "hbin", 4))
		return "first hive bin has no signature";
	return NULL;
}

/* cell gives the contents of an allocated cell, without its size field. */
static bytes cell(const hive *h, uint32_t off)
{
	int32_t size = (int32_t)u32(h->bins, off);

	if (size >= 0 || size == INT32_MIN || -size < 8)
		return (bytes){NULL, 0};
	return cut(h->bins, (size_t)off + 4, (size_t)-size - 4);
}

static bool key_is_named(bytes nk, const char *name, size_t n)
{
	size_t width = u16(nk, 2) & NK_ASCII_NAME ? 1 : 2;

	return has(nk, 0, "nk", 2) && same_name(cut(nk, 76, u16(nk, 72)), width, name, n);
}

/* find_in_list searches a list of sub-keys; ri lists hold other lists, one
 * level deep. */
static bytes find_in_list(const hive *h, bytes list, bool nested, const char *name, size_t n)
{
	size_t count = u16(list, 2);
	bool hashed = has(list, 0, "lf", 2) || has(list, 0, "lh", 2);
	bool plain = has(list, 0, "li", 2);
	bool index = has(list, 0, "ri", 2) && !nested;

	if (!hashed && !plain && !index)
		return (bytes){NULL, 0};
	for (size_t i = 0; i < count; i++) {
		bytes entry = cut(list, 4 + i * (hashed ? 8 : 4), 4);
		bytes found;

		if (entry.n == 0)
			break;
		found = cell(h, u32(entry, 0));
		if (index)
			found = find_in_list(h, found, true, name, n);
		else if (!key_is_named(found, name, n))
			continue;
		if (found.n != 0)
			return found;
	}
	return (bytes){NULL, 0};
}

bytes hive_key(const hive *h, const char *path)
{
	bytes key = cell(h, h->root);

	if (!has(key, 0, "nk", 2))
		return (bytes){NULL, 0};
	for (int depth = 0; *path && key.n && depth < MAX_PATH_DEPTH; depth++) {
		size_t n = 0;

		while (path[n] && path[n] != '\\')
			n++;
		key = find_in_list(h, cell(h, u32(key, 28)), false, path, n);
		path += path[n] ? n + 1 : n;
	}
	return *path ? (bytes){NULL, 0} : key;
}

bool hive_value(const hive *h, bytes key, const char *name, uint32_t *type, bytes *data)
{
	size_t count = u32(key, 36);
	bytes list = cell(h, u32(key, 40));

	if (!has(key, 0, "nk", 2) || count > MAX_VALUES || cut(list, 0, 4 * count).n == 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		bytes vk = cell(h, u32(list, 4 * i));
		size_t width = u16(vk, 16) & VK_ASCII_NAME ? 1 : 2;
		uint32_t size = u32(vk, 4);

		if (!has(vk, 0, "vk", 2) ||
		    !same_name(cut(vk, 20, u16(vk, 2)), width, name, length(name)))
			continue;
		*type = u32(vk, 12);
		if (size & VK_INLINE_DATA) {
			size &= ~VK_INLINE_DATA;
			*data = size <= 4 ? cut(vk, 8, size) : (bytes){NULL, 0};
		} else {
			*data = cut(cell(h, u32(vk, 8)), 0, size);
		}
		return data->n == size;
	}
	return false;
}
