package upgrade

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/proxy"
	"imageport/testkit/samba"
)

const exportMiB = 1 << 20

// exportDisk is a working disk: its first part is exported.
type exportDisk struct {
	bytes []byte
	fail  error // of reads
}

func (d exportDisk) Size() int64 { return int64(len(d.bytes)) }

func (d exportDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.fail != nil {
		return 0, d.fail
	}
	return bytes.NewReader(d.bytes).ReadAt(p, off)
}

// exportVolume makes an NTFS volume with a file in it, whose free clusters have
// old data in them.
func exportVolume(t *testing.T, size int) []byte {
	t.Helper()
	dir := t.TempDir()
	volume, file := filepath.Join(dir, "volume"), filepath.Join(dir, "file")
	disktest.WriteFile(t, volume, disktest.Pattern(size, 1))
	disktest.WriteFile(t, file, disktest.Pattern(5_000_000, 2))
	disktest.Run(t, "mkntfs", "-F", "-Q", "-q", "-p", "2048", "-H", "255", "-S", "63", volume)
	disktest.Run(t, "ntfscp", "-f", volume, file, "file.bin")
	return exportFile(t, volume)
}

func exportFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exportUsed is what ntfsclone takes of a volume: all but its free clusters,
// which become zeros.
func exportUsed(t *testing.T, volume []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "volume"), filepath.Join(dir, "used")
	disktest.WriteFile(t, in, volume)
	disktest.Run(t, "ntfsclone", "-f", "-q", "-O", out, in)
	used := exportFile(t, out)
	return append(used, volume[len(used):]...)
}

// The disk that is exported: a volume, one more in front of it that is unclean
// if that is asked for, zeros, and some bytes at the end.
const (
	exportSize         = 64 * exportMiB
	exportVolumeSize   = 32 * exportMiB
	exportVolumeOffset = 16 * exportMiB
)

// exportDisks makes a disk with a table of that kind, and what its image is to
// hold. The disk is 3 MiB larger than what is exported.
func exportDisks(t *testing.T, gpt, unclean bool) (exportDisk, []byte) {
	t.Helper()
	volume := exportVolume(t, exportVolumeSize)
	raw := make([]byte, exportSize)
	copy(raw[exportVolumeOffset:], volume)
	copy(raw[52*exportMiB:], disktest.Pattern(700_000, 3)) // in no partition
	small := disktest.Pattern(2*exportMiB, 4)              // of a file system that nobody knows
	copy(raw[exportMiB:], small)
	path := filepath.Join(t.TempDir(), "disk")
	if gpt {
		disktest.WriteFile(t, path, raw)
		sectors := func(n int) int { return n / 512 }
		disktest.Run(t, "sgdisk", "--set-alignment=1",
			fmt.Sprintf("--new=1:%d:%d", sectors(exportMiB), sectors(3*exportMiB)-1), "--typecode=1:ef00",
			fmt.Sprintf("--new=2:%d:%d", sectors(exportVolumeOffset), sectors(exportVolumeOffset+exportVolumeSize)-1), "--typecode=2:0700", path)
		raw = exportFile(t, path)
	} else {
		raw[510], raw[511] = 0x55, 0xaa
		for i, at := range []struct{ first, size int }{{exportMiB, len(small)}, {exportVolumeOffset, exportVolumeSize}} {
			entry := raw[446+16*i:]
			entry[4] = 0x07
			binary.LittleEndian.PutUint32(entry[8:], uint32(at.first/512))
			binary.LittleEndian.PutUint32(entry[12:], uint32(at.size/512))
		}
	}
	want := bytes.Clone(raw)
	if unclean {
		disktest.WriteFile(t, path, volume)
		disktest.Run(t, "ntfsfix", path) // which marks it dirty
		volume = exportFile(t, path)
		copy(raw[exportVolumeOffset:], volume)
		copy(want[exportVolumeOffset:], volume)
	} else {
		copy(want[exportVolumeOffset:], exportUsed(t, volume))
	}
	return exportDisk{bytes: append(raw, disktest.Pattern(3*exportMiB, 5)...)}, want
}

