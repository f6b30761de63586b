package chain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

// small is the size of the disks of these tests.
const small = 2 * mib

// vdisk is a folder with win.vhdx <- win.1.avhdx <- win.2.avhdx, and the same
// as VHD. Each level has its number in its own sector.
func vdisk(t testing.TB) *memFolder {
	t.Helper()
	folder := newFolder()
	disk := bytes.Repeat([]byte{9}, small)
	folder.put("win.vhdx", writeBaseVHDX(t, "win.vhdx", disk, vhdx.Options{Type: vhdx.Dynamic, BlockSize: mib}))
	folder.put("win.vhd", writeBaseVHD(t, "win.vhd", disk, vhd.Options{Type: vhd.Dynamic, BlockSize: mib / 2}))
	for _, ext := range []string{"vhdx", "vhd"} {
		addChild(t, folder, "win."+ext, "win.1.a"+ext, edit{0, bytes.Repeat([]byte{1}, 512)})
		addChild(t, folder, "win.1.a"+ext, "win.2.a"+ext, edit{mib, bytes.Repeat([]byte{2}, 512)})
	}
	return folder
}

// orphanVHDX and orphanVHD are children that say of their parent what a test
// wants.
func orphanVHDX(t testing.TB, name string, parent vhdx.Info, relative, absolute string) []byte {
	t.Helper()
	opt := vhdxChild(name, "", parent)
	opt.ParentRelative, opt.ParentAbsolute = relative, absolute
	return writeVHDX(t, edited(t, zeros{parent.VirtualSize, parent.LogicalSectorSize}), opt)
}

func orphanVHD(t testing.TB, name string, parent vhd.Info, relative, absolute string) []byte {
	t.Helper()
	opt := vhdChild(name, "", parent)
	opt.ParentRelative, opt.ParentAbsolute = relative, absolute
	return writeVHD(t, edited(t, zeros{parent.VirtualSize, vhd.SectorSize}), opt)
}

func TestOpenDescribesLayers(t *testing.T) {
	folder := vdisk(t)
	for _, ext := range []string{"vhdx", "vhd"} {
		c := open(t, folder, "win.2.a"+ext)
		layers := c.Layers()
		if len(layers) != 3 {
			t.Fatalf("%d layers", len(layers))
		}
		for i, want := range []struct{ name, typ, relative string }{
			{"win." + ext, "dynamic", ""},
			{"win.1.a" + ext, "differencing", `.\win.` + ext},
			{"win.2.a" + ext, "differencing", `.\win.1.a` + ext},
		} {
			l := layers[i]
			file := folder.files[want.name]
			if l.Name != want.name || l.Type != want.typ || string(l.Container) != ext || l.ID != guid(want.name, "data").String() ||
				l.VirtualSize != small || l.LogicalSectorSize != 512 || l.BlockSize == 0 ||
				l.FileSize != int64(len(file.data)) || !l.ModTime.Equal(file.modTime) ||
				(l.VHDX != nil) != (ext == "vhdx") || (l.VHD != nil) != (ext == "vhd") {
				t.Errorf("layer %d: %+v", i, l)
			}
			if (l.Parent == nil) != (i == 0) || i > 0 && *l.Parent != (chain.ParentLink{Kind: "relative path", Path: want.relative}) {
				t.Errorf("layer %d: parent %+v", i, l.Parent)
			}
		}
		want := bytes.Repeat([]byte{9}, small)
		copy(want, bytes.Repeat([]byte{1}, 512))
		copy(want[mib:], bytes.Repeat([]byte{2}, 512))
		if !bytes.Equal(readAll(t, c), want) {
			t.Errorf("%s: contents differ", ext)
		}
	}
}

