package bootcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
)

// sabotage is one thing that is made wrong, and what must be said of it.
type sabotage struct {
	name string
	do   func(t *testing.T, d *testDisk, o *overlay.Overlay)
	want string // in the error
}

func TestSabotage(t *testing.T) {
	for _, group := range []struct {
		sabotages []sabotage
		unknown   func(want *Expected) // what is not expected, so that it is not found first
	}{
		{tables(), func(*Expected) {}},
		{systemPartitions(), func(want *Expected) { want.Partitions = nil }},
		{systems(), func(*Expected) {}},
		{programs(), func(want *Expected) { want.ESPFiles = nil }},
		{stores(), func(want *Expected) { want.ESPFiles = nil }},
		{windowses(), func(*Expected) {}},
	} {
		for _, s := range group.sabotages {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				d := base(t, 512)
				o := overlay.New(d)
				s.do(t, d, o)
				want := d.expected()
				group.unknown(&want)
				_, err := Check(t.Context(), o, want)
				if !errors.Is(err, ErrWrong) {
					t.Fatalf("error %v, want one of ErrWrong", err)
				}
				if !strings.Contains(err.Error(), s.want) {
					t.Errorf("error %q\nwant %q in it", err, s.want)
				}
			})
		}
	}
}

// bytesAt is a sabotage that overwrites bytes.
func bytesAt(at int64, data ...byte) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
		if at < 0 {
			at += d.size
		}
		write(t, o, at, data)
	}
}

// entries changes the entries of both copies of the GPT, with the right CRCs.
func entries(change func(array []byte)) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
		for _, at := range []int64{512, d.size - 512} {
			changeTable(t, o, at, func(_, array []byte) { change(array) })
		}
	}
}

func changeTable(t *testing.T, o *overlay.Overlay, at int64, change func(header, array []byte)) {
	t.Helper()
	header, array := make([]byte, 92), make([]byte, 128*128)
	_, err := o.ReadAt(header, at)
	must(t, err)
	le := binary.LittleEndian
	_, err = o.ReadAt(array, int64(le.Uint64(header[72:]))*512)
	must(t, err)
	change(header, array)
	le.PutUint32(header[88:], crc32.ChecksumIEEE(array))
	le.PutUint32(header[16:], 0)
	le.PutUint32(header[16:], crc32.ChecksumIEEE(header))
	write(t, o, at, header)
	write(t, o, int64(le.Uint64(header[72:]))*512, array)
}

