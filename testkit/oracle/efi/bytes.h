/* Bounds-checked access to bytes read from a disk.
 *
 * The readers of on-disk structures (regf.c, ntfs.c, bcd.c, gpt.c) touch those
 * bytes only through this header: reading outside a slice gives zero, cutting
 * outside it gives the empty slice. Malformed data can therefore make a check
 * fail, and nothing else. These files use no firmware service, so that the Go
 * test can also compile them for the host, under a sanitizer. */
#ifndef ORACLE_BYTES_H
#define ORACLE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	const uint8_t *p;
	size_t n;
} bytes;

static inline bytes bytes_of(const void *p, size_t n)
{
	return (bytes){p, n};
}

/* cut is b[off : off+n], or empty if that is not all inside b. */
static inline bytes cut(bytes b, size_t off, size_t n)
{
	if (off > b.n || n > b.n - off)
		return (bytes){NULL, 0};
	return (bytes){b.p + off, n};
}

/* tail is b[off:]. */
static inline bytes tail(bytes b, size_t off)
{
	return off > b.n ? (bytes){NULL, 0} : cut(b, off, b.n - off);
}

/* Little-endian numbers. */
static inline uint64_t le(bytes b, size_t off, size_t width)
{
	uint64_t v = 0;
	bytes field = cut(b, off, width);

	for (size_t i = field.n; i > 0; i--)
		v = v << 8 | field.p[i - 1];
	return v;
}

static inline uint8_t u8(bytes b, size_t off) { return le(b, off, 1); }
static inline uint16_t u16(bytes b, size_t off) { return le(b, off, 2); }
static inline uint32_t u32(bytes b, size_t off) { return le(b, off, 4); }
static inline uint64_t u64(bytes b, size_t off) { return le(b, off, 8); }

/* has tells whether the n bytes of want stand at off. */
static inline bool has(bytes b, size_t off, const void *want, size_t n)
{
	bytes field = cut(b, off, n);

	if (field.n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (field.p[i] != ((const uint8_t *)want)[i])
			return false;
	return true;
}

static inline uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
}

/* same_name compares a name of 1-byte or UTF-16LE characters with n ASCII
 * characters, without regard to case. */
static inline bool same_name(bytes name, size_t char_width, const char *want, size_t n)
{
	if (name.n != n * char_width)
		return false;
	for (size_t i = 0; i < n; i++)
		if (le(name, i * char_width, char_width) > 0x7f ||
		    lower(u8(name, i * char_width)) != lower(want[i]))
			return false;
	return true;
}

static inline size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* ascii writes UTF-16LE text, up to its NUL, as a C string of at most size-1
 * characters; what is not ASCII becomes '?'. */
static inline void ascii(bytes utf16, char *out, size_t size)
{
	size_t i = 0;

	for (; i + 1 < size && 2 * i + 1 < utf16.n; i++) {
		uint16_t c = u16(utf16, 2 * i);

		if (c == 0)
			break;
		out[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
	}
	out[i] = 0;
}

#endif