func exportFolder(t *testing.T) (string, share.Store) {
	t.Helper()
	dir := t.TempDir()
	store, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return dir, store
}

func exportInput(container chain.Container) ExportInput {
	in := ExportInput{
		Job: "ips/h/disks/win10", Key: "0123456789ab", Attempt: "ce-1", Output: "win10-2311." + string(container),
		Format: job.FormatVHDX, SizeBytes: exportSize, Created: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
	}
	if container == chain.VHD {
		in.Format = job.FormatVHD
	}
	return in
}

func exportQuiet(job.Progress) {}

func exportNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// exportReadBy has three readers agree on what is in an image.
func exportReadBy(t *testing.T, dir, name string, container chain.Container, want []byte) {
	t.Helper()
	store, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c, err := diskimage.Open(t.Context(), diskimage.Input{Folder: diskimage.Local(store), Name: name})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Size() != int64(len(want)) || len(c.Layers()) != 1 {
		t.Fatalf("a disk of %d bytes in %d files", c.Size(), len(c.Layers()))
	}
	disktest.Same(t, c, bytes.NewReader(want), "the working disk")
	path := filepath.Join(dir, name)
	disktest.Same7zz(t, string(container), c, path)
	disktest.Listed7zz(t, string(container), path)
	raw := filepath.Join(t.TempDir(), "want.raw")
	disktest.RawFile(t, raw, want)
	format := map[chain.Container]string{chain.VHDX: "vhdx", chain.VHD: "vpc"}[container]
	disktest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", format, raw, path)
	if container == chain.VHDX {
		disktest.Run(t, "qemu-img", "check", "-f", "vhdx", path)
	}
}

// Every reader finds the disk in the image, with zeros where NTFS has it free;
// the file gets its name by the protocol, and all that is said of it is so.
func TestExport(t *testing.T) {
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		for _, gpt := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, GPT %v", container, gpt), func(t *testing.T) {
				t.Parallel()
				disk, want := exportDisks(t, gpt, false)
				before := sha256.Sum256(disk.bytes)
				dir, store := exportFolder(t)
				in := exportInput(container)
				in.Verify = job.VerifyFull
				if gpt { // smaller blocks, and the extension says what it is
					in.BlockBytes, in.Format = 2*exportMiB, ""
				}
				var steps []string
				out, err := Export(t.Context(), store, in, disk, func(p job.Progress) {
					if len(steps) == 0 || steps[len(steps)-1] != p.Step {
						steps = append(steps, p.Step)
					}
					if p.DoneBytes > p.TotalBytes {
						t.Errorf("%+v", p)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(steps, ", "); got != "export "+in.Output+", verify "+in.Output {
					t.Errorf("steps %s", got)
				}
				if names := exportNames(t, dir); !slices.Equal(names, []string{out.Piece.Partial}) {
					t.Errorf("in the folder are %q", names)
				}
				exportReadBy(t, dir, out.Piece.Partial, container, want)
				file := exportFile(t, filepath.Join(dir, out.Piece.Partial))
				sum := sha256.Sum256(file)
				crc := fmt.Sprintf("%08x", crc32.Checksum(want, castagnoli))
				if out.SHA256 != hex.EncodeToString(sum[:]) || out.CRC32C != crc || out.SizeBytes != int64(len(file)) || out.VirtualSizeBytes != exportSize || out.VerifiedBytes != out.SizeBytes {
					t.Errorf("%+v, want SHA-256 %x, CRC %s and %d bytes", out, sum, crc, len(file))
				}
				// Each byte that is in use was read once, and written once.
				free := int64(0)
				for at := 0; at < exportVolumeSize; at += 4096 {
					if p := want[exportVolumeOffset+at:][:4096]; bytes.Equal(p, make([]byte, 4096)) && !bytes.Equal(p, disk.bytes[exportVolumeOffset+at:][:4096]) {
						free += 4096
					}
				}
				if out.SkippedBytes != free || out.DiskBytes < exportSize-free || out.DiskBytes > exportSize-free+exportMiB {
					t.Errorf("read %d and skipped %d bytes of %d; %d are free", out.DiskBytes, out.SkippedBytes, exportSize, free)
				}
				data := int64(0)
				for at := 0; at < exportSize; at += 64 << 10 {
					if p := want[at:][:64<<10]; !bytes.Equal(p, make([]byte, 64<<10)) {
						data += 64 << 10
					}
				}
				if out.BytesWritten < data || out.BytesWritten > data+5*exportMiB/2 {
					t.Errorf("wrote %d bytes for %d", out.BytesWritten, data)
				}
				if sha256.Sum256(disk.bytes) != before {
					t.Error("the working disk has changed")
				}

				names := publish.Names{Output: in.Output, Key: in.Key}
				pieces := []publish.Piece{out.Piece}
				if err := publish.Publish(t.Context(), store, names, pieces); err != nil {
					t.Fatal(err)
				}
				if err := publish.Finish(t.Context(), store, names, []publish.Place{out.Piece.Place()}, pieces, true); err != nil {
					t.Fatal(err)
				}
				if all := exportNames(t, dir); !slices.Equal(all, []string{in.Output}) {
					t.Errorf("left in the folder: %q", all)
				}
			})
		}
	}
}

