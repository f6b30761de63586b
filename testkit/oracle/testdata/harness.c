/* Runs the oracle's readers on the host, under the sanitizers: once on the
 * data as it is, printing what they find, then often on damaged copies.
 *
 *	harness regf HIVE ROUNDS
 *	harness ntfs VOLUME PATH ROUNDS
 *	harness gpt DISK GUID-AS-HEX ROUNDS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bcd.h"
#include "gpt.h"
#include "ntfs.h"

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static uint8_t *original;
static size_t original_size;

static void load(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f || fseek(f, 0, SEEK_END))
		abort();
	original_size = ftell(f);
	rewind(f);
	original = malloc(original_size);
	if (fread(original, 1, original_size, f) != original_size)
		abort();
	fclose(f);
}

/* damage changes a few bytes, mostly to the values that hurt. */
static void damage(uint8_t *buf, size_t n)
{
	static const uint8_t nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

	for (uint64_t i = 1 + random_below(4); i > 0 && n > 0; i--) {
		size_t at = random_below(n), run = 1 + random_below(4);
		uint8_t v = random_below(2) ? nasty[random_below(sizeof nasty)] : random_below(256);

		while (run-- > 0 && at < n)
			buf[at++] = v;
	}
}

static void checksum(uint8_t *buf)
{
	uint32_t sum = 0, word;

	for (size_t i = 0; i < 508; i += 4) {
		memcpy(&word, buf + i, 4);
		sum ^= word;
	}
	memcpy(buf + 508, &sum, 4);
}

static void print_device(bytes data, bool print)
{
	char options[BCD_GUID], path[260];
	bcd_device device, source;
	const char *err = bcd_device_decode(data, &device);

	if (!err && device.type == BCD_DEVICE_RAMDISK) {
		bcd_guid_text(device.options, options);
		ascii(device.path, path, sizeof path);
		err = bcd_descriptor_decode(device.source, &source);
		if (print && !err)
			printf("RAM disk of %s, type %u, options %s\n", path, source.type, options);
	} else if (print && !err) {
		printf("%s %u, element %#x\n", device.partition.n ? "GPT partition" : "device", device.type, device.element);
	}
	if (print && err)
		printf("%s\n", err);
}

static void print_object(const hive *h, const char *object, bool print)
{
	static const char *elements[] = {BCD_DEVICE,  BCD_PATH,	      BCD_DEFAULT,    BCD_OSDEVICE,
					 BCD_SYSTEMROOT, BCD_SDI_DEVICE, BCD_SDI_PATH};
	char path[260];
	bytes data;

	for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
		if (bcd_element(h, object, elements[i], REG_SZ, &data)) {
			ascii(data, path, sizeof path);
			if (print)
				printf("%s %s\n", elements[i], path);
		}
		if (bcd_element(h, object, elements[i], REG_BINARY, &data)) {
			if (print)
				printf("%s ", elements[i]);
			print_device(data, print);
		}
	}
}

static void regf(const uint8_t *buf, size_t n, bool print)
{
	char loader[BCD_GUID] = "", recovery[BCD_GUID] = "";
	const char *err;
	bytes data;
	hive h;

	err = hive_open(&h, bytes_of(buf, n));
	if (print)
		printf("open %s\n", err ? err : "ok");
	if (err)
		return;
	if (bcd_element(&h, BCD_BOOTMGR, BCD_DEFAULT, REG_SZ, &data))
		ascii(data, loader, sizeof loader);
	if (print)
		printf("default %s type %#x\n", loader, bcd_object_type(&h, loader));
	print_object(&h, loader, print);
	if (bcd_element(&h, loader, BCD_RECOVERY_SEQUENCE, REG_MULTI_SZ, &data))
		ascii(data, recovery, sizeof recovery);
	if (print)
		printf("recovery %s type %#x\n", recovery, bcd_object_type(&h, recovery));
	print_object(&h, recovery, print);
}

static bool damaged;

static bool read_volume(void *context, uint64_t off, void *buf, size_t n)
{
	(void)context;
	if (off > original_size || n > original_size - off)
		return false;
	memcpy(buf, original + off, n);
	if (damaged && random_below(3) == 0)
		damage(buf, n);
	return true;
}

static void volume(const char *path, bool print)
{
	ntfs *v = malloc(sizeof *v);
	uint64_t size = 0, sum = 0;
	const char *err = ntfs_open(v, read_volume, NULL);
	uint8_t *buf = NULL;

	if (!err)
		err = ntfs_find(v, path, &size);
	if (!err && size <= original_size) {
		buf = malloc(size);
		err = ntfs_read_file(v, buf, size);
	}
	for (uint64_t i = 0; !err && buf && i < size; i++)
		sum = sum * 31 + buf[i];
	if (print)
		printf("%s size %llu hash %llu\n", err ? err : "ok", (unsigned long long)size,
		       (unsigned long long)sum);
	free(buf);
	free(v);
}

static void table(const uint8_t *buf, size_t n, bytes guid, bool print)
{
	bytes disk = bytes_of(buf, n);
	gpt_header header;
	gpt_entry entry;
	const char *err = gpt_header_decode(cut(disk, 512, 512), 1, &header);

	if (!err)
		err = gpt_find(&header, cut(disk, 512 * header.entries_lba, gpt_entries_size(&header)), guid, &entry);
	if (!print)
		return;
	if (err)
		printf("%s\n", err);
	else
		printf("ok partition %u from %llu to %llu esp %d\n", entry.number, (unsigned long long)entry.first_lba,
		       (unsigned long long)entry.last_lba, has(entry.type, 0, GPT_TYPE_ESP, 16));
}

int main(int argc, char **argv)
{
	uint8_t guid[16] = {0};
	uint8_t *copy;
	int rounds;

	if (argc < 4)
		return 2;
	load(argv[2]);
	rounds = atoi(argv[argc - 1]);
	for (int i = 0; argc == 5 && i < 16; i++)
		sscanf(argv[3] + 2 * i, "%2hhx", &guid[i]);
	copy = malloc(original_size);
	for (int i = 0; i <= rounds; i++) {
		/* A copy of its exact size, so that the sanitizer sees its end. */
		size_t n = i == 0 || random_below(8) ? original_size : random_below(original_size);

		damaged = i > 0;
		if (strcmp(argv[1], "ntfs") == 0) {
			volume(argv[3], i == 0);
			continue;
		}
		copy = realloc(copy, n ? n : 1);
		memcpy(copy, original, n);
		if (damaged)
			damage(copy, random_below(2) && n > 4096 ? 4096 : n);
		if (strcmp(argv[1], "regf") == 0) {
			if (damaged && n > 512)
				checksum(copy);
			regf(copy, n, i == 0);
		} else {
			table(copy, n, bytes_of(guid, sizeof guid), i == 0);
		}
	}
	free(copy);
	free(original);
	return 0;
}
