package bootcheck

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"

	"imageport/job"
)

// Files on the EFI system partition that every Windows starts with. Firmware
// that knows no boot entries yet starts the first one (UEFI 3.5.1.1).
const (
	removablePath   = "EFI/Boot/bootx64.efi"
	bootManagerPath = "EFI/Microsoft/Boot/bootmgfw.efi"
	storePath       = "EFI/Microsoft/Boot/BCD"

	recoveryStorePath = "EFI/Microsoft/Recovery/BCD" // not always there
)

func (c *checker) checkESP() error {
	r := section(c.d, c.esp)
	var err error
	if c.system, err = readVolume(c.ctx, r, r.Size(), c.d.SectorSize()); err != nil {
		return err
	}
	total := int64(0)
	for _, e := range c.system.entries {
		if e.dir {
			continue
		}
		f, err := c.hashFile(e)
		if err != nil {
			return err
		}
		total += e.size
		c.found.ESPFiles = append(c.found.ESPFiles, f)
	}
	if err := c.compareFiles(); err != nil {
		return err
	}
	c.add("EFI system partition", "partition %d, FAT32 in order: %d files with %d bytes in %d clusters of %d bytes, no cluster is used twice or lost",
		c.esp.Number, len(c.found.ESPFiles), total, c.system.clusters, c.system.clusterBytes)
	return c.checkPrograms()
}

func (c *checker) hashFile(e entry) (job.ESPFile, error) {
	h := sha256.New()
	err := pieces(c.ctx, c.system.contents(e), e.size, "/"+e.path, func(p []byte, _ int64) error {
		h.Write(p)
		return nil
	})
	return job.ESPFile{Path: e.path, SizeBytes: e.size, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// compareFiles checks that the files are those that were to be written.
func (c *checker) compareFiles() error {
	if c.want.ESPFiles == nil {
		return nil
	}
	missing := map[string]File{}
	for _, f := range c.want.ESPFiles {
		missing[strings.TrimPrefix(f.Path, "/")] = f
	}
	for _, e := range c.system.entries {
		if e.dir {
			continue
		}
		want, ok := missing[e.path]
		if !ok {
			return wrong("EFI system partition: there is a file /%s of %d bytes, expected none of that name", e.path, e.size)
		}
		delete(missing, e.path)
		if e.size != want.Size {
			return wrong("EFI system partition: /%s has %d bytes, expected %d", e.path, e.size, want.Size)
		}
		if want.Data == nil {
			continue
		}
		if err := c.same("/"+e.path, e.size, c.system.contents(e), want.Data, "what was to be written"); err != nil {
			return err
		}
	}
	for _, f := range c.want.ESPFiles { // in an order that does not change
		if _, ok := missing[strings.TrimPrefix(f.Path, "/")]; ok {
			return wrong("EFI system partition: there is no /%s, expected %d bytes", strings.TrimPrefix(f.Path, "/"), f.Size)
		}
	}
	return nil
}

// same compares bytes with what they should be.
func (c *checker) same(what string, size int64, got, want io.ReaderAt, who string) error {
	buf := make([]byte, min(1<<20, size))
	return pieces(c.ctx, got, size, what, func(p []byte, off int64) error {
		q := buf[:len(p)]
		if err := readAt(want, q, off, who+" as "+what); err != nil {
			return err
		}
		for i := range p {
			if p[i] != q[i] {
				return wrong("EFI system partition: %s differs from %s: byte %d is 0x%02x, expected 0x%02x", what, who, off+int64(i), p[i], q[i])
			}
		}
		return nil
	})
}

// checkPrograms checks what firmware starts.
func (c *checker) checkPrograms() error {
	files := map[string]entry{}
	for _, path := range []string{removablePath, bootManagerPath} {
		e, ok := c.system.find(path)
		if !ok || e.dir {
			return wrong("EFI system partition: there is no /%s: firmware has nothing to start", path)
		}
		if err := checkProgram(c.system.contents(e), e.size, "/"+path, subsystemEFI); err != nil {
			return err
		}
		files[path] = e
	}
	a, b := files[removablePath], files[bootManagerPath]
	if a.size != b.size {
		return wrong("EFI system partition: /%s has %d bytes, expected %d as /%s has", removablePath, a.size, b.size, bootManagerPath)
	}
	if err := c.same("/"+removablePath, a.size, c.system.contents(a), c.system.contents(b), "/"+bootManagerPath); err != nil {
		return err
	}
	c.add("Boot manager", "/%s is an x64 EFI application, and /%s is the same", bootManagerPath, removablePath)
	return nil
}

const (
	subsystemAny = 0
	subsystemEFI = 10 // an EFI application
)

// checkProgram checks that a file is an x64 program (Microsoft PE/COFF 2, 3.3
// and 3.4).
func checkProgram(r io.ReaderAt, size int64, what string, subsystem uint16) error {
	le := binary.LittleEndian
	dos := make([]byte, 64)
	if err := readAt(r, dos, 0, what); err != nil {
		return err
	}
	at := int64(le.Uint32(dos[60:]))
	if string(dos[:2]) != "MZ" || at+24+70 > size {
		return wrong("%s: begins with %q and has its headers at byte %d of %d: it is no program", what, dos[:2], at, size)
	}
	pe := make([]byte, 24+70)
	if err := readAt(r, pe, at, what); err != nil {
		return err
	}
	if !bytes.Equal(pe[:4], []byte("PE\x00\x00")) {
		return wrong("%s: has %q at byte %d, expected \"PE\\x00\\x00\": it is no program", what, pe[:4], at)
	}
	if machine, magic := le.Uint16(pe[4:]), le.Uint16(pe[24:]); machine != 0x8664 || magic != 0x20b {
		return wrong("%s: is for machine 0x%x in format 0x%x, expected 0x8664 (x64) and 0x20b", what, machine, magic)
	}
	if got := le.Uint16(pe[24+68:]); subsystem != subsystemAny && got != subsystem {
		return wrong("%s: is for subsystem %d, expected %d (EFI application)", what, got, subsystem)
	}
	return nil
}
