package chain_test

import (
	"strings"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

// FuzzParentPaths gives children all kinds of paths to their parents: opening
// asks the folder for plain names only, finds the parent or says why not, and
// leaves no file open.
func FuzzParentPaths(f *testing.F) {
	for _, paths := range [][2]string{
		{`.\win.vhd`, ``}, {`..\win.vhd`, `C:\win.vhd`}, {`child.avhd`, `\\h\s\win.vhd`}, {`CHILD.AVHD`, ``},
		{`win.vhd:x`, `/etc/passwd`}, {`..`, `.`}, {"win\x00.vhd", "win.vhd\x00"}, {`notes`, `WIN.VHD`},
	} {
		f.Add(paths[0], paths[1])
	}
	disk := make([]byte, 64<<10)
	base := writeBaseVHD(f, "win.vhd", disk, vhd.Options{Type: vhd.Fixed})
	f.Fuzz(func(t *testing.T, relative, absolute string) {
		if relative == "" && absolute == "" || len(relative) > 250 || len(absolute) > 250 {
			return // WriteChild has its own limits
		}
		folder := newFolder()
		folder.put("win.vhd", base)
		folder.put("notes", []byte("no image"))
		folder.put("child.avhd", orphanVHD(t, "child.avhd", vhdInfo("win.vhd", int64(len(disk))), relative, absolute))
		c, err := chain.Open(t.Context(), folder, "child.avhd", chain.Options{})
		switch {
		case err == nil:
			if layers := c.Layers(); len(layers) != 2 || layers[0].Name != "win.vhd" {
				t.Errorf("layers %+v", layers)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		case !strings.Contains(err.Error(), "child.avhd"):
			t.Errorf("the child is not named: %v", err)
		}
		for _, name := range folder.asked {
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\:\x00") {
				t.Errorf("asked for %q", name)
			}
		}
		if n := folder.open.Load(); n != 0 {
			t.Errorf("%d files stay open", n)
		}
	})
}

// FuzzOpen opens any file as a child of a real parent, and reads it.
func FuzzOpen(f *testing.F) {
	parent := make([]byte, small)
	folder := newFolder()
	folder.put("win.vhdx", writeBaseVHDX(f, "win.vhdx", parent, vhdx.Options{Type: vhdx.Dynamic, BlockSize: mib}))
	folder.put("win.vhd", writeBaseVHD(f, "win.vhd", parent[:64<<10], vhd.Options{Type: vhd.Dynamic, BlockSize: mib / 2}))
	addChild(f, folder, "win.vhd", "child", edit{8192, []byte("changed")})
	f.Add(folder.files["child"].data)
	f.Add(folder.files["win.vhd"].data)
	f.Fuzz(func(t *testing.T, file []byte) {
		folder := &memFolder{files: map[string]*memFile{
			"win.vhdx": folder.files["win.vhdx"], "win.vhd": folder.files["win.vhd"], "child": {data: file},
		}}
		c, err := chain.Open(t.Context(), folder, "child", chain.Options{ReplayLogs: true})
		if err == nil {
			next := int64(0)
			n := min(c.Size(), 4*mib)
			for e, err := range c.Extents(0, n) {
				if err != nil {
					break
				}
				if e.Offset != next || e.Length <= 0 {
					t.Fatalf("extent %+v, expected one at %d", e, next)
				}
				next += e.Length
			}
			_, _ = c.ReadAt(make([]byte, n), 0)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := folder.open.Load(); n != 0 {
			t.Errorf("%d files stay open", n)
		}
	})
}
