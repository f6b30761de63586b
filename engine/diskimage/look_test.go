package diskimage_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, "ntfs-parent.vhdx", "ntfs-differential.vhdx", "ntfs-parent.vhd", "ntfs-differential.vhd")
	for _, ext := range []string{"vhdx", "vhd"} {
		info := diskimage.Describe(open(t, input(t, dir, "ntfs-differential."+ext)))
		if info.Name != "ntfs-differential."+ext || info.Container != ext || info.Type != "differencing" || info.VirtualSizeBytes != 4*mib || info.SectorBytes != 512 || len(info.Layers) != 2 {
			t.Fatalf("%+v", info)
		}
		base, top := info.Layers[0], info.Layers[1]
		if base.Name != "ntfs-parent."+ext || base.Type != "fixed" || base.Parent != nil ||
			info.FileSizeBytes != base.FileSizeBytes+top.FileSizeBytes || top.BlockBytes != 2*mib {
			t.Errorf("%+v", info)
		}
		want := map[string]diskimage.Parent{
			"vhdx": {
				Name: base.Name, FoundBy: "relative path", Path: `.\ntfs-parent.vhdx`, Linkage: "7584f8fb-36d3-4091-afb5-b1afe587bfa8",
				RelativePath: `.\ntfs-parent.vhdx`, AbsolutePath: `C:\Projects\dfvfs\test_data\ntfs-parent.vhdx`,
				VolumePath: `\\?\Volume{9cdf8dfa-0000-0000-0000-501f00000000}\Projects\dfvfs\test_data\ntfs-parent.vhdx`,
			},
			"vhd": {
				Name: base.Name, FoundBy: "relative path", Path: `.\ntfs-parent.vhd`, Linkage: "e7ea9200-8493-954e-a816-9572339be931",
				RelativePath: `.\ntfs-parent.vhd`, AbsolutePath: `C:\Projects\dfvfs\test_data\ntfs-parent.vhd`,
			},
		}[ext]
		if top.Parent == nil || *top.Parent != want || base.ID != want.Linkage {
			t.Errorf("%s: parent %+v", ext, top.Parent)
		}
	}
	x := diskimage.Describe(open(t, input(t, dir, "ntfs-parent.vhdx"))).Layers[0]
	if x.FileWriteGUID != "d8141e79-bc04-495d-bfc8-a52fb85364ce" || x.VirtualDiskID != "d62318cc-56ce-42e2-898d-16e1d1c9843e" || x.Creator != "Microsoft Windows 10.0.19041.0" || x.DirtyLog {
		t.Errorf("%+v", x)
	}
	v := diskimage.Describe(open(t, input(t, dir, "ntfs-parent.vhd"))).Layers[0]
	if *v.Geometry != (diskimage.Geometry{Cylinders: 120, Heads: 4, SectorsPerTrack: 17}) || v.Created.Year() != 2020 || v.Creator != "win 10.0" {
		t.Errorf("%+v", v)
	}
}

// TestMap reads every extent from the file that it names.
func TestMap(t *testing.T) {
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		dir := t.TempDir()
		c := open(t, input(t, dir, buildChain(t, dir, container, 10*mib, 512)))
		var at int64
		layers := make(map[int]bool)
		for e, err := range diskimage.Map(t.Context(), c) {
			if err != nil {
				t.Fatal(err)
			}
			if e.OffsetBytes != at {
				t.Fatalf("%+v comes at %d", e, at)
			}
			at += e.LengthBytes
			want, got := make([]byte, e.LengthBytes), make([]byte, e.LengthBytes)
			if _, err := c.ReadAt(want, e.OffsetBytes); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if e.Layer != nil {
				layers[*e.Layer] = true
				data, err := os.ReadFile(filepath.Join(dir, e.File))
				if err != nil {
					t.Fatal(err)
				}
				copy(got, data[*e.FileOffsetBytes:])
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %+v has other bytes", container, e)
			}
		}
		if at != c.Size() || len(layers) != 3 {
			t.Errorf("%s: ended at %d, layers %v", container, at, layers)
		}
	}
}