// TestParentIsFound is about where a parent lies, and under which name.
func TestParentIsFound(t *testing.T) {
	info := vhdxInfo("win.vhdx", small, 512)
	for _, c := range []struct {
		what               string
		relative, absolute string
		by                 string // "relative path" or "absolute path"
		asked              int    // files that are opened, with the child
	}{
		{"beside", `.\win.vhdx`, ``, "relative path", 2},
		{"plain name", `win.vhdx`, ``, "relative path", 2},
		{"slash", `./win.vhdx`, ``, "relative path", 2},
		{"folder was another", `..\golden\win.vhdx`, ``, "relative path", 2},
		{"only absolute", ``, `D:\vdisks\win.vhdx`, "absolute path", 2},
		{"absolute on a share", ``, `\\?\UNC\host\share\win.vhdx`, "absolute path", 2},
		{"relative name is gone", `.\old.vhdx`, `\\host\share\win.vhdx`, "absolute path", 3},
		{"relative name is another image", `.\other.vhdx`, `\\host\share\win.vhdx`, "absolute path", 3},
		{"relative name is no image", `.\notes.txt`, `\\host\share\win.vhdx`, "absolute path", 3},
		{"relative name is of another container", `.\win.vhd`, `\\host\share\win.vhdx`, "absolute path", 3},
		{"relative name is the child's own", `.\child.avhdx`, `\\host\share\win.vhdx`, "absolute path", 2},
		{"relative path is none", `..`, `\\host\share\win.vhdx`, "absolute path", 2},
		{"counted terminator", ".\\win.vhdx\x00", ``, "relative path", 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			folder := vdisk(t)
			folder.put("other.vhdx", writeBaseVHDX(t, "other", make([]byte, small), vhdx.Options{Type: vhdx.Dynamic, BlockSize: mib}))
			folder.put("notes.txt", []byte("not an image"))
			folder.put("child.avhdx", orphanVHDX(t, "child.avhdx", info, c.relative, c.absolute))
			folder.asked = nil
			opened := open(t, folder, "child.avhdx")
			layers := opened.Layers()
			if len(layers) != 2 || layers[0].Name != "win.vhdx" || layers[1].Parent.Kind != c.by {
				t.Errorf("layers %+v", layers)
			}
			if len(folder.asked) != c.asked {
				t.Errorf("opened %q", folder.asked)
			}
			if open := folder.open.Load(); open != 2 {
				t.Errorf("%d files are open", open)
			}
			if got := readAll(t, opened); got[0] != 9 {
				t.Error("contents are not the parent's")
			}
		})
	}
}

// TestVHDParentName: a VHD without locators still has a parent name.
func TestVHDParentName(t *testing.T) {
	folder := vdisk(t)
	file := bytes.Clone(folder.files["win.1.avhd"].data)
	header := file[512:1536]
	clear(header[576 : 576+8*24]) // the locators
	clear(header[36:40])
	var sum uint32
	for _, b := range header {
		sum += uint32(b)
	}
	be.PutUint32(header[36:], ^sum)
	folder.put("child.avhd", file)
	if layers := open(t, folder, "child.avhd").Layers(); len(layers) != 2 || layers[1].Parent.Kind != "parent name" {
		t.Errorf("layers %+v", layers)
	}
}

