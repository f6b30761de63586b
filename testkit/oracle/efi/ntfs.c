#include "ntfs.h"

enum {
	SECTOR = 512, /* the unit of update sequences, whatever the disk's */

	MFT_RECORD_OF_MFT = 0,
	MFT_RECORD_OF_ROOT = 5,
	FILE_IN_USE = 1,

	ATTR_ATTRIBUTE_LIST = 0x20,
	ATTR_DATA = 0x80,
	ATTR_INDEX_ROOT = 0x90,
	ATTR_INDEX_ALLOCATION = 0xa0,
	ATTR_REPARSE_POINT = 0xc0,
	ATTR_END = 0xffffffff,
	ATTR_NOT_PLAIN = 0xc0ff, /* compressed, encrypted or sparse */

	INDEX_HEADER_IN_ROOT = 16,
	INDEX_HEADER_IN_BLOCK = 24,
	ENTRY_HAS_SUBNODE = 1,
	ENTRY_LAST = 2,

	MAX_PATH_DEPTH = 16,
	MAX_INDEX_BLOCKS = 16384,
};

/* fix_up undoes the update sequence: the last two bytes of each sector were
 * replaced by a number that must be the same everywhere. */
static bool fix_up(uint8_t *block, size_t size)
{
	bytes b = bytes_of(block, size);
	size_t array = u16(b, 4), count = u16(b, 6);

	if (count != size / SECTOR + 1 || cut(b, array, 2 * count).n == 0 || array + 2 * count > SECTOR - 2)
		return false;
	for (size_t i = 1; i < count; i++) {
		size_t at = i * SECTOR - 2;

		if (u16(b, at) != u16(b, array))
			return false;
		block[at] = b.p[array + 2 * i];
		block[at + 1] = b.p[array + 2 * i + 1];
	}
	return true;
}

/* attribute finds the attribute of a file record that has this type and, for
 * the indexes of directories, the name $I30; empty if there is none. */
static bytes attribute(bytes record, uint32_t type)
{
	static const uint8_t i30[] = {'$', 0, 'I', 0, '3', 0, '0', 0};
	bool named = type == ATTR_INDEX_ROOT || type == ATTR_INDEX_ALLOCATION;
	size_t at = u16(record, 20);

	for (;;) {
		uint32_t t = u32(record, at), size = u32(record, at + 4);
		bytes a = cut(record, at, size);

		if (t == ATTR_END || size < 24 || a.n == 0)
			return (bytes){NULL, 0};
		if (t == type && named == (u8(a, 9) == 4 && has(a, u16(a, 10), i30, sizeof i30)) &&
		    (named || u8(a, 9) == 0))
			return a;
		at += size;
	}
}

static bool resident(bytes attr)
{
	return u8(attr, 8) == 0;
}

static bytes resident_value(bytes attr)
{
	return cut(attr, u16(attr, 20), u32(attr, 16));
}

static uint64_t nonresident_size(bytes attr)
{
	return u64(attr, 48);
}

/* read_runs reads n bytes at off of a non-resident attribute. */
static bool read_runs(ntfs *v, bytes attr, uint64_t off, uint8_t *out, size_t n)
{
	bytes runs = tail(attr, u16(attr, 32));
	uint64_t clusters = v->volume_bytes / v->cluster;
	uint64_t begin = 0; /* of this run, in bytes of the attribute */
	int64_t lcn = 0;
	size_t at = 0;

	while (n > 0) {
		size_t length_width = u8(runs, at) & 15, lcn_width = u8(runs, at) >> 4;
		uint64_t count = le(runs, at + 1, length_width);
		int64_t delta = (int64_t)le(runs, at + 1 + length_width, lcn_width);
		uint64_t size, chunk;

		/* No lcn: a hole, which a plain attribute does not have. */
		if (length_width == 0 || length_width > 8 || lcn_width == 0 || lcn_width > 8)
			return false;
		if (lcn_width < 8 && delta >> (8 * lcn_width - 1) & 1)
			delta -= (int64_t)1 << (8 * lcn_width);
		if (__builtin_add_overflow(lcn, delta, &lcn) || lcn < 0 || count == 0 ||
		    count > clusters || (uint64_t)lcn > clusters - count)
			return false;
		size = count * v->cluster;
		if (off - begin < size) {
			chunk = size - (off - begin);
			if (chunk > n)
				chunk = n;
			if (!v->read(v->context, (uint64_t)lcn * v->cluster + (off - begin), out, chunk))
				return false;
			out += chunk;
			off += chunk;
			n -= chunk;
		}
		begin += size;
		at += 1 + length_width + lcn_width;
	}
	return true;
}