// TestCheck damages chains of three files.
func TestCheck(t *testing.T) {
	flip := func(off int) func([]byte) []byte {
		return func(p []byte) []byte { p[off] ^= 0xff; return p }
	}
	// twice gives a block of a VHDX the place of its neighbour.
	twice := func(p []byte) []byte {
		const bat = 3 * mib
		for i := bat; i < bat+8*64; i += 8 {
			if e := binary.LittleEndian.Uint64(p[i:]); e>>20 != 0 {
				binary.LittleEndian.PutUint64(p[i+8:], e)
				break
			}
		}
		return p
	}
	for _, x := range []struct {
		what      string
		container chain.Container
		file      string
		damage    func([]byte) []byte // nil removes the file
		code      job.Code            // "" for a file without problems
		in        string              // the file that the problem is said to be in
		detail    string              // part of structure or detail
	}{
		{"fine", chain.VHDX, "base.vhdx", flip(9 * mib), "", "", ""},
		{"fine", chain.VHD, "base.vhd", flip(mib), "", "", ""},
		{"copy of the header", chain.VHDX, "base.1.avhdx", flip(0x10010), job.DiskCorrupt, "base.1.avhdx", "header 1"},
		{"copy of the region table", chain.VHDX, "base.vhdx", flip(0x40010), job.DiskCorrupt, "base.vhdx", "region table 2"},
		{"both region tables", chain.VHDX, "base.2.avhdx", func(p []byte) []byte { return flip(0x30010)(flip(0x40010)(p)) }, job.DiskCorrupt, "base.2.avhdx", "region table"},
		{"both region tables of a parent", chain.VHDX, "base.vhdx", func(p []byte) []byte { return flip(0x30010)(flip(0x40010)(p)) }, job.DiskCorrupt, "base.2.avhdx", "parent base.vhdx"},
		{"truncated", chain.VHDX, "base.2.avhdx", func(p []byte) []byte { return p[:len(p)-3*mib/2] }, job.DiskCorrupt, "base.2.avhdx", "payload BAT entry"},
		{"a place used twice", chain.VHDX, "base.1.avhdx", twice, job.DiskCorrupt, "base.1.avhdx", "belongs to another block"},
		{"parent gone", chain.VHDX, "base.1.avhdx", nil, job.ImageNotFound, "base.2.avhdx", "looked for base.1.avhdx"},
		{"parent gone", chain.VHD, "base.1.avhd", nil, job.ImageNotFound, "base.2.avhd", "looked for base.1.avhd"},
		{"parent is a text", chain.VHD, "base.vhd", func([]byte) []byte { return []byte("text") }, job.DiskCorrupt, "base.2.avhd", "base.vhd"},
		{"footer copy", chain.VHD, "base.2.avhd", flip(20), job.DiskCorrupt, "base.2.avhd", "footer copy"},
		{"BAT", chain.VHD, "base.1.avhd", func(p []byte) []byte { return flip(int(binary.BigEndian.Uint64(p[0x210:])))(p) }, job.DiskCorrupt, "base.1.avhd", "BAT"},
		{"a place used twice", chain.VHD, "base.1.avhd", func(p []byte) []byte {
			// The entries of 10 MiB in blocks of 2 MiB: all get one place.
			bat := p[binary.BigEndian.Uint64(p[0x210:]):][:20]
			for i := 0; i < len(bat); i += 4 {
				if bat[i] != 0xff {
					for j := 0; j < len(bat); j += 4 {
						copy(bat[j:j+4], bat[i:i+4])
					}
					break
				}
			}
			return p
		}, job.DiskCorrupt, "base.1.avhd", "takes the file up to"},
		{"appended to", chain.VHD, "base.vhd", func(p []byte) []byte { return append(p, "text"...) }, job.DiskCorrupt, "base.vhd", "4 bytes follow it"},
		{"header", chain.VHD, "base.2.avhd", flip(0x210), job.DiskCorrupt, "base.2.avhd", "header"},
	} {
		t.Run(x.what+" "+string(x.container), func(t *testing.T) {
			dir := t.TempDir()
			top := buildChain(t, dir, x.container, 10*mib, 512)
			path := filepath.Join(dir, x.file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if x.damage == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, dir, x.file, x.damage(data))
			}
			found, err := diskimage.Check(t.Context(), input(t, dir, top))
			if err != nil {
				t.Fatal(err)
			}
			if x.code == "" {
				if len(found.Problems) != 0 || len(found.Files) != 3 {
					t.Errorf("%+v", found)
				}
				return
			}
			if !slices.ContainsFunc(found.Problems, func(p diskimage.Problem) bool {
				// Structure and offset are for problems of the file itself.
				here := p.File == x.file
				return p.File == x.in && p.Code == x.code && p.Remedy != "" && here == (p.Structure != "") && here == (p.OffsetBytes != nil) && strings.Contains(p.Structure+" "+p.Detail, x.detail)
			}) {
				t.Errorf("%+v", found)
			}
		})
	}
}