// TestLinkage2: while a merge is under way, a parent may have either of two
// data write GUIDs.
func TestLinkage2(t *testing.T) {
	utf16 := func(s string) []byte {
		var p []byte
		for _, b := range []byte(s) {
			p = append(p, b, 0)
		}
		return p
	}
	none, other := "{"+uuid.Nil.String()+"}", "{"+guid("other", "data").String()+"}"
	const linkage = "{7584f8fb-36d3-4091-afb5-b1afe587bfa8}"
	child := corpus(t, "vhdx", "ntfs-differential.vhdx")
	folder := newFolder()
	folder.put("ntfs-parent.vhdx", corpus(t, "vhdx", "ntfs-parent.vhdx"))
	folder.put("merging.vhdx", bytes.ReplaceAll(bytes.ReplaceAll(child, utf16(linkage), utf16(other)), utf16(none), utf16(linkage)))
	folder.put("wrong.vhdx", bytes.ReplaceAll(child, utf16(linkage), utf16(other)))
	if layers := open(t, folder, "merging.vhdx").Layers(); len(layers) != 2 {
		t.Errorf("layers %+v", layers)
	}
	if _, err := chain.Open(t.Context(), folder, "wrong.vhdx", chain.Options{}); !errors.Is(err, chain.ErrParentMismatch) {
		t.Errorf("wrong linkage: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	vhdxParent, vhdParent := vhdxInfo("win.vhdx", small, 512), vhdInfo("win.vhd", small)
	as := func(name string, id string) vhdx.Info {
		info := vhdxInfo(name, small, 512)
		info.DataWriteGUID = guid(id, "data")
		return info
	}
	for _, c := range []struct {
		what string
		make func(t *testing.T, folder *memFolder)
		name string // what is opened; "" for child
		want []error
		says []string
	}{
		{what: "no such image", name: "nothing.vhdx", want: []error{fs.ErrNotExist}, says: []string{"nothing.vhdx"}},
		{
			what: "parent missing", name: "win.2.avhdx",
			make: func(_ *testing.T, folder *memFolder) { delete(folder.files, "win.1.avhdx") },
			want: []error{chain.ErrParentMissing},
			says: []string{"win.2.avhdx", `win.1.avhdx (relative path ".\\win.1.avhdx")`, `win.1.avhdx (absolute path`},
		},
		{
			what: "grandparent missing", name: "win.2.avhd",
			make: func(_ *testing.T, folder *memFolder) { delete(folder.files, "win.vhd") },
			want: []error{chain.ErrParentMissing}, says: []string{"win.1.avhd", "win.vhd"},
		},
		{
			what: "wrong parent in place", name: "win.2.avhdx",
			make: func(_ *testing.T, folder *memFolder) { folder.rename("win.vhdx", "win.1.avhdx") },
			want: []error{chain.ErrParentMismatch, vhdx.ErrParentMismatch},
			says: []string{"win.2.avhdx", "win.1.avhdx", guid("win.vhdx", "data").String(), guid("win.1.avhdx", "data").String()},
		},
		{
			what: "wrong VHD parent in place", name: "win.2.avhd",
			make: func(_ *testing.T, folder *memFolder) { folder.rename("win.vhd", "win.1.avhd") },
			want: []error{chain.ErrParentMismatch, vhd.ErrParentMismatch},
			says: []string{"win.2.avhd", "win.1.avhd", guid("win.vhd", "data").String(), guid("win.1.avhd", "data").String()},
		},
		{
			what: "bigger child", want: []error{chain.ErrParentMismatch}, says: []string{"2097152", "3145728"},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", vhdxInfo("win.vhdx", 3*mib, 512), `.\win.vhdx`, ""))
			},
		},
		{
			what: "smaller VHD child", want: []error{chain.ErrParentMismatch}, says: []string{"2097152", "1048576"},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHD(t, "child", vhdInfo("win.vhd", mib), `.\win.vhd`, ""))
			},
		},
		{
			what: "other sector size", want: []error{chain.ErrParentMismatch}, says: []string{"512", "4096"},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", vhdxInfo("win.vhdx", small, 4096), `.\win.vhdx`, ""))
			},
		},
		{
			what: "VHDX over VHD", want: []error{chain.ErrMixedContainers}, says: []string{"child", "win.vhd"},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", as("win.vhd", "win.vhd"), `.\win.vhd`, ""))
			},
		},
		{
			what: "VHD over VHDX", want: []error{chain.ErrMixedContainers}, says: []string{"child", "win.vhdx"},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHD(t, "child", vhdInfo("win.vhdx", small), `.\win.vhdx`, ""))
			},
		},
		{
			what: "its own parent", want: []error{chain.ErrCycle}, says: []string{`".\\child"`},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", as("child", "child"), `.\child`, ""))
			},
		},
		{
			what: "its own parent in other letters", want: []error{chain.ErrCycle},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHD(t, "child", vhdInfo("child", small), `.\CHILD`, ""))
			},
		},
		{
			what: "cycle of three", want: []error{chain.ErrCycle}, says: []string{"c:", `"child"`},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHD(t, "child", vhdInfo("b", small), `b`, ""))
				folder.put("b", orphanVHD(t, "b", vhdInfo("c", small), `c`, ""))
				folder.put("c", orphanVHD(t, "c", vhdInfo("child", small), `child`, ""))
			},
		},
		{
			what: "path that is no file name", want: []error{chain.ErrParentMissing}, says: []string{"nothing", `C:\\vdisks\\`},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", vhdxParent, `..`, `C:\vdisks\`))
			},
		},
		{
			what: "path to a stream", want: []error{chain.ErrParentMissing},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHD(t, "child", vhdParent, `.\win.vhd:stream`, ""))
			},
		},
		{
			what: "corrupt parent", want: []error{vhdx.ErrCorrupt}, says: []string{"child", "win.vhdx", `".\\win.vhdx"`},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", vhdxParent, `.\win.vhdx`, `D:\win.vhd`))
				folder.files["win.vhdx"].data = folder.files["win.vhdx"].data[:mib]
			},
		},
		{
			what: "parent is no image", want: []error{chain.ErrUnknownFormat}, says: []string{"child", "win.vhdx", "qcow2"},
			make: func(t *testing.T, folder *memFolder) {
				folder.put("child", orphanVHDX(t, "child", vhdxParent, `.\win.vhdx`, ""))
				folder.put("win.vhdx", append([]byte("QFI\xfb"), make([]byte, 70000)...))
			},
		},
		{
			what: "no image", want: []error{chain.ErrUnknownFormat}, says: []string{"child", "4096"},
			make: func(_ *testing.T, folder *memFolder) { folder.put("child", make([]byte, 4096)) },
		},
		{
			what: "empty file", want: []error{chain.ErrUnknownFormat}, says: []string{"child"},
			make: func(_ *testing.T, folder *memFolder) { folder.put("child", nil) },
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			folder := vdisk(t)
			if c.make != nil {
				c.make(t, folder)
			}
			if c.name == "" {
				c.name = "child"
			}
			before := folder.open.Load()
			_, err := chain.Open(t.Context(), folder, c.name, chain.Options{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v\nis not: %v", err, want)
				}
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%v\ndoes not say %s", err, says)
				}
			}
			if open := folder.open.Load() - before; open != 0 {
				t.Errorf("%d files stay open", open)
			}
		})
	}
}