func tables() []sabotage {
	le := binary.LittleEndian
	header := func(change func(h []byte)) func(*testing.T, *testDisk, *overlay.Overlay) {
		return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			changeTable(t, o, 512, func(h, _ []byte) { change(h) })
		}
	}
	return []sabotage{
		{"MBR disk signature", bytesAt(440, 0xde, 0xc0, 0x11, 0x7a), "MBR: disk signature at byte 440 is 0x7a11c0de, expected none"},
		{"MBR partition", bytesAt(446+16+4, 7, 0, 0, 0, 0, 8), "MBR: entry 2 is a partition of type 0x07 from sector 2048"},
		{"active", bytesAt(446, 0x80), "entry 1 (0xee) has the boot indicator 0x80"},
		{"no protective entry", bytesAt(446, make([]byte, 16)...), "0 protective entries"},
		{"protects too little", bytesAt(446+12, 0, 8, 0, 0), "protective entry covers 2048 sectors from 1"},
		{"no MBR", bytesAt(510, 0, 0), "signature at byte 510 is 0x0000"},
		{"header damaged", bytesAt(512+40, 0), "primary GPT: CRC of the header in sector 1"},
		{"entries damaged", bytesAt(1024+3, 0), "primary GPT: CRC of the entries in sector 2"},
		{"no primary", bytesAt(512, make([]byte, 512)...), "primary GPT: sector 1 begins with"},
		{"no backup", bytesAt(-512, make([]byte, 512)...), "backup GPT: sector "},
		{"backup entries damaged", bytesAt(-512-33*512+512+2, 0), "backup GPT: CRC of the entries"},
		{"backup is older", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			changeTable(t, o, d.size-512, func(_, array []byte) { array[56] = 'X' })
		}, "backup GPT: its entries differ"},
		{"backup of another disk", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			changeTable(t, o, d.size-512, func(h, _ []byte) { h[56] ^= 1 })
		}, "backup GPT: disk GUID is"},
		{"backup elsewhere", header(func(h []byte) { le.PutUint64(h[32:], 4711) }), "in sector 1 and the other in 4711"},
		{"usable range over the entries", header(func(h []byte) { le.PutUint64(h[40:], 33) }), "usable sectors 33 to"},
		{"entries over partitions", header(func(h []byte) { le.PutUint64(h[72:], 40) }), "entries from sector 40"},
		{"overlap", entries(func(a []byte) { le.PutUint64(a[128+32:], 2048) }), "inside partition"},
		{"behind the end", entries(func(a []byte) { le.PutUint64(a[256+40:], 1<<40) }), "partition 3 is sectors 67584 to 1099511627776"},
		{"same GUID", entries(func(a []byte) { copy(a[128+16:], a[16:32]) }), "the same GUID 6cdfcd69"},
		{"other name", entries(func(a []byte) { a[56] = 'X' }), `partition 1 is`},
		{"other attributes", entries(func(a []byte) { a[48] = 0 }), `partition 1 is`},
		{"missing partition", entries(func(a []byte) { clear(a[:128]) }), `there is no partition 1, expected "Recovery"`},
		{"one more partition", entries(func(a []byte) {
			copy(a[3*128:], a[:128])
			a[3*128+16] ^= 1
			le.PutUint64(a[3*128+32:], 34)
			le.PutUint64(a[3*128+40:], 99)
		}), `there is a partition 4 ("Recovery"), expected none`},
		{"other disk", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			for _, at := range []int64{512, d.size - 512} {
				changeTable(t, o, at, func(h, _ []byte) { h[56] ^= 1 })
			}
		}, "disk GUID is 0b2394a8"},
	}
}

func systemPartitions() []sabotage {
	return []sabotage{
		{"two ESPs", entries(func(a []byte) { copy(a[128:], a[256:272]) }), "2 EFI system partitions, expected 1"},
		{"no ESP", entries(func(a []byte) { copy(a[256:], a[128:144]) }), "0 EFI system partitions, expected 1"},
	}
}

// system reads the EFI system partition of the disk, to find what to damage.
func system(t *testing.T, o *overlay.Overlay, p Partition) *volume {
	t.Helper()
	r := section(o, p)
	v, err := readVolume(t.Context(), r, r.Size(), 512)
	must(t, err)
	return v
}

// fatEntry is a sabotage of an entry of both FATs, chosen by what is there.
func fatEntry(choose func(v *volume) (cluster, next uint32)) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
		p := d.partitions[2]
		v := system(t, o, p)
		cluster, next := choose(v)
		for i := range int64(2) {
			write(t, o, int64(p.FirstLBA)*512+v.fatAt+i*v.fatBytes+int64(cluster)*4, binary.LittleEndian.AppendUint32(nil, next))
		}
	}
}

// dirEntry is a sabotage of the directory entry of a file, found by its first
// cluster and size.
func dirEntry(path string, change func(b []byte)) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
		p := d.partitions[2]
		v := system(t, o, p)
		e, _ := v.find(path)
		parent := entry{cluster: v.root}
		if i := strings.LastIndex(path, "/"); i > 0 {
			parent, _ = v.find(path[:i])
		}
		dir := make([]byte, v.clusterBytes)
		for c := parent.cluster; c < fatEnd; c = v.fat[c] & fatMask {
			at := int64(p.FirstLBA)*512 + v.clusterAt(c)
			_, err := o.ReadAt(dir, at)
			must(t, err)
			for i := 0; i < len(dir); i += 32 {
				if b := dir[i:][:32]; b[11] != attrLong && b[0] != '.' && firstCluster(b) == e.cluster {
					change(b)
					write(t, o, at, dir)
					return
				}
			}
		}
		t.Fatalf("no entry of %s", path)
	}
}

