package ntfs

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// files are those that every geometry is tested with.
func files() tree {
	w := tree{
		"empty":                                   {},
		"resident.txt":                            []byte("short enough for the MFT record"),
		"Windows/System32/":                       nil,
		"Windows/Boot/EFI/de-DE/":                 nil,
		"Windows/Boot/EFI/boot.efi":               random(1, 1_500_001),
		"Windows/Boot/EFI/de-DE/bootmgfw.efi.mui": random(2, 76_000),
		"Windows/System32/config/SYSTEM":          random(3, 300_000),
		"Üñïcødé/Ελληνικά/日本語/😀 smile.txt":            random(4, 5000),
		"Üñïcødé/a rather long name with spaces.data": random(5, 4096),
	}
	for i := range 150 {
		w[fmt.Sprintf("Windows/INF/oem%d.inf", i)] = random(100+i, i*37)
	}
	return w
}

func TestGeometries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		size int64
		args []string
		want State
	}{
		{"default", 48 << 20, nil, State{ClusterSize: 4096, SectorSize: 512, RecordSize: 1024}},
		{"clusters of 512 bytes", 48 << 20, []string{"-c", "512"}, State{ClusterSize: 512, SectorSize: 512, RecordSize: 1024}},
		{"clusters of 64 KiB", 48 << 20, []string{"-c", "65536"}, State{ClusterSize: 65536, SectorSize: 512, RecordSize: 1024}},
		{"clusters of 2 MiB", 1 << 30, []string{"-c", "2097152"}, State{ClusterSize: 2 << 20, SectorSize: 512, RecordSize: 1024}},
		{"sectors of 4096 bytes", 48 << 20, []string{"-s", "4096"}, State{ClusterSize: 4096, SectorSize: 4096, RecordSize: 4096}},
		{"sectors of 4096 bytes, clusters of 64 KiB", 48 << 20, []string{"-s", "4096", "-c", "65536"}, State{ClusterSize: 65536, SectorSize: 4096, RecordSize: 4096}},
		{"sectors of 4096 bytes, clusters of 2 MiB", 1 << 30, []string{"-s", "4096", "-c", "2097152"}, State{ClusterSize: 2 << 20, SectorSize: 4096, RecordSize: 4096}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image := format(t, c.size, c.args...)
			w := files()
			if c.want.ClusterSize == 2<<20 {
				// A cluster each: keep to what the volume holds.
				for i := range 150 {
					delete(w, fmt.Sprintf("Windows/INF/oem%d.inf", i))
				}
			}
			mounted(t, image, "windows_names", func(root string) { w.write(t, root) })
			v, b := readImage(t, image)
			w.check(t, v, b)
			got := v.State()
			if got.Serial == 0 || got.TotalBytes <= c.size-2*int64(c.want.SectorSize)-1 || got.TotalBytes > c.size {
				t.Errorf("State: %+v of %d bytes", got, c.size)
			}
			c.want.Label, c.want.MajorVersion, c.want.MinorVersion = "Système", 3, 1
			c.want.Serial, c.want.TotalBytes = got.Serial, got.TotalBytes
			if got != c.want {
				t.Errorf("State:\n got %+v\nwant %+v", got, c.want)
			}
			if clean, err := v.LogFileClean(); !clean || err != nil {
				t.Errorf("LogFileClean = %v, %v", clean, err)
			}
			if hibernated, err := v.Hibernated(); hibernated || err != nil {
				t.Errorf("Hibernated = %v, %v", hibernated, err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	image := format(t, 8<<20)
	w := tree{
		"Windows/System32/winload.EFI": []byte("loader"),
		"Straße/ÄÖÜ.txt":               []byte("umlauts"),
		"posix/readme":                 []byte("lower"),
		"posix/README":                 []byte("upper"),
		"posix/Other":                  []byte("other"),
		"file":                         []byte("no directory"),
	}
	mounted(t, image, "", func(root string) {
		w.write(t, root)
		if err := syscall.Setxattr(filepath.Join(root, "Windows/System32/winload.EFI"), "system.ntfs_dos_name", []byte("WINLOA~1.EFI"), 0); err != nil {
			t.Fatal(err)
		}
	})
	v, b := readImage(t, image)
	w.check(t, v, b)
	for path, want := range map[string]string{
		`\windows\SYSTEM32\Winload.efi`:   "loader",
		`/WINDOWS//system32/WINLOAD.EFI/`: "loader",
		`windows/system32/winloa~1.efi`:   "loader",
		`STRAßE\äöü.TXT`:                  "umlauts",
		`\posix\readme`:                   "lower",
		`\posix\README`:                   "upper",
		`\posix\OTHER`:                    "other",
	} {
		f, err := v.Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		got := make([]byte, f.Size())
		if _, err := f.ReadAt(got, 0); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, path := range []string{`\nothing`, `\Windows\System33\winload.efi`, `\file\below`, `\Windows\..\file`, strings.Repeat(`\Windows`, 5000)} {
		if _, err := v.Stat(path); !isNotFound(err) {
			t.Errorf("Stat(%.40s) = %v, want ErrNotFound", path, err)
		}
	}
	root, err := v.Stat(`\`)
	if err != nil || !root.IsDir || root.Name != `\` || root.Attributes&attributeDirectory == 0 {
		t.Errorf(`Stat(\) = %+v, %v`, root, err)
	}
	if _, err := v.Stat(`\$MFT`); err != nil {
		t.Errorf("metadata files are not listed, but found: %v", err)
	}
	if _, err := v.Open(`\Windows`); !isUnsupported(err) {
		t.Errorf("Open of a directory: %v", err)
	}
	if _, err := v.ReadDir(`\file`); !isUnsupported(err) {
		t.Errorf("ReadDir of a file: %v", err)
	}
}
