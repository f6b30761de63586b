package export

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imageport/engine/disk/vhd"
	"imageport/testkit/disktest"
)

// appliance is the size of a real one: an ESP that is mostly full.
const appliance = 23<<20 + 12345

// sameAsRaw compares the guest's view of a disk image with the raw export.
func sameAsRaw(t *testing.T, uki []byte, format, path string) {
	t.Helper()
	raw, info := export(t, Raw, uki, Options{})
	disktest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", format, raw, path)
	// Which takes zeros at the end of one for nothing.
	var said struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(disktest.Run(t, "qemu-img", "info", "--output=json", "-f", format, path), &said); err != nil {
		t.Fatal(err)
	}
	if said.Size != info.SizeBytes {
		t.Errorf("qemu-img: a disk of %d bytes, expected %d", said.Size, info.SizeBytes)
	}
}

func TestVHD(t *testing.T) {
	uki := program(appliance, 3)
	path, info := export(t, VHD, uki, Options{})
	if info.SizeBytes != 35<<20+512 {
		t.Errorf("%d bytes: Azure takes whole MiB and a footer", info.SizeBytes)
	}
	sameAsRaw(t, uki, "vpc", path)
	disktest.Listed7zz(t, "vhd", path)

	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vhd.Open(bytes.NewReader(file), int64(len(file))); err != nil {
		t.Error(err)
	}
}

func TestVMDK(t *testing.T) {
	for _, tt := range []struct {
		name string
		uki  int
	}{
		{"a sector", 512},
		{"as the appliance", appliance},
		{"two grain tables", 40 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uki := program(tt.uki, 4)
			path, _ := export(t, OVA, uki, Options{})
			path = filepath.Join(untar(t, path), "imageport-ce-disk1.vmdk")
			if out := string(disktest.Run(t, "qemu-img", "check", "-f", "vmdk", path)); !strings.Contains(out, "No errors were found") {
				t.Errorf("qemu-img: %s", out)
			}
			sameAsRaw(t, uki, "vmdk", path)
			disktest.Listed7zz(t, "vmdk", path, "streamOptimized")
			raw, _ := export(t, Raw, uki, Options{})
			disk, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			disktest.Same7zz(t, "vmdk", disktest.Bytes(disk, sectorSize), path)
			var said struct {
				Specific struct {
					Data struct {
						CreateType string `json:"create-type"`
						Extents    []struct {
							Compressed  bool `json:"compressed"`
							ClusterSize int  `json:"cluster-size"`
						}
					}
				} `json:"format-specific"`
			}
			if err := json.Unmarshal(disktest.Run(t, "qemu-img", "info", "--output=json", path), &said); err != nil {
				t.Fatal(err)
			}
			if d := said.Specific.Data; d.CreateType != "streamOptimized" || len(d.Extents) != 1 || !d.Extents[0].Compressed || d.Extents[0].ClusterSize != vmdkGrainBytes {
				t.Errorf("qemu-img: %+v", said)
			}
		})
	}
}