// A volume whose bitmap may be wrong is written whole, and its warning says so.
func TestExportUnclean(t *testing.T) {
	disk, want := exportDisks(t, false, true)
	dir, store := exportFolder(t)
	out, err := Export(t.Context(), store, exportInput(chain.VHDX), disk, exportQuiet)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "partition 2 is copied whole") || out.SkippedBytes != 0 || out.SHA256 != "" {
		t.Errorf("%+v", out)
	}
	exportReadBy(t, dir, out.Piece.Partial, chain.VHDX, want)
}

// IDs are a function of job and contents.
func TestExportIDs(t *testing.T) {
	_, store := exportFolder(t)
	contents := disktest.Pattern(4*exportMiB, 6)
	export := func(change func(*ExportInput, []byte)) Exported {
		in, d := exportInput(chain.VHDX), exportDisk{bytes: bytes.Clone(contents)}
		in.SizeBytes = d.Size()
		change(&in, d.bytes)
		out, err := Export(t.Context(), store, in, d, exportQuiet)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := export(func(*ExportInput, []byte) {})
	if again := export(func(in *ExportInput, _ []byte) { in.Attempt = "ce-2" }); again.ID != first.ID {
		t.Errorf("another attempt has the ID %s, the first one %s", again.ID, first.ID)
	}
	others := map[string]bool{first.ID: true}
	for what, change := range map[string]func(*ExportInput, []byte){
		"contents": func(_ *ExportInput, p []byte) { p[len(p)-1]++ },
		"job":      func(in *ExportInput, _ []byte) { in.Job = "ips/h/disks/other" },
		"run":      func(in *ExportInput, _ []byte) { in.Key = "ba9876543210" },
		"output":   func(in *ExportInput, _ []byte) { in.Output = "other.vhdx" },
		"VHD": func(in *ExportInput, p []byte) {
			in.Format, in.Output = job.FormatVHD, "other.vhd"
		},
	} {
		if out := export(change); others[out.ID] {
			t.Errorf("another %s, and the same ID", what)
		} else {
			others[out.ID] = true
		}
	}
}

func TestExportRefuses(t *testing.T) {
	power := errors.New("no answer")
	for _, c := range []struct {
		name   string
		change func(*ExportInput, *exportDisk)
		code   job.Code
	}{
		{"disk that is too small", func(in *ExportInput, d *exportDisk) { in.SizeBytes = d.Size() + 512 }, job.PlatformRefused},
		{"half a sector", func(in *ExportInput, _ *exportDisk) { in.SizeBytes -= 256 }, job.Internal},
		{"disk that does not answer", func(_ *ExportInput, d *exportDisk) { d.fail = power }, job.PlatformError},
		{"format that there is not", func(in *ExportInput, _ *exportDisk) { in.Format = "Qcow2" }, job.BadRequest},
		{"differencing disk by its name", func(in *ExportInput, _ *exportDisk) { in.Format, in.Output = "", "a.avhdx" }, job.BadRequest},
		{"blocks that there are not", func(in *ExportInput, _ *exportDisk) { in.BlockBytes = 3 * exportMiB }, job.BadRequest},
		{"no time, in a VHD", func(in *ExportInput, _ *exportDisk) { in.Format, in.Created = job.FormatVHD, time.Time{} }, job.BadRequest},
	} {
		dir, store := exportFolder(t)
		in, d := exportInput(chain.VHDX), exportDisk{bytes: make([]byte, 4*exportMiB)}
		in.SizeBytes = d.Size()
		c.change(&in, &d)
		if _, err := Export(t.Context(), store, in, d, exportQuiet); job.CodeOf(err) != c.code {
			t.Errorf("%s: %q, %v", c.name, job.CodeOf(err), err)
		} else if d.fail != nil && !errors.Is(err, d.fail) {
			t.Errorf("%s: %v", c.name, err)
		}
		if names := exportNames(t, dir); len(names) > 0 {
			t.Errorf("%s: left %q", c.name, names)
		}
	}
}

// Over a real share, what is written crosses the wire once, and little is read.
func TestExportToShare(t *testing.T) {
	server := samba.New(t)
	wire := proxy.New(t, server.Addr())
	store, err := share.Dial(t.Context(), share.Location{Host: "127.0.0.1", Port: wire.Port(), Share: samba.DefaultShare},
		share.Credential{Username: server.Username, Password: server.Password}, share.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	disk, want := exportDisks(t, true, false)
	dir := server.Shares[samba.DefaultShare]
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		in := exportInput(container)
		// What a Compositing Engine that was lost has left.
		disktest.WriteFile(t, filepath.Join(dir, publish.Names{Output: in.Output, Key: in.Key}.Partial("lost-1")), []byte("half"))
		up, down := wire.Bytes(proxy.Up), wire.Bytes(proxy.Down)
		out, err := Export(t.Context(), store, in, disk, exportQuiet)
		if err != nil {
			t.Fatal(err)
		}
		up, down = wire.Bytes(proxy.Up)-up, wire.Bytes(proxy.Down)-down
		t.Logf("%s: %d bytes of the disk in use, %d written, %d read; on the wire %d up, %d down", container, out.DiskBytes, out.BytesWritten, out.BytesRead, up, down)
		if up > out.BytesWritten*101/100+exportMiB/4 {
			t.Errorf("%s: %d bytes went to the share, %d were written", container, up, out.BytesWritten)
		}
		if down > out.BytesRead*101/100+exportMiB/4 {
			t.Errorf("%s: %d bytes came from the share, %d were read", container, down, out.BytesRead)
		}
		exportReadBy(t, dir, out.Piece.Partial, container, want)
		names, pieces := publish.Names{Output: in.Output, Key: in.Key}, []publish.Piece{out.Piece}
		if err := publish.Publish(t.Context(), store, names, pieces); err != nil {
			t.Fatal(err)
		}
		if there, err := source.Stat(t.Context(), store, in.Output); err != nil || there == nil || *there != out.Piece.File {
			t.Errorf("published is %+v, not %+v: %v", there, out.Piece.File, err)
		}
		if err := publish.Finish(t.Context(), store, names, []publish.Place{out.Piece.Place()}, pieces, true); err != nil {
			t.Fatal(err)
		}
	}
	if names := exportNames(t, dir); !slices.Equal(names, []string{"win10-2311.vhd", "win10-2311.vhdx"}) {
		t.Errorf("in the folder are %q", names)
	}
}
