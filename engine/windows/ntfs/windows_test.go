package ntfs

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// windowsVolume is a small volume that Windows 10 made and dismounted; see
// testdata/README.md.
//
//go:embed testdata/windows.ntfs.gz
var windowsVolume []byte

func unpack(t testing.TB, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func store(t testing.TB, image []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume.img")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVolumeMadeByWindows(t *testing.T) {
	t.Parallel()
	image := unpack(t, windowsVolume)
	v := open(t, image)
	want := State{
		Label: "TestVolume", Serial: 16187326412442530440, ClusterSize: 4096, SectorSize: 512, RecordSize: 1024,
		TotalBytes: 3080192 - 512, MajorVersion: 3, MinorVersion: 1, Flags: 0x80,
	}
	if got := v.State(); got != want {
		t.Errorf("State:\n got %+v\nwant %+v", got, want)
	}
	if clean, err := v.LogFileClean(); !clean || err != nil {
		t.Errorf("LogFileClean = %v, %v", clean, err)
	}
	path := store(t, image)
	modified := time.Date(2020, 10, 11, 11, 37, 45, 0, time.UTC)
	sizes := map[string]int64{
		"System Volume Information": -1, "System Volume Information/WPSettings.dat": 12,
		"a_directory": -1, "a_directory/a_file": 56, "a_directory/another_file": 24,
		"passwords.txt": 126, "a_link": 0,
	}
	err := walk(v, func(name string, e Entry) error {
		size, ok := sizes[name]
		delete(sizes, name)
		if !ok || e.IsDir != (size < 0) || e.Size != max(size, 0) {
			t.Errorf("%s: %+v", name, e)
		}
		if d := modified.Sub(e.ModTime).Abs(); d > 2*time.Second {
			t.Errorf("%s: modified at %v, want %v", name, e.ModTime, modified)
		}
		if name == "a_link" {
			if e.ReparseTag != 0xa000000c {
				t.Errorf("a_link: reparse tag 0x%x, want that of a symbolic link", e.ReparseTag)
			}
			return nil
		}
		if e.IsDir {
			return nil
		}
		content, err := exec.Command("ntfscat", "-f", path, name).Output()
		if err != nil {
			t.Fatalf("ntfscat: %v", err)
		}
		checkFile(t, v, image, name, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range sizes {
		t.Errorf("%s: not listed", name)
	}
	for _, name := range []string{"$AttrDef", "$UpCase", "$LogFile", "$Bitmap", "$Boot"} {
		content, err := exec.Command("ntfscat", "-f", path, name).Output()
		if err != nil {
			t.Fatalf("ntfscat %s: %v", name, err)
		}
		checkFile(t, v, image, name, content)
	}
}

func logExtents(t testing.TB, image []byte) []Extent {
	t.Helper()
	f, err := open(t, image).Open("$LogFile")
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	return extents
}

// editRestartPages changes both restart areas of $LogFile.
func editRestartPages(t testing.TB, image []byte, edit func(page, area []byte)) {
	t.Helper()
	for page := range int64(2) {
		at := logExtents(t, image)[0].VolumeOffset + page*4096
		editProtected(t, image[at:at+4096], func(b []byte) {
			edit(b, b[binary.LittleEndian.Uint16(b[0x18:]):])
		})
	}
}

// TestLogFile compares with ntfs-3g.probe, which exits with 0 for a volume
// that it would mount for writing and 15 for one not dismounted in order.
func TestLogFile(t *testing.T) {
	t.Parallel()
	fill := func(t *testing.T, image []byte, with byte) {
		for _, e := range logExtents(t, image) {
			copy(image[e.VolumeOffset:], bytes.Repeat([]byte{with}, int(e.Length)))
		}
	}
	inUse := func(_, area []byte) {
		binary.LittleEndian.PutUint16(area[12:], 0)
		area[14] &^= restartVolumeIsClean
	}
	for _, c := range []struct {
		name  string
		edit  func(t *testing.T, image []byte)
		clean bool
		probe int
	}{
		{"as Windows left it", func(*testing.T, []byte) {}, true, 0},
		{"client in use", func(t *testing.T, image []byte) { editRestartPages(t, image, inUse) }, false, 15},
		{"client in use, flagged clean", func(t *testing.T, image []byte) {
			editRestartPages(t, image, func(_, area []byte) {
				binary.LittleEndian.PutUint16(area[12:], 0)
				area[14] |= restartVolumeIsClean
			})
		}, true, 0},
		{"version 2.0", func(t *testing.T, image []byte) {
			editRestartPages(t, image, func(page, _ []byte) {
				binary.LittleEndian.PutUint16(page[0x1a:], 0)
				binary.LittleEndian.PutUint16(page[0x1c:], 2)
			})
		}, false, 14},
		{"the newer page decides", func(t *testing.T, image []byte) {
			first := true
			editRestartPages(t, image, func(page, area []byte) {
				if first {
					lsn := binary.LittleEndian.Uint64(area)
					binary.LittleEndian.PutUint64(area, lsn+1000)
					inUse(page, area)
				}
				first = false
			})
		}, false, 15},
		{"first page torn", func(t *testing.T, image []byte) {
			at := logExtents(t, image)[0].VolumeOffset
			image[at+stride-1] ^= 0xff
		}, false, 15},
		{"second page torn", func(t *testing.T, image []byte) {
			at := logExtents(t, image)[0].VolumeOffset
			image[at+4096+stride-1] ^= 0xff
		}, false, 0}, // ntfs-3g makes do with the first
		{"first page gone", func(t *testing.T, image []byte) {
			at := logExtents(t, image)[0].VolumeOffset
			clear(image[at : at+4096])
		}, true, 0},
		{"both pages torn", func(t *testing.T, image []byte) {
			at := logExtents(t, image)[0].VolumeOffset
			image[at+stride-1] ^= 0xff
			image[at+4096+stride-1] ^= 0xff
		}, false, 15},
		{"emptied", func(t *testing.T, image []byte) {
			fill(t, image, 0xff)
		}, true, 0},
		{"zeroed", func(t *testing.T, image []byte) {
			fill(t, image, 0)
		}, false, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image := unpack(t, windowsVolume)
			c.edit(t, image)
			if clean, err := open(t, image).LogFileClean(); clean != c.clean || err != nil {
				t.Errorf("LogFileClean = %v, %v; want %v", clean, err, c.clean)
			}
			if code := exitCode(t, "ntfs-3g.probe", "--readwrite", store(t, image)); code != c.probe {
				t.Errorf("ntfs-3g.probe exits with %d, want %d", code, c.probe)
			}
		})
	}
}

func TestDirty(t *testing.T) {
	t.Parallel()
	for flags, dirty := range map[uint16]bool{0: false, 0x80: false, 0x1: true, 0x81: true, 0x4000: true, 0x2: false, 0x8000: false} {
		image := unpack(t, windowsVolume)
		editRecord(t, image, recordVolume, func(b []byte) {
			binary.LittleEndian.PutUint16(rawAttribute(t, b, typeVolumeInformation)[0x18+10:], flags)
		})
		if s := open(t, image).State(); s.Dirty != dirty || s.Flags != flags {
			t.Errorf("flags 0x%04x: Dirty = %v, flags 0x%04x", flags, s.Dirty, s.Flags)
		}
	}
	// ntfsfix schedules a check by setting the flag itself.
	path := format(t, 2<<20)
	runTool(t, "ntfsfix", path)
	if v, _ := readImage(t, path); !v.State().Dirty {
		t.Error("after ntfsfix: Dirty = false")
	}
	runTool(t, "ntfsfix", "-d", path)
	if v, _ := readImage(t, path); v.State().Dirty {
		t.Error("after ntfsfix -d: Dirty = true")
	}
}

func TestHibernated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content string
		want          bool
		probe         int // -1: ntfs-3g is of another opinion
	}{
		{"hibernated", "HIBR", true, 14},
		{"hibernated, Windows 7", "hibr", true, 14},
		{"resuming", "RSTR", true, -1},
		{"resumed", "wake", true, -1},
		{"shut down", "\x00\x00\x00\x00", false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := format(t, 4<<20)
			content := append([]byte(c.content), make([]byte, 8188)...)
			mounted(t, path, "", func(root string) {
				tree{"HiberFil.SYS": content, "Windows/explorer.exe": {}}.write(t, root)
			})
			v, _ := readImage(t, path)
			if got, err := v.Hibernated(); got != c.want || err != nil {
				t.Errorf("Hibernated = %v, %v; want %v", got, err, c.want)
			}
			if c.name == "hibernated" || c.name == "shut down" {
				// ntfs-3g looks for the name in lower case only.
				mounted(t, path, "remove_hiberfile", func(root string) {
					if err := os.RemoveAll(filepath.Join(root, "HiberFil.SYS")); err != nil {
						t.Fatal(err)
					}
					tree{"hiberfil.sys": content}.write(t, root)
				})
				if code := exitCode(t, "ntfs-3g.probe", "--readwrite", path); code != c.probe {
					t.Errorf("ntfs-3g.probe exits with %d, want %d", code, c.probe)
				}
			}
		})
	}
}
