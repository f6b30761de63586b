package chain_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/testkit/disktest"
)

// corpus unpacks an image from the test data of a container's package.
func corpus(t testing.TB, container, name string) []byte {
	t.Helper()
	return disktest.Run(t, "xz", "-dkc", filepath.Join("..", container, "testdata", name+".xz"))
}

// TestWindowsChains opens pairs made by Windows 10; the hashes are 7-Zip's.
func TestWindowsChains(t *testing.T) {
	for ext, hash := range map[string]string{"vhdx": "1ef1fb53", "vhd": "b7922a46"} {
		folder := newFolder()
		parent, child := "ntfs-parent."+ext, "ntfs-differential."+ext
		folder.put(parent, corpus(t, ext, parent))
		folder.put(child, corpus(t, ext, child))
		c := open(t, folder, child)
		layers := c.Layers()
		if len(layers) != 2 || layers[0].Name != parent || layers[0].Type != "fixed" || layers[1].Parent.Path != `.\`+parent {
			t.Errorf("layers %+v", layers)
		}
		disk := readAll(t, c)
		if got := fmt.Sprintf("%x", sha256.Sum256(disk)); !strings.HasPrefix(got, hash) {
			t.Errorf("%s: disk has SHA-256 %s, want %s...", ext, got, hash)
		}
		plain := map[string]func(file, parent []byte) []byte{"vhdx": plainVHDX, "vhd": plainVHD}[ext]
		if !bytes.Equal(plain(folder.files[child].data, plain(folder.files[parent].data, nil)), disk) {
			t.Errorf("%s: the plain reader differs", ext)
		}
		if err := c.Unchanged(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestWindows8Child: a child by Windows 8, which changes nothing.
func TestWindows8Child(t *testing.T) {
	folder := newFolder()
	folder.put("win8.vhd", corpus(t, "vhd", "win8.vhd"))
	folder.put("win8-child.vhd", corpus(t, "vhd", "win8-child.vhd"))
	c := open(t, folder, "win8-child.vhd")
	if layers := c.Layers(); len(layers) != 2 || layers[0].Name != "win8.vhd" {
		t.Errorf("layers %+v", layers)
	}
	if !bytes.Equal(readAll(t, c), readAll(t, open(t, folder, "win8.vhd"))) {
		t.Error("contents are not the parent's")
	}
}

// Test7zz has 7-Zip decode chains through all levels.
func Test7zz(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	disk := make([]byte, 9*mib)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(disk[2*mib : 5*mib])
	some := func() edit {
		data := make([]byte, 4096*(1+rng.IntN(300)))
		_, _ = rand.NewChaCha8([32]byte{byte(rng.Uint32())}).Read(data)
		return edit{rng.Int64N(int64(len(disk)-len(data))/512) * 512, data}
	}
	for _, c := range []struct {
		ext  string
		base []byte
	}{
		{"vhdx", writeBaseVHDX(t, "base.vhdx", disk, vhdx.Options{Type: vhdx.Dynamic, BlockSize: 8 * mib})},
		{"vhdx", writeBaseVHDX(t, "base.vhdx", disk, vhdx.Options{Type: vhdx.Fixed, BlockSize: 2 * mib, LogicalSectorSize: 4096})},
		{"vhd", writeBaseVHD(t, "base.vhd", disk, vhd.Options{Type: vhd.Dynamic, BlockSize: 2 * mib})},
		{"vhd", writeBaseVHD(t, "base.vhd", disk, vhd.Options{Type: vhd.Fixed})},
	} {
		folder := newFolder()
		top := "base." + c.ext
		folder.put(top, c.base)
		for i := range 3 {
			name := fmt.Sprintf("base.%d.a%s", i+1, c.ext)
			addChild(t, folder, top, name, some(), some(), some())
			top = name
		}
		dir := t.TempDir()
		for name, f := range folder.files {
			if err := os.WriteFile(filepath.Join(dir, name), f.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got := disktest.Run(t, "7zz", "e", "-so", "-t"+c.ext, filepath.Join(dir, top))
		if !bytes.Equal(got, readAll(t, open(t, folder, top))) {
			t.Errorf("%s: 7zz differs", top)
		}
	}
}