// TestDepth opens 64 files, each with a sector of its own, and refuses 65.
func TestDepth(t *testing.T) {
	folder := newFolder()
	want := make([]byte, small)
	name := func(i int) string { return fmt.Sprintf("win.%d.avhd", i) }
	folder.put(name(0), writeBaseVHD(t, name(0), want, vhd.Options{Type: vhd.Fixed}))
	for i := 1; i < chain.MaxLayers; i++ {
		// Each writes a page of its own and one that all have.
		data := bytes.Repeat([]byte{byte(i)}, 4096)
		addChild(t, folder, name(i-1), name(i), edit{int64(i) * 8192, data}, edit{0, data})
		copy(want[i*8192:], data)
		copy(want, data)
	}
	c := open(t, folder, name(chain.MaxLayers-1))
	if !bytes.Equal(readAll(t, c), want) {
		t.Error("contents differ")
	}
	for e, err := range c.Extents(0, c.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		if level := int(want[e.Offset]); e.Layer != level {
			t.Errorf("extent %+v is of layer %d", e, level)
		}
	}
	opt := vhdChild("65", name(63), vhdInfo(name(63), small))
	folder.put("65", writeVHD(t, edited(t, zeros{small, 512}), opt))
	before := folder.open.Load()
	_, err := chain.Open(t.Context(), folder, "65", chain.Options{})
	if !errors.Is(err, chain.ErrTooDeep) || !strings.Contains(err.Error(), name(1)) {
		t.Errorf("65 files: %v", err)
	}
	if open := folder.open.Load() - before; open != 0 {
		t.Errorf("%d files stay open", open)
	}
}

// brokenFolder fails for one name.
type brokenFolder struct {
	*memFolder
	name string
	err  error
}

func (b brokenFolder) Open(ctx context.Context, name string) (chain.File, error) {
	if name == b.name {
		return nil, b.err
	}
	return b.memFolder.Open(ctx, name)
}

// TestFolderErrors: what the folder says is not taken for a missing parent.
func TestFolderErrors(t *testing.T) {
	folder := vdisk(t)
	before := folder.open.Load()
	_, err := chain.Open(t.Context(), brokenFolder{folder, "win.vhdx", fs.ErrPermission}, "win.2.avhdx", chain.Options{})
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, chain.ErrParentMissing) || !strings.Contains(err.Error(), "win.1.avhdx") {
		t.Errorf("permission: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := chain.Open(ctx, folder, "win.2.avhdx", chain.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if open := folder.open.Load() - before; open != 0 {
		t.Errorf("%d files stay open", open)
	}
}
