package seedsource

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"imageport/appliance/seedsource/media"
	"imageport/job/seed"
)

// errNotThere is what a source says that exists but has no seed.
var errNotThere = errors.New("not there")

// fwCfg reads the file that QEMU was given with -fw_cfg, by the driver
// qemu_fw_cfg.
func fwCfg(_ context.Context, env Env) ([]byte, error) {
	dir := filepath.Join(env.Sys, "firmware/qemu_fw_cfg")
	raw, err := readFile(filepath.Join(dir, "by_name", media.FwCfg, "raw"), seed.MaxBytes)
	if !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	if _, err := readFile(filepath.Join(dir, "rev"), 64); err != nil {
		return nil, errors.New("no such device")
	}
	return nil, errNotThere
}

// maxTable bounds the table of SMBIOS, which is 64 KiB or less up to version 2
// and has no limit of its own since.
const maxTable = 1 << 20

// smbios looks for the OEM string. It reads the whole table, which the kernel
// shows without a driver.
func smbios(_ context.Context, env Env) ([]byte, error) {
	table, err := readFile(filepath.Join(env.Sys, "firmware/dmi/tables/DMI"), maxTable)
	if errors.Is(err, ErrMalformed) {
		return nil, errors.New("a table of more than 1 MiB")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no table")
	}
	if err != nil {
		return nil, err
	}
	for _, s := range oemStrings(table) {
		if text, is := strings.CutPrefix(s, media.OEMPrefix); is {
			return decode(text)
		}
	}
	return nil, errors.New("no such OEM string")
}

// Structure types of SMBIOS (DSP0134 7).
const (
	smbiosOEMStrings = 11
	smbiosEnd        = 127
	// smbiosHeader is the type, the length of the formatted area with this
	// header, and a handle of two bytes.
	smbiosHeader = 4
)

// oemStrings gives the strings of every OEM Strings structure (DSP0134 7.12) in
// a table. It stops where the table is broken or ends: other tools' strings are
// no matter of ours.
func oemStrings(table []byte) []string {
	var found []string
	for len(table) >= smbiosHeader {
		kind, formatted := table[0], int(table[1])
		if kind == smbiosEnd || formatted < smbiosHeader || formatted > len(table) {
			break
		}
		// The strings end in a NUL each, the set in one more; a structure without
		// strings ends in two (DSP0134 6.1.3).
		set, rest, whole := bytes.Cut(table[formatted:], []byte{0, 0})
		if !whole {
			break
		}
		if kind == smbiosOEMStrings && len(set) > 0 {
			found = append(found, strings.Split(string(set), "\x00")...)
		}
		table = rest
	}
	return found
}
