package fat32

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func options(size int64, sectorSize int) Options {
	return Options{
		SizeBytes: size, SectorSize: sectorSize, HiddenSectors: 2048,
		Label: "SYSTEM", VolumeID: 0x1234ABCD, ModTime: testTime,
	}
}

// checkContent reads everything back with the reader of this package.
func checkContent(t *testing.T, r io.ReaderAt, opt Options, files []File) {
	t.Helper()
	v, err := Open(r, opt.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Check(); err != nil {
		t.Error(err)
	}
	if got := v.Info(); got.SizeBytes != opt.SizeBytes || got.SectorSize != opt.SectorSize || got.Label != opt.Label ||
		got.VolumeID != opt.VolumeID || got.HiddenSectors != opt.HiddenSectors {
		t.Errorf("info %+v", got)
	}
	found, err := v.Files()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(files) {
		t.Errorf("%d files, want %d", len(found), len(files))
	}
	byPath := map[string]Entry{}
	for _, e := range found {
		byPath[foldName(e.Path)] = e
	}
	for i, f := range files {
		e, ok := byPath[foldName(f.Path)]
		if !ok || e.Size != f.Size || !e.ModTime.Equal(f.ModTime) {
			t.Errorf("%s: %+v", f.Path, e)
			continue
		}
		if base := f.Path[strings.LastIndexByte(f.Path, '/')+1:]; !strings.HasSuffix(e.Path, base) {
			t.Errorf("%s: spelled %s", f.Path, e.Path)
		}
		if i < 60 { // to find a file takes time, and the others are like these
			checkFile(t, v, f)
		}
	}
}

func checkFile(t *testing.T, v *FS, f File) {
	t.Helper()
	r, err := v.Open(strings.ToUpper(f.Path))
	if err != nil {
		t.Error(err)
		return
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("%s: %v", f.Path, err)
		return
	}
	want := make([]byte, f.Size)
	if f.Size > 0 {
		if err := readFull(f.Data, want, 0); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, not those that were written", f.Path, len(got))
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		size       int64
		sectorSize int
		cluster    int // asked for
		want       int // cluster size
	}{
		{33 << 20, 512, 0, 512},
		{64 << 20, 512, 0, 512},
		{64<<20 + 512, 512, 0, 512}, // 1 KiB clusters would be too few
		{100 << 20, 512, 0, 1 << 10},
		{100 << 20, 512, 512, 512},
		{128 << 20, 512, 0, 1 << 10},
		{260 << 20, 512, 0, 2 << 10},
		{260<<20 + 512, 512, 0, 4 << 10},
		{500 << 20, 512, 0, 4 << 10},
		{1 << 30, 512, 0, 4 << 10},
		{9 << 30, 512, 0, 8 << 10},
		{260 << 20, 4096, 0, 4 << 10},
		{1 << 30, 4096, 0, 4 << 10},
		{8 << 30, 4096, 64 << 10, 64 << 10},
	} {
		t.Run(fmt.Sprintf("%d bytes, sectors of %d, clusters of %d", tt.size, tt.sectorSize, tt.want), func(t *testing.T) {
			opt := options(tt.size, tt.sectorSize)
			opt.ClusterSize = tt.cluster
			files := trickyFiles(tt.want)
			d := newSparse(0xAA)
			if err := Format(d, opt, files); err != nil {
				t.Fatal(err)
			}
			checkContent(t, d, opt, files)
			v, err := Open(d, opt.SizeBytes)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Info().ClusterSize; got != tt.want {
				t.Errorf("clusters of %d bytes, want %d", got, tt.want)
			}
			if v.dataStart%4096 != 0 || v.dataStart%int64(tt.want) != 0 {
				t.Errorf("the first cluster is at offset %d", v.dataStart)
			}
			needed, err := Needed(opt, files)
			if err != nil {
				t.Fatal(err)
			}
			for page := range d.pages {
				if page*4096 >= needed {
					t.Fatalf("wrote at offset %d, only %d bytes are needed", page*4096, needed)
				}
			}
		})
	}
}

// All that belongs to the file system must be written, and nothing else: over
// garbage and over zeros it must come out the same.
func TestFormatCoversGarbage(t *testing.T) {
	opt := options(33<<20, 512)
	opt.Label = ""
	files := trickyFiles(512)
	needed, err := Needed(opt, files)
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for _, fill := range []byte{0xAA, 0x00} {
		d := newSparse(fill)
		if err := Format(d, opt, files); err != nil {
			t.Fatal(err)
		}
		image := make([]byte, needed)
		d.ReadAt(image, 0)
		if first == nil {
			first = image
		} else if !bytes.Equal(image, first) {
			t.Error("what was on the device makes a difference")
		}
		free := make([]byte, 8192)
		d.ReadAt(free, needed)
		if bytes.Count(free, []byte{fill}) != len(free) {
			t.Error("a free cluster was written")
		}
	}
}

func TestFormatIsDeterministic(t *testing.T) {
	opt := options(100<<20, 512)
	files := bootFiles(0.1)
	var first []byte
	for i := range 2 {
		rand.New(rand.NewPCG(1, uint64(i))).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		needed, err := Needed(opt, files)
		if err != nil {
			t.Fatal(err)
		}
		d := newSparse(0)
		if err := Format(d, opt, files); err != nil {
			t.Fatal(err)
		}
		image := make([]byte, needed)
		d.ReadAt(image, 0)
		if i == 0 {
			first = image
		} else if !bytes.Equal(image, first) {
			t.Error("the order of the files makes a difference")
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	good := options(64<<20, 512)
	with := func(change func(*Options)) Options {
		o := good
		change(&o)
		return o
	}
	one := []File{file("a", 1)}
	paths := func(paths ...string) (files []File) {
		for _, p := range paths {
			files = append(files, file(p, 1))
		}
		return files
	}
	huge := func(size int64) []File { return []File{{Path: "x", Size: size, Data: newSparse(0)}} }
	manyNames := func(n int) (files []File) {
		for i := range n {
			files = append(files, File{Path: fmt.Sprintf("%08d", i)})
		}
		return files
	}
	tests := []struct {
		name  string
		opt   Options
		files []File
		want  error
		says  string
	}{
		{"sector size", with(func(o *Options) { o.SectorSize = 520 }), one, ErrOptions, "sectors of 520"},
		{"half a sector", with(func(o *Options) { o.SizeBytes += 256 }), one, ErrOptions, "512-byte sectors"},
		{"no size", with(func(o *Options) { o.SizeBytes = 0 }), one, ErrOptions, "0 bytes"},
		{"cluster below sector", with(func(o *Options) { o.SectorSize, o.ClusterSize = 4096, 2048 }), one, ErrOptions, "clusters of 2048"},
		{"cluster of 3 sectors", with(func(o *Options) { o.ClusterSize = 1536 }), one, ErrOptions, "clusters of 1536"},
		{"cluster of 128 KiB", with(func(o *Options) { o.ClusterSize = 128 << 10 }), one, ErrOptions, "clusters of 131072"},
		{"label too long", with(func(o *Options) { o.Label = "SYSTEM-RESERVED" }), one, ErrOptions, "SYSTEM-RESERVED"},
		{"label character", with(func(o *Options) { o.Label = "SYS.TEM" }), one, ErrOptions, `'.'`},
		{"label in Greek", with(func(o *Options) { o.Label = "ΣΥΣ" }), one, ErrOptions, "label"},
		{"one sector", with(func(o *Options) { o.SizeBytes = 512 }), one, ErrVolumeSize, "0 clusters"},
		{"32 MiB", with(func(o *Options) { o.SizeBytes = 32 << 20 }), one, ErrVolumeSize, "clusters of 512 bytes"},
		{"100 MiB of 4096-byte sectors", with(func(o *Options) { o.SizeBytes, o.SectorSize = 100<<20, 4096 }), one, ErrVolumeSize, "clusters of 4096 bytes"},
		{"cluster size too large for the volume", with(func(o *Options) { o.ClusterSize = 4096 }), one, ErrVolumeSize, "clusters of 4096 bytes are 16"},
		{"more sectors than 32 bits", with(func(o *Options) { o.SizeBytes = 1 << 41 }), one, ErrVolumeSize, "4294967296 sectors"},
		{"more clusters than 28 bits", with(func(o *Options) { o.SizeBytes, o.ClusterSize = 1<<41-512, 512 }), one, ErrVolumeSize, "clusters"},
		{"empty path", good, paths(""), ErrPath, "empty name"},
		{"absolute path", good, paths("/EFI"), ErrPath, "empty name"},
		{"directory", good, paths("EFI/"), ErrPath, "empty name"},
		{"dots", good, paths("EFI/../x"), ErrPath, `".."`},
		{"backslash", good, paths(`EFI\Boot`), ErrPath, `'\\'`},
		{"colon", good, paths("a:b"), ErrPath, "':'"},
		{"control character", good, paths("a\nb"), ErrPath, `'\n'`},
		{"trailing dot", good, paths("a."), ErrPath, "ends in a dot"},
		{"trailing space", good, paths("a /b"), ErrPath, "ends in a dot or space"},
		{"not UTF-8", good, paths("a\xFF"), ErrPath, "not UTF-8"},
		{"256 code units", good, paths(strings.Repeat("𝄞", 128)), ErrPath, "255 UTF-16"},
		{"long path", good, paths(strings.Repeat("abc/", 1024) + "x"), ErrPath, "4097 bytes"},
		{"twice", good, paths("a/b", "A/B"), ErrPath, `"a/b" is there already`},
		{"file and directory", good, paths("a", "a/b"), ErrPath, `"a" is a file`},
		{"directory and file", good, paths("a/b", "a"), ErrPath, `"a" is there already`},
		{"65536 entries and the label", good, manyNames(65536), ErrPath, "65537 entries"},
		{"negative size", good, huge(-1), ErrFileSize, "-1 bytes"},
		{"4 GiB", with(func(o *Options) { o.SizeBytes = 8 << 30 }), huge(1 << 32), ErrFileSize, "4294967296 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newSparse(0)
			_, errNeeded := Needed(tt.opt, tt.files)
			for _, err := range []error{Format(d, tt.opt, tt.files), errNeeded} {
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want %v that says %q", err, tt.want, tt.says)
				}
			}
			if len(d.pages) != 0 {
				t.Error("something was written")
			}
		})
	}
	if err := Format(newSparse(0), good, []File{{Path: "a", Size: 1}}); !errors.Is(err, ErrFileSize) {
		t.Errorf("no data: %v", err)
	}
	short := []File{{Path: "EFI/short", Size: 10, Data: strings.NewReader("nine chr.")}}
	if err := Format(newSparse(0), good, short); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "EFI/short") {
		t.Errorf("short data: %v", err)
	}
	broken := errors.New("device gone")
	if err := Format(writerFunc(func([]byte, int64) (int, error) { return 0, broken }), good, one); !errors.Is(err, broken) {
		t.Errorf("broken device: %v", err)
	}
	largest := with(func(o *Options) { o.SizeBytes = 8 << 30 })
	if n, err := Needed(largest, huge(1<<32-1)); err != nil || n < 1<<32-1 {
		t.Errorf("a file of 4 GiB - 1: %d, %v", n, err)
	}
	if _, err := Needed(good, manyNames(65535)); err != nil {
		t.Errorf("a full root directory: %v", err)
	}
}