// vSphere imports the stream front to back, by its markers, where QEMU goes by
// the directory.
func TestVMDKMarkers(t *testing.T) {
	uki := program(40<<20, 4)
	path, info := export(t, OVA, uki, Options{})
	file, err := os.ReadFile(filepath.Join(untar(t, path), "imageport-ce-disk1.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []byte
	grains, next := 0, int64(-1)
	le := func(b []byte) (n int64) {
		for i := range b {
			n |= int64(b[i]) << (8 * i)
		}
		return n
	}
	for at := int64(vmdkOverhead * sectorSize); ; {
		if at+sectorSize > int64(len(file)) {
			t.Fatalf("no end marker before %d", at)
		}
		m := file[at:][:sectorSize]
		value, size, kind := le(m[:8]), le(m[8:12]), m[12]
		if size > 0 {
			if value <= next || value%vmdkGrain != 0 {
				t.Fatalf("grain at LBA %d behind that at %d", value, next)
			}
			next = value
			grains++
			at += roundUp(12+size, sectorSize)
			continue
		}
		kinds = append(kinds, '0'+kind)
		at += sectorSize
		if kind == markerEnd {
			if at != int64(len(file)) {
				t.Errorf("the end marker is at %d of %d", at, len(file))
			}
			break
		}
		at += value * sectorSize
	}
	if string(kinds) != "11230" {
		t.Errorf("markers %s, expected two tables, the directory, the footer and the end", kinds)
	}
	if most := int(info.Layout.SizeBytes / vmdkGrainBytes); grains < 30<<20/vmdkGrainBytes || grains >= most*9/10 {
		t.Errorf("%d of %d grains: a quarter of the UKI is zeros", grains, most)
	}
}

func TestGCP(t *testing.T) {
	uki := program(appliance, 5)
	path, info := export(t, GCP, uki, Options{})
	if info.Layout.SizeBytes != 1<<30 {
		t.Errorf("a disk of %d bytes: Google Cloud takes whole GiB", info.Layout.SizeBytes)
	}
	disktest.Run(t, "gzip", "-t", path)

	// GNU tar knows it as sparse, and unpacks it so.
	listing := strings.Join(strings.Fields(string(disktest.Run(t, "tar", "--list", "--verbose", "--utc", "--full-time", "-f", path))), " ")
	if want := "-rw-r--r-- root/root 1073741824 2026-11-23 06:30:07 disk.raw"; listing != want {
		t.Errorf("tar lists %q, expected %q", listing, want)
	}
	disk := filepath.Join(untar(t, path), "disk.raw")
	stat, err := os.Stat(disk)
	if err != nil {
		t.Fatal(err)
	}
	if allocated := stat.Sys().(*syscall.Stat_t).Blocks * 512; stat.Size() != 1<<30 || allocated > 30<<20 {
		t.Errorf("%d bytes, of which %d are allocated", stat.Size(), allocated)
	}
	checkSgdisk(t, disk)

	// The front is the raw disk's but for the GPT, which covers more.
	raw, rawInfo := export(t, Raw, uki, Options{})
	if info.Layout.ESP != rawInfo.Layout.ESP || info.Layout.UKI != rawInfo.Layout.UKI {
		t.Errorf("%+v, the raw disk has %+v", info.Layout, rawInfo.Layout)
	}
	esp := rawInfo.Layout.ESP
	if !bytes.Equal(region(t, disk, esp), region(t, raw, esp)) {
		t.Error("the ESP differs from the raw disk's")
	}

	// What it is in the archive: GNU's old format.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if h := unzipped.Header; h.Name != "" || !h.ModTime.Equal(made) {
		t.Errorf("gzip header %+v", h)
	}
	archive, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	if string(archive[257:265]) != "ustar  \x00" || archive[156] != 'S' || len(archive)%tarRecord != 0 {
		t.Errorf("magic %q, type %q, %d bytes", archive[257:265], archive[156], len(archive))
	}
	header, err := tar.NewReader(bytes.NewReader(archive)).Next()
	if err != nil || header.Size != 1<<30 || header.Format != tar.FormatGNU || !header.ModTime.Equal(made) {
		t.Errorf("archive/tar: %+v, %v", header, err)
	}
}

// region reads a part of a disk in a file.
func region(t *testing.T, path string, r Region) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, r.Sectors*sectorSize)
	if _, err := f.ReadAt(p, int64(r.FirstLBA*sectorSize)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSparseHeaderRefuses(t *testing.T) {
	file := &contents{size: gib, parts: make([]part, 5)}
	if _, err := sparseHeader("disk.raw", file, made); err == nil {
		t.Error("five parts in a header for four")
	}
}

func TestISO(t *testing.T) {
	uki := program(appliance, 6)
	path, info := export(t, ISO, uki, Options{Version: "1.2.3"})
	if info.Layout != (Layout{}) {
		t.Errorf("the layout of a disk: %+v", info.Layout)
	}
	report := xorriso(t, path, "-pvd_info", "-report_el_torito", "plain", "-find", "/", "-exec", "lsdl", "--")
	for _, want := range []string{
		"Volume Id    : IMAGEPORT_CE\n", "App Id       : IMAGEPORT-CE 1.2.3\n", "Creation Time: 2026112306300700\n",
		"El Torito catalog  : 22  1\n",
		"El Torito boot img :   1  UEFI  y   none  0x0000  0x00      1          32\n",
		"El Torito img path :   1  /EFI.IMG\n",
	} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso does not say %q:\n%s", want, report)
		}
	}
	if n := info.SizeBytes - isoImage*isoSector; n != 33<<20 {
		t.Errorf("%d bytes behind the start of the image, which has to end where the disc does", n)
	}

	image := filepath.Join(t.TempDir(), "efi.img")
	xorriso(t, path, "-osirrox", "on", "-extract", "/EFI.IMG", image)
	volume, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if len(volume) != 33<<20 {
		t.Errorf("an image of %d bytes", len(volume))
	}
	checkESP(t, volume, 0, uki)
	disktest.Listed7zz(t, "iso", path, "EFI.IMG", "BOOT.CAT")
	disktest.Run(t, "7zz", "t", "-tiso", path)
}

func xorriso(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.Command("xorriso", append([]string{"-no_rc", "-abort_on", "SORRY", "-indev", path}, args...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "WARNING") {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return string(out)
}
