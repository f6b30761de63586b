package diskimage_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// TestConvert converts images in all directions. What 7-Zip makes of the source
// is what QEMU and 7-Zip must find in the outputs.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, "ntfs-parent.vhdx", "ntfs-differential.vhdx", "ntfs-dynamic.vhdx", "ntfs-parent.vhd", "ntfs-differential.vhd", "qemu.vhd")
	big := t.TempDir()
	for _, source := range []struct{ dir, name string }{
		{dir, "ntfs-differential.vhdx"},
		{dir, "ntfs-differential.vhd"},
		{dir, "ntfs-dynamic.vhdx"},
		{big, buildChain(t, big, chain.VHDX, 10*mib, 512)},
		{big, buildChain(t, big, chain.VHD, 9*mib, 512)},
	} {
		t.Run(source.name, func(t *testing.T) {
			out := t.TempDir()
			c := open(t, input(t, source.dir, source.name))
			kind := string(c.Layers()[0].Container)
			want := run(t, "7zz", "e", "-so", "-t"+kind, filepath.Join(source.dir, source.name))
			write(t, out, "want", want)
			for _, to := range []struct {
				container chain.Container
				typ       string
			}{{chain.Raw, ""}, {chain.VHDX, "dynamic"}, {chain.VHDX, "fixed"}, {chain.VHD, "dynamic"}, {chain.VHD, "fixed"}} {
				name := fmt.Sprintf("%s%s.%s", "out", to.typ, to.container)
				made, err := diskimage.Convert(t.Context(), c, output(t, out, name, to.container, to.typ), silent)
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(out, name)
				info, err := os.Stat(path)
				if err != nil || info.Size() != made.FileSizeBytes || made.VirtualSizeBytes != int64(len(want)) || made.Type != to.typ || made.Container != string(to.container) {
					t.Errorf("%s: %+v, file %v, %v", name, made, info.Size(), err)
				}
				format := map[chain.Container]string{chain.Raw: "raw", chain.VHDX: "vhdx", chain.VHD: "vpc"}[to.container]
				run(t, "qemu-img", "compare", "-f", "raw", "-F", format, filepath.Join(out, "want"), path)
				if to.container == chain.Raw {
					continue
				}
				if !bytes.Equal(run(t, "7zz", "e", "-so", "-t"+string(to.container), path), want) {
					t.Errorf("%s: 7zz reads something else", name)
				}
				if checked, err := diskimage.Check(t.Context(), input(t, out, name)); err != nil || len(checked.Problems) > 0 {
					t.Errorf("%s: %+v, %v", name, checked, err)
				}
				same, err := diskimage.Diff(t.Context(), c, open(t, input(t, out, name)), silent)
				if err != nil || !same.Same {
					t.Errorf("%s: %+v, %v", name, same, err)
				}
			}
			if got := names(t, out); len(got) != 6 {
				t.Errorf("left %q", got)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		container chain.Container
		typ       string
		sector    int
		size      int64
	}{
		{chain.Raw, "", 512, 10 << 30},
		{chain.VHDX, "dynamic", 512, 10 << 30},
		{chain.VHDX, "fixed", 4096, 64 * mib},
		{chain.VHDX, "", 4096, 2 << 40},
		{chain.VHD, "dynamic", 512, 100 << 30},
		{chain.VHD, "fixed", 512, 3*mib + 512},
	} {
		name := fmt.Sprintf("%s-%d.%s", c.typ, c.size, c.container)
		out := output(t, dir, name, c.container, c.typ)
		if _, err := diskimage.Create(t.Context(), out, c.size, c.sector); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		in := input(t, dir, name)
		in.Raw = c.container == chain.Raw
		info := diskimage.Describe(open(t, in))
		if info.VirtualSizeBytes != c.size || info.SectorBytes != c.sector || c.typ != "" && info.Type != c.typ {
			t.Errorf("%s: %+v", name, info)
		}
		if c.container == chain.VHDX && c.sector == 512 { // all that QEMU reads
			run(t, "qemu-img", "check", "-f", "vhdx", filepath.Join(dir, name))
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, "ntfs-parent.vhdx", "ntfs-differential.vhdx")
	if err := os.Symlink("ntfs-parent.vhdx", filepath.Join(dir, "link.vhdx")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.raw"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	c := open(t, input(t, dir, "ntfs-differential.vhdx"))
	for _, x := range []struct {
		what    string
		code    job.Code
		name    string
		format  diskimage.Format
		replace bool
	}{
		{"exists", job.OutputExists, "ntfs-parent.vhdx", diskimage.Format{Container: chain.VHDX}, false},
		{"its parent", job.OutputExists, "ntfs-parent.vhdx", diskimage.Format{Container: chain.VHDX}, true},
		{"itself", job.OutputExists, "ntfs-differential.vhdx", diskimage.Format{Container: chain.VHDX}, true},
		{"its parent by another name", job.OutputExists, "link.vhdx", diskimage.Format{Container: chain.VHDX}, true},
		{"a folder", job.OutputExists, "folder.raw", diskimage.Format{Container: chain.Raw}, true},
		{"raw has no type", job.BadRequest, "new", diskimage.Format{Container: chain.Raw, Type: "fixed"}, false},
		{"raw has no blocks", job.BadRequest, "new", diskimage.Format{Container: chain.Raw, BlockBytes: mib}, false},
		{"no such format", job.BadRequest, "new", diskimage.Format{Container: "qcow2"}, false},
		{"no such type", job.BadRequest, "new", diskimage.Format{Container: chain.VHD, Type: "differencing"}, false},
		{"odd blocks", job.BadRequest, "new", diskimage.Format{Container: chain.VHDX, BlockBytes: 3 * mib}, false},
		{"huge blocks", job.BadRequest, "new", diskimage.Format{Container: chain.VHDX, BlockBytes: 1<<32 + mib}, false},
		{"blocks of a fixed VHD", job.BadRequest, "new", diskimage.Format{Container: chain.VHD, Type: "fixed", BlockBytes: mib}, false},
	} {
		out := output(t, dir, x.name, "", "")
		out.Format, out.Replace = x.format, x.replace
		if _, err := diskimage.Convert(t.Context(), c, out, silent); job.CodeOf(err) != x.code {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	for _, x := range []struct {
		code   job.Code
		to     chain.Container
		size   int64
		sector int
	}{
		{job.UnsupportedDisk, chain.VHD, 3 << 40, 512},
		{job.UnsupportedDisk, chain.VHD, 4 * mib, 4096},
		{job.BadRequest, chain.VHDX, 4*mib + 1, 512},
		{job.BadRequest, chain.VHDX, 65 << 40, 512},
		{job.BadRequest, chain.VHDX, 4 * mib, 1024},
		{job.BadRequest, chain.Raw, -512, 512},
	} {
		if _, err := diskimage.Create(t.Context(), output(t, dir, "new", x.to, ""), x.size, x.sector); job.CodeOf(err) != x.code {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if after := names(t, dir); !slices.Equal(before, after) {
		t.Errorf("left %q of %q", after, before)
	}
}

// TestNothingIsLeft stops a conversion in all its phases.
func TestNothingIsLeft(t *testing.T) {
	source := t.TempDir()
	c := open(t, input(t, source, buildChain(t, source, chain.VHDX, 10*mib, 512)))
	broken := job.Errorf(job.ShareFull, "", "no space left")
	for _, old := range []bool{false, true} {
		for what, stop := range map[string]func(cancel func(), s *faulty) func(int64, int64){
			"cancelled": func(cancel func(), _ *faulty) func(int64, int64) {
				return func(done, _ int64) {
					if done > 2*mib {
						cancel()
					}
				}
			},
			"cancelled at the end": func(cancel func(), _ *faulty) func(int64, int64) {
				return func(done, total int64) {
					if done == total {
						cancel()
					}
				}
			},
			"disk full": func(_ func(), s *faulty) func(int64, int64) {
				s.write = func() error { return broken }
				return silent
			},
			"no rename": func(_ func(), s *faulty) func(int64, int64) {
				s.rename = func(_, to string) error {
					if to == "out.vhd" {
						s.rename = nil // back it goes
						return broken
					}
					return nil
				}
				return silent
			},
		} {
			dir := t.TempDir()
			var want []string
			if old {
				write(t, dir, "out.vhd", []byte("old"))
				want = []string{"out.vhd"}
			}
			ctx, cancel := context.WithCancel(t.Context())
			out := output(t, dir, "out.vhd", chain.VHD, "")
			s := &faulty{Store: out.Store}
			progress := stop(cancel, s)
			out.Store, out.Replace = s, old
			_, err := diskimage.Convert(ctx, c, out, progress)
			if cancelled := ctx.Err() != nil; err == nil || cancelled != errors.Is(err, context.Canceled) || !cancelled && job.CodeOf(err) != job.ShareFull {
				t.Errorf("%s: %v", what, err)
			}
			if got := names(t, dir); !slices.Equal(got, want) {
				t.Errorf("%s: left %q, want %q", what, got, want)
			}
			if data, _ := os.ReadFile(filepath.Join(dir, "out.vhd")); old && string(data) != "old" {
				t.Errorf("%s: the old file has changed", what)
			}
			cancel()
		}
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "out.vhdx", []byte("old"))
	out := output(t, dir, "out.vhdx", chain.VHDX, "")
	out.Replace = true
	if _, err := diskimage.Create(t.Context(), out, mib, 512); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"out.vhdx"}) {
		t.Errorf("left %q", got)
	}
	open(t, input(t, dir, "out.vhdx"))
}

// TestSomebodyIsFaster: a file that appears while we write stays.
func TestSomebodyIsFaster(t *testing.T) {
	dir := t.TempDir()
	out := output(t, dir, "out.vhdx", chain.VHDX, "")
	out.Store = faulty{Store: out.Store, rename: func(string, string) error {
		write(t, dir, "out.vhdx", []byte("other"))
		return nil
	}}
	if _, err := diskimage.Create(t.Context(), out, mib, 512); job.CodeOf(err) != job.OutputExists || !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "out.vhdx")); string(data) != "other" || len(names(t, dir)) != 1 {
		t.Errorf("%q, %v, %q", data, err, names(t, dir))
	}
}

// TestSourceChanges: a conversion of an image that changes meanwhile is none.
func TestSourceChanges(t *testing.T) {
	for what, change := range map[string]func(parent string) error{
		"touched": func(parent string) error { return os.Chtimes(parent, created, created) },
		"gone":    os.Remove,
	} {
		dir := t.TempDir()
		unpack(t, dir, "ntfs-parent.vhdx", "ntfs-differential.vhdx")
		c := open(t, input(t, dir, "ntfs-differential.vhdx"))
		if err := change(filepath.Join(dir, "ntfs-parent.vhdx")); err != nil {
			t.Fatal(err)
		}
		want := names(t, dir)
		if _, err := diskimage.Convert(t.Context(), c, output(t, dir, "out.raw", chain.Raw, ""), silent); job.CodeOf(err) != job.SourceChanged {
			t.Errorf("%s: %v", what, err)
		}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: left %q", what, got)
		}
	}
}

// TestFileTooLarge says so where the file system has no files of that size.
func TestFileTooLarge(t *testing.T) {
	dir := t.TempDir()
	_, err := diskimage.Create(t.Context(), output(t, dir, "huge.raw", chain.Raw, ""), 1<<62, 512)
	if job.CodeOf(err) != job.ShareFull || !strings.Contains(err.Error(), "cannot hold a file that large") || len(names(t, dir)) != 0 {
		t.Errorf("got %v, and left %q", err, names(t, dir))
	}
}

// TestOverlappingBlocks refuses to read one block's data as another's.
func TestOverlappingBlocks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "plain.raw", bytes.Repeat([]byte("0123456789abcdef"), 4*mib/16))
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size", filepath.Join(dir, "plain.raw"), filepath.Join(dir, "image.vhd"))
	image, err := os.ReadFile(filepath.Join(dir, "image.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	header := binary.BigEndian.Uint64(image[16:])       // Data Offset of the footer's copy
	table := binary.BigEndian.Uint64(image[header+16:]) // Table Offset
	copy(image[table+4:table+8], image[table:table+4])  // two entries, one block
	write(t, dir, "image.vhd", image)
	out := t.TempDir()
	_, err = diskimage.Convert(t.Context(), open(t, input(t, dir, "image.vhd")), output(t, out, "out.raw", chain.Raw, ""), silent)
	if job.CodeOf(err) != job.DiskCorrupt || !strings.Contains(err.Error(), "image.vhd") || len(names(t, out)) != 0 {
		t.Errorf("got %v, and left %q", err, names(t, out))
	}
}