func systems() []sabotage {
	const manager = "EFI/Microsoft/Boot/bootmgfw.efi"
	const partition = 33 * mib
	first := func(v *volume, path string) uint32 { e, _ := v.find(path); return e.cluster }
	le := binary.LittleEndian
	return []sabotage{
		{"not formatted", bytesAt(partition, make([]byte, 512)...), "it is not formatted"},
		{"sectors of another disk", bytesAt(partition+11, 0, 16), "sectors of 4096 bytes"},
		{"no copy of the boot sector", bytesAt(partition+6*512+100, 1), "copy of the boot sector in sector 6 differs"},
		{"larger than its partition", bytesAt(partition+32, 0, 0, 0, 1), "boot sector says 16777216 sectors"},
		{"free count", bytesAt(partition+512+488, 1, 0, 0, 0), "FSInfo says 1 free clusters"},
		{"no FSInfo", bytesAt(partition+512, 0), "FSInfo has 0x"},
		{"FATs differ", bytesAt(partition+32*512+400, 1), "FATs differ at entry 100"},
		{"dismounted badly", fatEntry(func(v *volume) (uint32, uint32) { return 1, 0x07ffffff }), "it was not dismounted in order"},
		{"lost cluster", fatEntry(func(v *volume) (uint32, uint32) { return v.clusters, fatMask }), "is lost"},
		{"used twice", fatEntry(func(v *volume) (uint32, uint32) {
			return first(v, "EFI/Microsoft/Boot/memtest.efi") + 8, first(v, manager) + 585 // to the end of another file
		}), "is used twice"},
		{"loop", fatEntry(func(v *volume) (uint32, uint32) { return v.fat[first(v, manager)], first(v, manager) }), "is used twice"},
		{"chain too short", fatEntry(func(v *volume) (uint32, uint32) { return first(v, manager) + 5, fatMask }), "its chain ends after 6 clusters"},
		{"chain out of the volume", fatEntry(func(v *volume) (uint32, uint32) { return first(v, manager) + 5, 0x00ffffff }), "cluster 16777215 after 6 clusters"},
		{"chain too long", dirEntry(manager, func(b []byte) { le.PutUint32(b[28:], 600) }), "more than the 2 clusters"},
		{"lost long name", dirEntry("EFI/Microsoft/Boot/Resources/Größe.dll", func(b []byte) { b[0] = 0xe5 }), "belongs to no file"},
		{"long name of another", dirEntry("EFI/Microsoft/Boot/Resources/Größe.dll", func(b []byte) { b[0] = 'X' }), "belongs to another file"},
		{"other case", dirEntry("EFI/Microsoft/Boot/BCD", func(b []byte) { b[12] = 0x08 }), "there is a file /EFI/Microsoft/Boot/bcd"},
		{"directory of a file's size", dirEntry("EFI/Boot", func(b []byte) { b[28] = 1 }), "directory /EFI/Boot has a size of 1 bytes"},
		{"file too many", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			putSystem(t, d, o, func(files map[string][]byte) { files["EFI/Boot/PVSBOOTX64.EFI"] = []byte{1} })
		}, "there is a file /EFI/Boot/PVSBOOTX64.EFI of 1 bytes, expected none"},
		{"file missing", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			putSystem(t, d, o, func(files map[string][]byte) { delete(files, "EFI/Microsoft/Boot/memtest.efi") })
		}, "there is no /EFI/Microsoft/Boot/memtest.efi, expected 5000 bytes"},
		{"file cut short", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			putSystem(t, d, o, func(files map[string][]byte) {
				files["EFI/Microsoft/Boot/memtest.efi"] = files["EFI/Microsoft/Boot/memtest.efi"][:4999]
			})
		}, "/EFI/Microsoft/Boot/memtest.efi has 4999 bytes, expected 5000"},
		{"file changed", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			p := d.partitions[2]
			v := system(t, o, p)
			write(t, o, int64(p.FirstLBA)*512+v.clusterAt(first(v, "EFI/Microsoft/Boot/memtest.efi"))+600, []byte("###"))
		}, "/EFI/Microsoft/Boot/memtest.efi differs from what was to be written: byte 600 is 0x23"},
	}
}