// TestCannotLook: what is no image, or cannot be read, is an error and no
// problem of an image.
func TestCannotLook(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "text", []byte("text"))
	write(t, dir, "qcow", append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 1016)...))
	for name, code := range map[string]job.Code{"text": job.WrongFormat, "qcow": job.WrongFormat, "none": job.ImageNotFound, "../text": job.BadRequest} {
		for _, raw := range []bool{false, true} {
			in := input(t, dir, name)
			in.Raw = raw
			if _, err := diskimage.Check(t.Context(), in); job.CodeOf(err) != code {
				t.Errorf("check %s: %v", name, err)
			}
			if _, err := diskimage.Open(t.Context(), in); job.CodeOf(err) != code {
				t.Errorf("open %s: %v", name, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := diskimage.Check(ctx, input(t, dir, buildChain(t, dir, chain.VHDX, 2*mib, 512))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	dir := t.TempDir()
	const size = 20 * mib
	a := make([]byte, size)
	a[5*mib] = 1
	b := bytes.Clone(a)
	// Two bytes of one sector, then two sectors across the chunks of the
	// comparison, then the last byte.
	b[100], b[200] = 1, 1
	b[8*mib-1], b[8*mib] = 1, 1
	b[size-1] = 1
	write(t, dir, "a", a)
	write(t, dir, "b", b)
	write(t, dir, "short", b[:8*mib-512])
	write(t, dir, "longer", append(bytes.Clone(a), make([]byte, 512)...))
	raw := func(name string) *chain.Chain {
		in := input(t, dir, name)
		in.Raw = true
		return open(t, in)
	}
	sparse := func(name string) *chain.Chain {
		if _, err := diskimage.Convert(t.Context(), raw(name), output(t, dir, name+".vhd", chain.VHD, ""), silent); err != nil {
			t.Fatal(err)
		}
		return open(t, input(t, dir, name+".vhd"))
	}
	first := func(n int64) *int64 { return &n }
	differ := diskimage.Difference{
		SizeBytes: [2]int64{size, size}, FirstOffsetBytes: first(100), DifferentBytes: 5, DifferentRanges: 3,
		Ranges: []diskimage.Range{{OffsetBytes: 0, LengthBytes: 512}, {OffsetBytes: 8*mib - 512, LengthBytes: 1024}, {OffsetBytes: size - 512, LengthBytes: 512}},
	}
	for _, x := range []struct {
		what string
		a, b *chain.Chain
		want diskimage.Difference
	}{
		{"same", raw("a"), raw("a"), diskimage.Difference{Same: true, SizeBytes: [2]int64{size, size}}},
		{"raw", raw("a"), raw("b"), differ},
		{"holes", sparse("a"), sparse("b"), differ},
		{"holes and raw", raw("a"), open(t, input(t, dir, "b.vhd")), differ},
		{"shorter", raw("short"), raw("b"), diskimage.Difference{SizeBytes: [2]int64{8*mib - 512, size}}},
		{"longer", raw("longer"), open(t, input(t, dir, "a.vhd")), diskimage.Difference{SizeBytes: [2]int64{size + 512, size}}},
	} {
		var last, total int64
		got, err := diskimage.Diff(t.Context(), x.a, x.b, func(d, n int64) { last, total = d, n })
		if err != nil {
			t.Fatal(err)
		}
		if got.Same != x.want.Same || got.SizeBytes != x.want.SizeBytes || got.DifferentBytes != x.want.DifferentBytes || got.DifferentRanges != x.want.DifferentRanges ||
			!slices.Equal(got.Ranges, x.want.Ranges) || (got.FirstOffsetBytes == nil) != (x.want.FirstOffsetBytes == nil) ||
			got.FirstOffsetBytes != nil && *got.FirstOffsetBytes != *x.want.FirstOffsetBytes {
			t.Errorf("%s: %+v", x.what, got)
		}
		if last != total || total != min(x.a.Size(), x.b.Size()) {
			t.Errorf("%s: %d of %d bytes", x.what, last, total)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := diskimage.Diff(ctx, raw("a"), raw("b"), silent); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