type writerFunc func(p []byte, off int64) (int, error)

func (f writerFunc) WriteAt(p []byte, off int64) (int, error) { return f(p, off) }

// The last cluster can be used, and Needed says exactly when it is not enough.
func TestFull(t *testing.T) {
	opt := options(33<<20, 512)
	g, err := newGeometry(opt)
	if err != nil {
		t.Fatal(err)
	}
	rest := int64(g.clusters-1) * 512 // the root directory has one
	for _, extra := range []int64{0, 1} {
		files := []File{{Path: "FILL", Size: rest + extra, ModTime: testTime, Data: newSparse(0x55)}}
		needed, err := Needed(opt, files)
		if err != nil {
			t.Fatal(err)
		}
		d := newSparse(0xAA)
		err = Format(d, opt, files)
		if extra == 0 {
			if err != nil || needed > opt.SizeBytes {
				t.Fatalf("full volume: %d bytes needed, %v", needed, err)
			}
			checkContent(t, d, opt, files)
		} else if !errors.Is(err, ErrNoSpace) || needed <= opt.SizeBytes || len(d.pages) != 0 {
			t.Errorf("overfull volume: %d bytes needed, %v, %d pages written", needed, err, len(d.pages))
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, label := range []string{"", "SYSTEM"} {
		opt := options(33<<20, 512)
		opt.Label = label
		d := newSparse(0xAA)
		if err := Format(d, opt, nil); err != nil {
			t.Fatal(err)
		}
		checkContent(t, d, opt, nil)
	}
}

// The aliases that the specification asks for.
func TestShortNames(t *testing.T) {
	tests := []struct{ name, want string }{
		{"BCD", "BCD"},
		{"bootx64.efi", "BOOTX64.EFI"},
		{"The quick brown.fox", "THEQUI~2.FOX"},     // the example of the specification,
		{"the quick brown dog.fox", "THEQUI~1.FOX"}, // which this sorts before
		{"bootmgfw.efi.mui", "BOOTMG~1.MUI"},
		{"qps-plocm", "QPS-PL~1"},
		{"en-US", "EN-US"},
		{".config", "CONFIG~1"},
		{"a.b.c", "AB~1.C"},
		{"x+y.txt", "X_Y~1.TXT"},
		{"a b", "AB~1"},
		{"x.html", "X~1.HTM"},
		{"中国", "__~1"},
		{"日本", "__~2"},
		{"ü.ü", "_~1._"},
	}
	var files []File
	for _, tt := range tests {
		files = append(files, file("d/"+tt.name, 0))
	}
	d := newSparse(0)
	opt := options(33<<20, 512)
	if err := Format(d, opt, files); err != nil {
		t.Fatal(err)
	}
	v, err := Open(d, opt.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := v.Walk(func(e Entry) error { got[e.Path] = e.ShortName; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if got["d/"+tt.name] != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got["d/"+tt.name], tt.want)
		}
	}
}

func TestShortNamesAreUnique(t *testing.T) {
	d := newSparse(0)
	opt := options(64<<20, 512)
	files := trickyFiles(512)
	if err := Format(d, opt, files); err != nil {
		t.Fatal(err)
	}
	v, err := Open(d, opt.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	if err := v.Walk(func(e Entry) error {
		key := e.Path[:strings.LastIndexByte(e.Path, '/')+1] + e.ShortName
		if other, ok := seen[key]; ok {
			t.Errorf("%q and %q both have short name %q", other, e.Path, e.ShortName)
		}
		seen[key] = e.Path
		if base, ext, _ := strings.Cut(e.ShortName, "."); len(base) > 8 || len(ext) > 3 || strings.ToUpper(e.ShortName) != e.ShortName {
			t.Errorf("%q: short name %q", e.Path, e.ShortName)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"collide/LONGNA~1.TXT": "collide/LONGNA~1.TXT",
		"COLLIDE/longn~20.txt": "collide/longn~20.txt",
	} {
		if e, err := v.Stat(key); err != nil || e.Path != want {
			t.Errorf("%s: %+v, %v", key, e, err)
		}
	}
}

func TestTimes(t *testing.T) {
	zone := time.FixedZone("", 3600)
	for _, tt := range []struct{ in, want time.Time }{
		{time.Time{}, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)},
		{time.Date(2025, 2, 28, 12, 34, 57, 990e6, time.UTC), time.Date(2025, 2, 28, 12, 34, 56, 0, time.UTC)},
		{time.Date(2025, 1, 1, 0, 30, 0, 0, zone), time.Date(2024, 12, 31, 23, 30, 0, 0, time.UTC)},
		{time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)},
	} {
		date, clock, tenth := fatTime(tt.in)
		if got := decodeTime(date, clock); !got.Equal(tt.want) || tenth > 199 {
			t.Errorf("%v: %v and %d", tt.in, got, tenth)
		}
	}
}

// memory is a volume in one piece.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func BenchmarkFormat30MB(b *testing.B) {
	files := bootFiles(1)
	opt := options(100<<20, 512)
	device := make(memory, opt.SizeBytes)
	needed, err := Needed(opt, files)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(needed)
	for b.Loop() {
		if err := Format(device, opt, files); err != nil {
			b.Fatal(err)
		}
	}
}