// unexpected is a sabotage of files on the ESP that Expected does not know of.
func unexpected(change func(files map[string][]byte)) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) { putSystem(t, d, o, change) }
}

func programs() []sabotage {
	both := func(data []byte) func(*testing.T, *testDisk, *overlay.Overlay) {
		return unexpected(func(files map[string][]byte) {
			files["EFI/Boot/bootx64.efi"], files["EFI/Microsoft/Boot/bootmgfw.efi"] = data, data
		})
	}
	only := func(path string) func(map[string][]byte) {
		return func(files map[string][]byte) { delete(files, path) }
	}
	return []sabotage{
		{"no bootx64", unexpected(only("EFI/Boot/bootx64.efi")), "there is no /EFI/Boot/bootx64.efi"},
		{"no bootmgfw", unexpected(only("EFI/Microsoft/Boot/bootmgfw.efi")), "there is no /EFI/Microsoft/Boot/bootmgfw.efi"},
		{"no BCD", unexpected(only("EFI/Microsoft/Boot/BCD")), "there is no /EFI/Microsoft/Boot/BCD"},
		{"x86 boot manager", both(program(0x14c, 10, 300_000)), "is for machine 0x14c"},
		{"ARM64 boot manager", both(program(0xaa64, 10, 300_000)), "is for machine 0xaa64"},
		{"not an EFI application", both(program(0x8664, 3, 300_000)), "is for subsystem 3, expected 10"},
		{"no program", both(bytes.Repeat([]byte("no"), 150_000)), "it is no program"},
		{"boot managers differ", unexpected(func(files map[string][]byte) {
			other := bytes.Clone(files["EFI/Boot/bootx64.efi"])
			other[200_000] ^= 1
			files["EFI/Boot/bootx64.efi"] = other
		}), "/EFI/Boot/bootx64.efi differs from /EFI/Microsoft/Boot/bootmgfw.efi: byte 200000"},
	}
}

// script is a sabotage of the boot configuration.
func script(text string) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
		putStore(t, d, o, editHive(t, d.esp[storePath], text))
	}
}

// storeBytes is a sabotage of the boot configuration's bytes.
func storeBytes(change func(b []byte)) func(*testing.T, *testDisk, *overlay.Overlay) {
	return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
		b := bytes.Clone(d.esp[storePath])
		change(b)
		putStore(t, d, o, b)
	}
}

func text(s string) string { return hexValue(1, append(utf16Bytes(s), 0, 0)) }

