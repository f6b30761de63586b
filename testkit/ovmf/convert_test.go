package ovmf_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk/gpt"
	"imageport/engine/windows/hive"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/ntfs3g"
)

// sabotage is what the conversion by hand gets wrong.
type sabotage struct {
	keepMBRDevices   bool
	wrongDiskGUID    bool
	noWinload        bool
	keepDriveLetters bool
	keepOtherLetters bool // but that of C:
	keepHive         bool
	keepRecovery     bool
	noWinRE          bool
}

// guids are those of a GPT, as they stand on the disk; partitions by number.
type guids struct {
	disk       []byte
	partitions map[int][]byte
}

// convert converts a disk with other people's tools, as one would by hand, into
// a new file: only what the boot needs.
func convert(t *testing.T, spec winimage.Spec, wrong sabotage) string {
	t.Helper()
	dir := t.TempDir()
	image, err := cached(t, spec).Clone(t.Context(), filepath.Join(dir, "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	system, _ := image.Partition(winimage.System)
	windows, _ := image.Partition(winimage.Windows)
	tree := filepath.Join(dir, "esp") // what goes on the ESP
	boot := filepath.Join(tree, "EFI", "Microsoft", "Boot")
	if err := errors.Join(os.MkdirAll(boot, 0o755), os.MkdirAll(filepath.Join(tree, "EFI", "Boot"), 0o755)); err != nil {
		t.Fatal(err)
	}
	ids := partition(t, image, system)
	if wrong.wrongDiskGUID {
		ids.disk = bytes.Repeat([]byte{0x5a}, 16)
	}

	var store []byte
	onVolume(t, image, system, func(root string) {
		store = read(t, filepath.Join(root, "Boot/BCD"))
	})
	onVolume(t, image, windows, func(root string) {
		program := read(t, filepath.Join(root, "Windows/Boot/EFI/bootmgfw.efi"))
		write(t, filepath.Join(boot, "bootmgfw.efi"), program)
		write(t, filepath.Join(tree, "EFI/Boot/bootx64.efi"), program)
		if wrong.noWinload {
			remove(t, filepath.Join(root, "Windows/System32/winload.efi"))
		}
		if wrong.noWinRE {
			remove(t, filepath.Join(root, "Recovery/WindowsRE/Winre.wim"))
		}
		if wrong.keepDriveLetters || wrong.keepHive {
			return
		}
		path := filepath.Join(root, "Windows/System32/config/SYSTEM")
		write(t, path, edit(t, read(t, path), 5, func(key *hive.Key) {
			letter := func(name string, p winimage.Partition) {
				key.Key("MountedDevices").Set(hive.Bytes(`\DosDevices\`+name+`:`, append([]byte("DMIO:ID:"), ids.partitions[p.Number]...)))
			}
			letter("C", windows)
			for _, p := range image.Partitions {
				if p.Letter != "" && !wrong.keepOtherLetters {
					letter(p.Letter, p)
				}
			}
		}))
	})
	write(t, filepath.Join(boot, "BCD"), edit(t, store, 3, func(root *hive.Key) {
		convertStore(root, spec, wrong, ids, system, windows)
	}))
	format(t, image, system, tree)
	return image.Path
}

// convertStore makes the entries of a boot configuration name GPT partitions.
func convertStore(root *hive.Key, spec winimage.Spec, wrong sabotage, ids guids, system, windows winimage.Partition) {
	const (
		bootMgr = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
		device  = "11000001"
		path    = "12000002"
	)
	set := func(object *hive.Key, element string, p winimage.Partition) {
		if wrong.keepMBRDevices {
			return
		}
		// An empty GUID, and DeviceType 6 of 0x48 bytes: partition GUID, style
		// 0, disk GUID.
		b := make([]byte, 0x58)
		b[0x10], b[0x18] = 6, 0x48
		copy(b[0x20:], ids.partitions[p.Number])
		copy(b[0x38:], ids.disk)
		object.Key(element).Set(hive.Bytes("Element", b))
	}
	elements := root.Key("Objects", bootMgr, "Elements")
	loader := root.Key("Objects", elements.Key("23000003").Values[0].String(), "Elements")
	set(elements, device, system)
	elements.Create(path).Set(hive.SZ("Element", `\EFI\Microsoft\Boot\bootmgfw.efi`))
	loader.Create(path).Set(hive.SZ("Element", `\WINDOWS\system32\winload.efi`))
	if spec.Devices != winimage.LocateDevices {
		set(loader, device, windows)
		set(loader, "21000001", windows)
	}
	if wrong.keepRecovery {
		return
	}
	recovery := root.Key("Objects", loader.Key("14000008").Values[0].Strings()[0], "Elements")
	for _, element := range []string{device, "21000001"} {
		// A RAM disk: its file's partition is described 0x28+12 bytes behind the
		// GUID of the options, an object with a device of its own.
		value := bytes.Clone(recovery.Key(element).Values[0].Data)
		inner := value[0x10+0x28+12:]
		clear(inner[0x10:0x48])
		copy(inner[0x10:], ids.partitions[windows.Number])
		copy(inner[0x28:], ids.disk)
		recovery.Key(element).Set(hive.Bytes("Element", value))
		options := root.Key("Objects", "{"+text(value[:16]).String()+"}", "Elements")
		set(options, "31000003", windows)
	}
}

// partition turns the MBR into a GPT, and the system partition into an ESP.
func partition(t *testing.T, image winimage.Image, system winimage.Partition) guids {
	t.Helper()
	ids := guids{partitions: map[int][]byte{}}
	if image.Spec.SectorSize == 512 {
		tool(t, "sgdisk", "--mbrtogpt", "-t", fmt.Sprintf("%d:ef00", system.Number), image.Path)
		ids.disk = guid(t, tool(t, "sgdisk", "-p", image.Path), `Disk identifier \(GUID\): (\S+)`)
		for _, p := range image.Partitions {
			ids.partitions[p.Number] = guid(t, tool(t, "sgdisk", "-i", strconv.Itoa(p.Number), image.Path), `unique GUID: (\S+)`)
		}
		return ids
	}
	// Of a file, sgdisk believes that it has sectors of 512 bytes.
	table := gpt.Table{
		DiskGUID: uuid.New(), SectorSize: image.Spec.SectorSize,
		Sectors: uint64(image.Spec.SizeBytes) / uint64(image.Spec.SectorSize),
	}
	ids.disk = onDisk(table.DiskGUID)
	for _, p := range image.Partitions {
		e := gpt.Entry{
			Index: p.Number - 1, Type: gpt.TypeBasicData, ID: uuid.New(),
			FirstLBA: uint64(p.StartBytes) / uint64(image.Spec.SectorSize),
			LastLBA:  uint64(p.StartBytes+p.SizeBytes)/uint64(image.Spec.SectorSize) - 1,
		}
		if p == system {
			e.Type = gpt.TypeESP
		}
		ids.partitions[p.Number] = onDisk(e.ID)
		table.Entries = append(table.Entries, e)
	}
	f, err := os.OpenFile(image.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(table.Write(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return ids
}

// format makes a FAT32 of a partition, with the folder EFI of tree.
func format(t *testing.T, image winimage.Image, p winimage.Partition, tree string) {
	t.Helper()
	// Nothing of the old volume may stay where mkfs.fat does not write.
	tool(t, "fallocate", "--punch-hole", "--keep-size", "-o", fmt.Sprint(p.StartBytes), "-l", fmt.Sprint(p.SizeBytes), image.Path)
	sector, cluster := int64(image.Spec.SectorSize), "2"
	if sector == 4096 {
		cluster = "1"
	}
	tool(t, "mkfs.fat", "-F", "32", "-S", fmt.Sprint(sector), "-s", cluster, "-n", "SYSTEM", "-h", fmt.Sprint(p.StartBytes/sector),
		"--offset", fmt.Sprint(p.StartBytes/sector), image.Path, fmt.Sprint(p.SizeBytes/1024))
	tool(t, "mcopy", "-s", "-Q", "-i", fmt.Sprintf("%s@@%d", image.Path, p.StartBytes), filepath.Join(tree, "EFI"), "::/")
}

// onVolume mounts a partition, and puts it back on the disk if it was changed.
func onVolume(t *testing.T, image winimage.Image, p winimage.Partition, do func(root string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	if err := image.CopyPartition(t.Context(), p, path); err != nil {
		t.Fatal(err)
	}
	volume, err := ntfs3g.Mount(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if err := volume.Unmount(); err != nil {
				t.Fatal(err)
			}
		}()
		do(volume.Dir)
	}()
	tool(t, "dd", "if="+path, "of="+image.Path, "bs=1M", fmt.Sprint("seek=", p.StartBytes>>20), "conv=sparse,notrunc")
}

func edit(t *testing.T, data []byte, minor uint32, change func(root *hive.Key)) []byte {
	t.Helper()
	h, err := hive.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	root, err := h.Root()
	if err != nil {
		t.Fatal(err)
	}
	change(root)
	data, err = hive.Build(root, hive.BuildOptions{Minor: minor})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// guid finds a GUID in a tool's output and gives its binary form.
func guid(t *testing.T, text, pattern string) []byte {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(match[1], "-", ""))
	if err != nil || len(b) != 16 {
		t.Fatalf("%s: %v", match[1], err)
	}
	return onDisk(uuid.UUID(b))
}

// onDisk is the binary form of a GUID: its first three groups are little-endian
// numbers.
func onDisk(id uuid.UUID) []byte {
	return []byte{id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6], id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]}
}

// text is the GUID of a binary form.
func text(b []byte) uuid.UUID {
	return uuid.UUID(onDisk(uuid.UUID(b)))
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
