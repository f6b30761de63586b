package bootcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// genuineHives are those of Windows itself, and two that were made to have
// every kind of device.
func genuineHives(t testing.TB) map[string][]byte {
	hives := map[string][]byte{}
	for _, name := range []string{"win10-uefi.BCD", "win8-uefi.BCD", "win8-bios.BCD", "BCDTest", "BCDgen"} {
		b, err := os.ReadFile(filepath.Join("../bcd/testdata", name))
		must(t, err)
		hives[name] = b
	}
	return hives
}

// TestHiveLikeReglookup compares all keys and the numbers in them with another
// reader's.
func TestHiveLikeReglookup(t *testing.T) {
	hives := genuineHives(t)
	system, err := os.ReadFile("../hive/testdata/win10-mbr.SYSTEM.xz")
	must(t, err)
	hives["SYSTEM"] = settled(unpack(t, system))
	for name, b := range hives {
		h, err := readHive(t.Context(), bytes.NewReader(b), int64(len(b)), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		root, _, err := h.find()
		must(t, err)
		got := map[string]string{}
		list(t, root, "", got)
		path := filepath.Join(t.TempDir(), "hive")
		must(t, os.WriteFile(path, b, 0o600))
		want := map[string]string{}
		for line := range strings.Lines(run(t, "", "reglookup", path)) {
			row := strings.Split(line, ",") // what is in a field, it writes as %2C
			switch row[1] {
			case "KEY":
				want[row[0]] = "KEY"
			case "DWORD":
				want[row[0]] = row[2]
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %d keys and numbers, reglookup has %d", name, len(got), len(want))
			for k := range want {
				if got[k] != want[k] {
					t.Logf("%s: %q, want %q", k, got[k], want[k])
					break
				}
			}
			for k := range got {
				if _, ok := want[k]; !ok {
					t.Logf("%s: not in reglookup", k)
					break
				}
			}
		}
	}
}

// settled makes a hive that was copied while it was in use one that says it was
// not: what it holds is read all the same.
func settled(b []byte) []byte {
	copy(b[8:12], b[4:8])
	binary.LittleEndian.PutUint32(b[508:], baseChecksum(b))
	return b
}

// unpack gives what xz has packed.
func unpack(t testing.TB, packed []byte) []byte {
	t.Helper()
	return []byte(run(t, string(packed), "xz", "-dc"))
}

// list gives the keys below one, and their numbers, with paths as reglookup has
// them.
func list(t testing.TB, k key, path string, into map[string]string) {
	into[max(path, "/")] = "KEY"
	for v, err := range k.values() {
		must(t, err)
		if v.kind == 4 && len(v.data) == 4 {
			into[path+"/"+quoted(v.name)] = fmt.Sprintf("0x%08X", binary.LittleEndian.Uint32(v.data))
		}
	}
	for sub, err := range k.subkeys() {
		must(t, err)
		list(t, sub, path+"/"+quoted(sub.name), into)
	}
}

// quoted is how reglookup writes names.
func quoted(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e || strings.IndexByte("/%,\"", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// TestDevices decodes every device of the genuine stores.
func TestDevices(t *testing.T) {
	decoded, hidden := 0, 0
	for name, b := range genuineHives(t) {
		h, err := readHive(t.Context(), bytes.NewReader(b), int64(len(b)), name)
		must(t, err)
		s, err := readStore(h)
		must(t, err)
		for _, o := range s.order {
			for _, e := range o.elements {
				if !e.isDevice() {
					continue
				}
				d, ok := parseDevice(e.data)
				if !ok {
					t.Errorf("%s: element %08x of %s: % x", name, e.id, o.title(), e.data)
				}
				mbr := 0
				for at := &d; at != nil; at = at.inner {
					if at.kind == devicePartition && at.style == styleMBR {
						mbr++
					}
				}
				got := len(mbrPartitions(e.data))
				if got < mbr {
					t.Errorf("%s: element %08x of %s is %v, but %d MBR partitions are in it", name, e.id, o.title(), d, got)
				}
				decoded, hidden = decoded+mbr, hidden+got-mbr
			}
		}
	}
	// One is in a virtual disk on a device that is to be looked for.
	if decoded != 15 || hidden != 1 {
		t.Errorf("%d MBR partitions were decoded and %d found elsewhere, want 15 and 1", decoded, hidden)
	}
}

// TestGPTLikeSgdisk has the table of the disk, and sgdisk has no complaint.
func TestGPTLikeSgdisk(t *testing.T) {
	d := base(t, 512)
	got, err := readTable(d)
	must(t, err)
	if !slices.Equal(got.partitions, d.partitions) || got.diskGUID != diskGUID {
		t.Errorf("%+v, want %+v", got, d.partitions)
	}
	if out := run(t, "", "sgdisk", "--verify", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), d.Fd())); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
}

// TestSharedCells has every key of a store name the same list of subkeys.
func TestSharedCells(t *testing.T) {
	b := genuineHives(t)["win10-uefi.BCD"]
	h, err := readHive(t.Context(), bytes.NewReader(b), int64(len(b)), "BCD")
	must(t, err)
	objects, _, err := h.find("Objects")
	must(t, err)
	for k, err := range objects.subkeys() {
		must(t, err)
		copy(k.node[20:32], objects.node[20:32]) // the objects are below every object
	}
	var read func(k key) error
	read = func(k key) error {
		for sub, err := range k.subkeys() {
			if err != nil {
				return err
			}
			if err := read(sub); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(objects); !errors.Is(err, ErrWrong) || !strings.Contains(err.Error(), "again and again") {
		t.Errorf("error %v", err)
	}
}

// TestClaims has tiny inputs claim to be large: nothing is allocated for it.
func TestClaims(t *testing.T) {
	le := binary.LittleEndian
	hive := make([]byte, 2*binAlign)
	copy(hive, "regf")
	le.PutUint32(hive[20:], 1)
	le.PutUint32(hive[24:], 5)
	le.PutUint32(hive[32:], 1)
	le.PutUint32(hive[40:], mostHiveBytes)
	copy(hive[binAlign:], "hbin")
	le.PutUint32(hive[binAlign+8:], binAlign)
	le.PutUint32(hive[508:], baseChecksum(hive))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := readHive(t.Context(), bytes.NewReader(hive), 1<<40, "hive"); !errors.Is(err, ErrWrong) {
		t.Errorf("hive: %v", err)
	}
	boot := make([]byte, 8192)
	copy(boot, []byte{0xeb, 0, 0x90})
	boot[510], boot[511] = 0x55, 0xaa
	le.PutUint16(boot[11:], 512)
	boot[13], boot[14], boot[16], boot[21] = 1, 8, 2, 0xf8
	le.PutUint32(boot[32:], 1<<22)
	le.PutUint32(boot[36:], 1<<15)
	boot[44], boot[48], boot[50] = 2, 1, 6
	copy(boot[6*512:], boot[:512])
	if _, err := readVolume(t.Context(), bytes.NewReader(boot), 1<<40, 512); err == nil || !strings.Contains(err.Error(), "first FAT of the EFI system partition ends at byte") {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8*mib {
		t.Errorf("%d bytes were allocated", n)
	}
}