func stores() []sabotage {
	le := binary.LittleEndian
	mbr := mbrDevice(signature, 100*mib)
	options := uuid.MustParse("733b62e7-f608-11eb-825c-c112f60133ab")
	device := func(object string, id uint32, data []byte) func(*testing.T, *testDisk, *overlay.Overlay) {
		return script(setElement(object, id, hexValue(3, data)))
	}
	return []sabotage{
		{"BCD not written to its end", storeBytes(func(b []byte) { le.PutUint32(b[4:], le.Uint32(b[8:])+1); le.PutUint32(b[508:], baseChecksum(b)) }), "BCD: sequence numbers are 35 and 34"},
		{"BCD checksum", storeBytes(func(b []byte) { b[12] ^= 1 }), "BCD: checksum of the base block"},
		{"BCD is no hive", storeBytes(func(b []byte) { clear(b) }), `BCD: begins with "\x00\x00\x00\x00"`},
		{"BCD lost a bin", storeBytes(func(b []byte) { clear(b[0x2000:0x2020]) }), "BCD: bin at byte 8192"},
		{"MBR device of Windows", device(loaderObject, elemOSDevice, mbr), `element 21000001 of "Windows 10" {733b62e5-f608-11eb-825c-c112f60133ab} is the partition at byte 104857600 of the MBR disk 0x7a11c0de`},
		{"MBR device in a RAM disk", device(recoveryObject, elemDevice, ramdisk(options, mbr, `\Recovery\WindowsRE\Winre.wim`)), `element 11000001 of "Windows Recovery Environment"`},
		{"MBR device of an element nobody knows", script("cd \\Objects\\" + recoveryObject + "\\Elements\nadd 410000aa\n" + setElement(recoveryObject, 0x410000aa, hexValue(3, append([]byte{1, 2, 3}, mbr...)))), "element 410000aa"},
		{"MBR device in the recovery BCD", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			putSystem(t, d, o, func(files map[string][]byte) {
				files[recoveryStorePath] = editHive(t, files[storePath], setElement(loaderObject, elemDevice, hexValue(3, mbr)))
			})
		}, "recovery BCD: element 11000001"},
		{"boot manager on C:", device(managerObject, elemDevice, gptDevice(diskGUID, windowsGUID)), "the boot manager's device is partition 8e0f2c38"},
		{"boot manager without device", script("cd \\Objects\\" + managerObject + "\\Elements\\11000001\ndel\n"), "the boot manager's device is missing"},
		{"boot manager for BIOS", script(setElement(managerObject, elemPath, text(`\bootmgr`))), `the boot manager's path is "\\bootmgr"`},
		{"no boot manager", script("cd \\Objects\\" + managerObject + "\ndel\n"), "there is no boot manager"},
		{"no default", script("cd \\Objects\\" + managerObject + "\\Elements\\23000003\ndel\n"), "names 0 default entries"},
		{"default without object", script(setElement(managerObject, elemDefault, text("{11111111-2222-3333-4444-555555555555}"))), "default entry {11111111-2222-3333-4444-555555555555} is no object"},
		{"default is no loader", script(setElement(managerObject, elemDefault, text("{b2721d73-1db4-4c62-bf78-c548a880142d}"))), "is no object of type 0x10200003"},
		{"menu without object", script(setElement(managerObject, elemMenu, hexValue(7, append(utf16Bytes(loaderObject+"\x00{11111111-2222-3333-4444-555555555555}\x00"), 0, 0)))), "displayorder) names {11111111"},
		{"Windows on no partition", device(loaderObject, elemOSDevice, gptDevice(diskGUID, options)), "element 21000001 of the default entry"},
		{"Windows on another disk", device(loaderObject, elemOSDevice, gptDevice(options, windowsGUID)), "expected a partition of the disk {0b2394a9"},
		{"Windows on the ESP", device(loaderObject, elemOSDevice, bootDevice()), "partition 3 (EFI system partition), expected one with NTFS"},
		{"Windows on WinRE's partition", device(loaderObject, elemOSDevice, gptDevice(diskGUID, recoveryGUID)), `names \Windows on partition 1 (Recovery)`},
		{"device cut short", device(loaderObject, elemDevice, mbr[:40]), "element 11000001 of the default entry \"Windows 10\" {733b62e5-f608-11eb-825c-c112f60133ab} is damaged"},
		{"loader in a RAM disk", device(loaderObject, elemDevice, ramdisk(options, gptDevice(diskGUID, recoveryGUID), `\boot.wim`)), `is the file \boot.wim on partition`},
		{"loader for BIOS", func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			script(setElement(loaderObject, elemPath, text(`\Windows\System32\Recovery\ReAgent.xml`)))(t, d, o)
		}, "expected winload.efi"},
		{"loader missing", script(setElement(loaderObject, elemPath, text(`\Windows\System32\winload2.efi`))), `names \Windows\System32\winload2.efi`},
		{"no path", script("cd \\Objects\\" + loaderObject + "\\Elements\\12000002\ndel\n"), "has no element 12000002"},
		{"folder of Windows missing", script(setElement(loaderObject, elemSystemRoot, text(`\WINNT`))), `names \WINNT`},
		{"folder of Windows is a file", script(setElement(loaderObject, elemSystemRoot, text(`\Windows\System32\winload.efi`))), "which is a file"},
		{"object of no type", script("cd \\Objects\\" + loaderObject + "\\Description\ndel\n"), "is no object of type 0x10200003"},
	}
}