/* read_record makes the numbered file record the current one. */
static const char *read_record(ntfs *v, uint64_t number)
{
	bytes data = attribute(bytes_of(v->mft, v->record), ATTR_DATA);

	if (resident(data) || number >= nonresident_size(data) / v->record)
		return "file record number beyond the MFT";
	if (!read_runs(v, data, number * v->record, v->file, v->record))
		return "file record cannot be read";
	if (!has(bytes_of(v->file, v->record), 0, "FILE", 4) || !fix_up(v->file, v->record))
		return "file record is damaged";
	if (!(u16(bytes_of(v->file, v->record), 22) & FILE_IN_USE))
		return "file record is not in use";
	return NULL;
}

/* Sizes in the boot sector: positive in clusters, negative as a power of two. */
static uint32_t size_field(uint8_t field, uint32_t cluster)
{
	int8_t n = (int8_t)field;

	if (n > 0)
		return (uint32_t)n * cluster;
	return n < 0 && n > -31 ? (uint32_t)1 << -n : 0;
}

static bool power_of_two(uint32_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

const char *ntfs_open(ntfs *v, ntfs_read_at *read, void *context)
{
	uint8_t sector[SECTOR];
	bytes boot = bytes_of(sector, sizeof sector);
	uint32_t sector_size, per_cluster;
	uint64_t sectors;
	bytes mft;

	v->read = read;
	v->context = context;
	if (!read(context, 0, sector, sizeof sector))
		return "boot sector cannot be read";
	if (!has(boot, 3, "NTFS    ", 8))
		return "volume is not NTFS";
	sector_size = u16(boot, 11);
	per_cluster = u8(boot, 13) <= 128 ? u8(boot, 13) : size_field(u8(boot, 13), 0);
	v->cluster = per_cluster <= 4096 ? sector_size * per_cluster : 0;
	v->record = size_field(u8(boot, 64), v->cluster);
	v->index_block = size_field(u8(boot, 68), v->cluster);
	v->mft_lcn = u64(boot, 48);
	sectors = u64(boot, 40);
	if (!power_of_two(sector_size) || sector_size < SECTOR || sector_size > 4096 ||
	    !power_of_two(v->cluster) || v->cluster > 2 << 20)
		return "boot sector gives an impossible cluster size";
	if (!power_of_two(v->record) || v->record < 2 * SECTOR || v->record > NTFS_MAX_RECORD ||
	    !power_of_two(v->index_block) || v->index_block < SECTOR || v->index_block > NTFS_MAX_INDEX_BLOCK)
		return "boot sector gives an impossible record size";
	if (sectors == 0 || sectors > INT64_MAX / sector_size)
		return "boot sector gives an impossible volume size";
	v->volume_bytes = sectors * sector_size;
	if (v->mft_lcn >= v->volume_bytes / v->cluster)
		return "MFT lies beyond the end of the volume";

	mft = bytes_of(v->mft, v->record);
	if (!read(context, v->mft_lcn * v->cluster, v->mft, v->record))
		return "MFT cannot be read";
	if (!has(mft, 0, "FILE", 4) || !fix_up(v->mft, v->record))
		return "MFT is damaged";
	if (attribute(mft, ATTR_ATTRIBUTE_LIST).n)
		return "MFT has an attribute list, which this reader does not follow";
	if (attribute(mft, ATTR_DATA).n == 0 || resident(attribute(mft, ATTR_DATA)))
		return "MFT has no data";
	return NULL;
}

/* search_node looks for a name in one node of a directory's index, and puts
 * the nodes below it on the pending list. */
static uint64_t search_node(ntfs *v, bytes node, const char *name, size_t n, size_t *pending)
{
	bytes entries = cut(node, 0, u32(node, 4));
	size_t at = u32(node, 0);

	for (;;) {
		size_t size = u16(entries, at + 8);
		uint16_t flags = u16(entries, at + 12);
		bytes e = cut(entries, at, size);

		if (size < 16 || e.n == 0)
			return 0;
		if (flags & ENTRY_HAS_SUBNODE && *pending < NTFS_MAX_PENDING)
			v->pending[(*pending)++] = u64(e, size - 8);
		if (flags & ENTRY_LAST)
			return 0;
		if (same_name(cut(e, 16 + 66, 2 * (size_t)u8(e, 16 + 64)), 2, name, n))
			return u64(e, 0) & 0xffffffffffff;
		at += size;
	}
}

/* find_entry searches the directory that is the current file. The order of
 * names is not relied on: every node of the tree is read. */
static const char *find_entry(ntfs *v, const char *name, size_t n, uint64_t *number)
{
	bytes record = bytes_of(v->file, v->record);
	bytes root = attribute(record, ATTR_INDEX_ROOT);
	bytes allocation = attribute(record, ATTR_INDEX_ALLOCATION);
	/* A block is numbered in clusters, or in sectors if it is smaller. */
	uint64_t unit = v->index_block < v->cluster ? SECTOR : v->cluster;
	uint64_t blocks = resident(allocation) ? 0 : nonresident_size(allocation) / v->index_block;
	size_t pending = 0;

	if (attribute(record, ATTR_ATTRIBUTE_LIST).n)
		return "directory has an attribute list, which this reader does not follow";
	if (root.n == 0 || !resident(root))
		return "path goes through something that is not a directory";
	*number = search_node(v, tail(resident_value(root), INDEX_HEADER_IN_ROOT), name, n, &pending);
	/* Each block is read at most once in a sound tree: bounds a cycle. */
	for (uint64_t reads = 0; *number == 0 && pending > 0; reads++) {
		uint64_t vcn = v->pending[--pending];
		bytes block = bytes_of(v->index, v->index_block);

		if (reads >= blocks || reads >= MAX_INDEX_BLOCKS || vcn > nonresident_size(allocation) / unit)
			return "directory index is damaged";
		if (!read_runs(v, allocation, vcn * unit, v->index, v->index_block) ||
		    !has(block, 0, "INDX", 4) || !fix_up(v->index, v->index_block))
			return "directory index block is damaged";
		*number = search_node(v, tail(block, INDEX_HEADER_IN_BLOCK), name, n, &pending);
	}
	return *number ? NULL : "no such file";
}

const char *ntfs_find(ntfs *v, const char *path, uint64_t *size)
{
	const char *err = read_record(v, MFT_RECORD_OF_ROOT);
	bytes record = bytes_of(v->file, v->record), data;

	for (int depth = 0; !err && *path; depth++) {
		uint64_t number;
		size_t n = 0;

		if (*path == '\\')
			path++;
		while (path[n] && path[n] != '\\')
			n++;
		if (n == 0 || depth == MAX_PATH_DEPTH)
			return "path is malformed";
		err = find_entry(v, path, n, &number);
		if (!err)
			err = read_record(v, number);
		path += n;
	}
	if (err)
		return err;
	if (attribute(record, ATTR_ATTRIBUTE_LIST).n)
		return "file has an attribute list, which this reader does not follow";
	if (attribute(record, ATTR_REPARSE_POINT).n)
		return "file is a reparse point (compressed by WOF, or a link)";
	data = attribute(record, ATTR_DATA);
	if (data.n == 0)
		return "file has no data";
	if (u16(data, 12) & ATTR_NOT_PLAIN)
		return "file is compressed, encrypted or sparse";
	*size = resident(data) ? resident_value(data).n : nonresident_size(data);
	if (*size > v->volume_bytes)
		return "file is larger than its volume";
	return NULL;
}

const char *ntfs_read_file(ntfs *v, void *buf, uint64_t size)
{
	bytes data = attribute(bytes_of(v->file, v->record), ATTR_DATA);
	uint8_t *out = buf;

	if (!resident(data)) {
		/* What was never written is zero, whatever the disk holds. */
		uint64_t written = u64(data, 56) < size ? u64(data, 56) : size;

		for (uint64_t i = written; i < size; i++)
			out[i] = 0;
		return read_runs(v, data, 0, out, written) ? NULL : "file cannot be read";
	}
	if (resident_value(data).n != size)
		return "file size is not the one that was found";
	for (uint64_t i = 0; i < size; i++)
		out[i] = resident_value(data).p[i];
	return NULL;
}
