package diskimage_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// An image whose ID comes from its contents has it when it is complete, and what
// was written of it was shown.
func TestIDOfContents(t *testing.T) {
	contents := make([]byte, 8*mib)
	copy(contents[mib:], noise(2*mib, 11))
	copy(contents[7*mib:], noise(mib, 12))
	sum := crc32.Checksum(contents, crc32.MakeTable(crc32.Castagnoli))
	idOf := func(crc uint32) uuid.UUID { return guid(fmt.Sprint("contents ", crc)) }
	for _, to := range []chain.Container{chain.VHDX, chain.VHD} {
		dir := t.TempDir()
		write(t, dir, "disk.raw", contents)
		in := input(t, dir, "disk.raw")
		in.Raw = true
		var mu sync.Mutex
		shown := make([]byte, len(contents))
		out := output(t, dir, "out."+string(to), to, "")
		out.IDOf = idOf
		out.Written = func(p []byte, off int64) {
			mu.Lock()
			defer mu.Unlock()
			copy(shown[off:], p)
		}
		made, err := diskimage.Convert(t.Context(), open(t, in), out, silent)
		if err != nil {
			t.Fatal(err)
		}
		c := open(t, input(t, dir, out.Name))
		if id := c.Layers()[0].ID; id != idOf(sum).String() || made.ID != id {
			t.Errorf("%s: the ID is %s, reported as %s, want %s", to, id, made.ID, idOf(sum))
		}
		if x := c.Layers()[0].VHDX; x != nil && (x.FileWriteGUID == x.DataWriteGUID || x.VirtualDiskID == uuid.Nil) {
			t.Errorf("%+v", x)
		}
		if !bytes.Equal(shown, contents) {
			t.Errorf("%s: what was shown is not what was written", to)
		}
		if left := names(t, dir); !slices.Equal(left, []string{"disk.raw", out.Name}) {
			t.Errorf("%s: left %q", to, left)
		}
	}
}

func TestIDOfContentsRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "disk.raw", noise(mib, 13))
	in := input(t, dir, "disk.raw")
	in.Raw = true
	c := open(t, in)
	if _, err := diskimage.Convert(t.Context(), c, output(t, dir, "base.vhdx", chain.VHDX, ""), silent); err != nil {
		t.Fatal(err)
	}
	id := func(uint32) uuid.UUID { return uuid.Nil }
	show := func([]byte, int64) {}
	for what, change := range map[string]func(o *diskimage.Output){
		"ID of a raw disk":           func(o *diskimage.Output) { o.Format.Container, o.IDOf = chain.Raw, id },
		"ID of a differencing image": func(o *diskimage.Output) { o.Parent, o.IDOf = open(t, input(t, dir, "base.vhdx")), id },
		"writes of one":              func(o *diskimage.Output) { o.Parent, o.Written = open(t, input(t, dir, "base.vhdx")), show },
		"writes to an existing file": func(o *diskimage.Output) { o.Format.Container, o.Device, o.Written = chain.Raw, "x", show },
	} {
		out := output(t, dir, "out", chain.VHDX, "")
		change(&out)
		if _, err := diskimage.Convert(t.Context(), c, out, silent); job.CodeOf(err) != job.BadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
	out := output(t, dir, "out", chain.VHDX, "")
	out.IDOf = id
	if _, err := diskimage.Convert(t.Context(), c, out, silent); err == nil {
		t.Error("an image without an ID was made")
	}
	if _, err := diskimage.Create(t.Context(), out, mib, 512); job.CodeOf(err) != job.BadRequest {
		t.Errorf("an empty disk: %v", err)
	}
	if left := names(t, dir); !slices.Equal(left, []string{"base.vhdx", "disk.raw"}) {
		t.Errorf("left %q", left)
	}
}