func windowses() []sabotage {
	const hivePath, agentPath = `\Windows\System32\config\SYSTEM`, `\Windows\System32\Recovery\ReAgent.xml`
	file := func(path string, change func(t *testing.T, data []byte) []byte) func(*testing.T, *testDisk, *overlay.Overlay) {
		return func(t *testing.T, d *testDisk, o *overlay.Overlay) {
			replace(t, o, d.partitions[1], path, func(data []byte) []byte { return change(t, data) })
		}
	}
	swap := func(old, new []byte) func(*testing.T, *testDisk, *overlay.Overlay) {
		return file(hivePath, func(t *testing.T, data []byte) []byte {
			if !bytes.Contains(data, old) {
				t.Fatalf("no %x in the hive", old)
			}
			return bytes.Replace(data, old, new, 1)
		})
	}
	const volumeAt = 9 * mib
	return []sabotage{
		{"not NTFS", bytesAt(volumeAt+3, []byte("-FVE-FS-")...), "expected one with NTFS: "},
		{"NTFS dirty", func(t *testing.T, d *testDisk, o *overlay.Overlay) { setDirty(t, o, volumeAt) }, "NTFS is marked dirty"},
		{"winload for x86", file(`\Windows\System32\winload.efi`, func(_ *testing.T, data []byte) []byte { return program(0x14c, 16, len(data)) }), "winload.efi: is for machine 0x14c"},
		{"SYSTEM not written to its end", file(hivePath, func(_ *testing.T, data []byte) []byte { data[4]++; return data }), "SYSTEM: sequence numbers are"},
		{"SYSTEM is no hive", file(hivePath, func(_ *testing.T, data []byte) []byte { data[0] = 'x'; return data }), `SYSTEM: begins with "xegf"`},
		{"a volume of the MBR disk", swap(mbrValue(0x002b1be5, mib), mbrValue(signature, 9*mib)), `MountedDevices names the partition at byte 9437184 of the MBR disk 0x7a11c0de for \DosDevices\F:`},
		{"C: elsewhere", swap(dmio(windowsGUID), dmio(recoveryGUID)), `MountedDevices has partition 6cdfcd69-de75-4490-8f99-5a84bf264917 for \DosDevices\C:, expected partition 8e0f2c38`},
		{"no C:", swap([]byte(`\DosDevices\C:`), []byte(`\DosDevices\Z:`)), `MountedDevices has no partition's GUID for \DosDevices\C:`},
		{"ReAgent.xml of the MBR disk", file(agentPath, func(_ *testing.T, data []byte) []byte {
			b := bytes.Replace(data, []byte(`WinreLocation path="\Recovery\WindowsRE" id="0"`), []byte(`WinreLocation path="\Recovery\WindowsRE" id="2047983838"`), 1)
			return b[:len(data)]
		}), `ReAgent.xml: WinreLocation has id="2047983838", the signature of the MBR disk`},
	}
}

// setDirty sets VOLUME_IS_DIRTY in the flags of $Volume, MFT record 3.
func setDirty(t *testing.T, o *overlay.Overlay, volumeAt int64) {
	t.Helper()
	le := binary.LittleEndian
	boot, record := make([]byte, 512), make([]byte, 1024)
	_, err := o.ReadAt(boot, volumeAt)
	must(t, err)
	at := volumeAt + int64(le.Uint64(boot[48:]))*int64(boot[13])*512 + 3*1024
	_, err = o.ReadAt(record, at)
	must(t, err)
	attr := int(le.Uint16(record[20:]))
	for le.Uint32(record[attr:]) != 0x70 {
		attr += int(le.Uint32(record[attr+4:]))
	}
	record[attr+int(le.Uint16(record[attr+20:]))+10] |= 1
	write(t, o, at, record)
}
