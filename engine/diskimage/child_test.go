package diskimage_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// TestChild makes a differencing image of a chain and of an image that differs
// from it a little. What 7-Zip reads through the chain is that image.
func TestChild(t *testing.T) {
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		t.Run(string(container), func(t *testing.T) {
			dir := t.TempDir()
			parentName := buildChain(t, dir, container, 9*mib+512*4, 512)
			parent := open(t, input(t, dir, parentName))
			data := make([]byte, parent.Size())
			if _, err := parent.ReadAt(data, 0); err != nil {
				t.Fatal(err)
			}
			changed := map[int]bool{} // pages
			change := func(off int, p []byte) {
				for page := off / 4096; page <= (off+len(p)-1)/4096; page++ {
					changed[page] = true
				}
				copy(data[off:], p)
			}
			rng := rand.New(rand.NewPCG(5, 6))
			for range 10 {
				change(rng.IntN(len(data)-20000), noise(1+rng.IntN(20000), 2))
			}
			change(len(data)-100, noise(100, 3))
			change(2*mib, make([]byte, mib)) // holes where the parent has data
			write(t, dir, "new.raw", data)
			if err := os.Truncate(filepath.Join(dir, "new.raw"), int64(len(data))); err != nil {
				t.Fatal(err)
			}
			in := input(t, dir, "new.raw")
			in.Raw = true
			name := "child.a" + string(container)
			out := output(t, dir, name, container, "")
			out.Parent = parent
			made, err := diskimage.Convert(t.Context(), open(t, in), out, silent)
			if err != nil {
				t.Fatal(err)
			}
			if made.Type != "differencing" || made.ID == "" || made.CRC32C == "" {
				t.Errorf("%+v", made)
			}
			if got := run(t, "7zz", "e", "-so", "-t"+string(container), filepath.Join(dir, name)); !bytes.Equal(got, data) {
				t.Error("7zz reads something else")
			}
			c := open(t, input(t, dir, name))
			if same, err := diskimage.Diff(t.Context(), c, open(t, in), silent); err != nil || !same.Same {
				t.Errorf("%+v, %v", same, err)
			}
			info := diskimage.Describe(c)
			layer := info.Layers[len(info.Layers)-1]
			if layer.BlockBytes != 2*mib || layer.Parent.Name != parentName || layer.Parent.RelativePath != `.\`+parentName || layer.Parent.AbsolutePath != "" {
				t.Errorf("%+v, %+v", layer, layer.Parent)
			}
			stored := map[int]bool{}
			for e, err := range diskimage.Map(t.Context(), c) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Layer == nil || *e.Layer != len(info.Layers)-1 {
					continue
				}
				for off := e.OffsetBytes; off < e.OffsetBytes+e.LengthBytes; off += 512 {
					stored[int(off/4096)] = true
				}
			}
			for page := range stored {
				if !changed[page] {
					t.Errorf("page %d is in the child and has not changed", page)
				}
			}
		})
	}
}

// TestCreateChild: a child without changes is its parent.
func TestCreateChild(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, "ntfs-parent.vhdx", "ntfs-parent.vhd")
	for _, x := range []struct {
		container chain.Container
		name      string
		block     int64
	}{{chain.VHDX, "a.avhdx", 0}, {chain.VHDX, "b.vhdx", mib}, {chain.VHD, "c.avhd", 512 << 10}} {
		parent := open(t, input(t, dir, "ntfs-parent."+string(x.container)))
		out := output(t, dir, x.name, x.container, "")
		out.Parent, out.Format.BlockBytes = parent, x.block
		made, err := diskimage.Create(t.Context(), out, parent.Size(), parent.SectorSize())
		if err != nil || made.Type != "differencing" || made.VirtualSizeBytes != parent.Size() {
			t.Errorf("%+v, %v", made, err)
		}
		c := open(t, input(t, dir, x.name))
		if same, err := diskimage.Diff(t.Context(), c, parent, silent); err != nil || !same.Same {
			t.Errorf("%s: %+v, %v", x.name, same, err)
		}
		if want := max(x.block, 0); want != 0 && diskimage.Describe(c).Layers[1].BlockBytes != want {
			t.Errorf("%s: %+v", x.name, diskimage.Describe(c))
		}
		want := run(t, "7zz", "e", "-so", "-t"+string(x.container), filepath.Join(dir, "ntfs-parent."+string(x.container)))
		if !bytes.Equal(run(t, "7zz", "e", "-so", "-t"+string(x.container), filepath.Join(dir, x.name)), want) {
			t.Errorf("%s: 7zz reads something else", x.name)
		}
	}
}

func TestChildRefusals(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	unpack(t, dir, "ntfs-parent.vhdx", "ntfs-parent.vhd")
	unpack(t, other, "ntfs-parent.vhdx", "ntfs-differential.vhdx")
	write(t, dir, "raw.raw", make([]byte, 4*mib))
	write(t, dir, "noise.raw", noise(4*mib, 1))
	write(t, dir, "small.raw", make([]byte, mib))
	disk := func(name string) *chain.Chain {
		in := input(t, dir, name)
		in.Raw = true
		return open(t, in)
	}
	parent, raw := disk("ntfs-parent.vhdx"), disk("raw.raw")
	before := names(t, dir)
	for _, x := range []struct {
		what   string
		code   job.Code
		change func(*diskimage.Output) (in *chain.Chain)
	}{
		{"in another folder", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Store = store(t, t.TempDir())
			return raw
		}},
		{"another file in the folder", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Store = store(t, other)
			return raw
		}},
		{"another container", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Format.Container = chain.VHD
			return raw
		}},
		{"to raw", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Format.Container = chain.Raw
			return raw
		}},
		{"of raw", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Parent, o.Format.Container = raw, chain.Raw
			return raw
		}},
		{"fixed", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Format.Type = "fixed"
			return raw
		}},
		{"odd blocks", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Format.BlockBytes = 3 * mib
			return raw
		}},
		{"huge blocks", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Format.BlockBytes = 1<<32 + mib
			return raw
		}},
		{"another size", job.UnsupportedDisk, func(*diskimage.Output) *chain.Chain { return disk("small.raw") }},
		{"too many changes", job.UnsupportedDisk, func(o *diskimage.Output) *chain.Chain {
			o.MaxChangedBytes = mib
			return disk("noise.raw")
		}},
		{"over its parent", job.OutputExists, func(o *diskimage.Output) *chain.Chain {
			o.Name, o.Replace = "ntfs-parent.vhdx", true
			return raw
		}},
		{"resumed", job.BadRequest, func(o *diskimage.Output) *chain.Chain {
			o.Resume = true
			return raw
		}},
	} {
		out := output(t, dir, "child.avhdx", chain.VHDX, "")
		out.Parent = parent
		in := x.change(&out)
		if _, err := diskimage.Convert(t.Context(), in, out, silent); job.CodeOf(err) != x.code {
			t.Errorf("%s: %v", x.what, err)
		}
	}
	if got := names(t, dir); !slices.Equal(got, before) {
		t.Errorf("left %q", got)
	}
}

// TestParentChanges: no child of a parent that changes meanwhile.
func TestParentChanges(t *testing.T) {
	dir := t.TempDir()
	unpack(t, dir, "ntfs-parent.vhdx")
	write(t, dir, "raw.raw", make([]byte, 4*mib))
	in := input(t, dir, "raw.raw")
	in.Raw = true
	out := output(t, dir, "child.avhdx", chain.VHDX, "")
	out.Parent = open(t, input(t, dir, "ntfs-parent.vhdx"))
	_, err := diskimage.Convert(t.Context(), open(t, in), out, func(int64, int64) {
		_ = os.Chtimes(filepath.Join(dir, "ntfs-parent.vhdx"), created, created)
	})
	if job.CodeOf(err) != job.SourceChanged || !errors.Is(err, chain.ErrChanged) {
		t.Error(err)
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("left %q", got)
	}
}
