package diskimage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// TestInspect describes what can be read of chains that cannot be used.
func TestInspect(t *testing.T) {
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		ext := "." + string(container)
		for _, x := range []struct {
			what   string
			layers int
			code   job.Code // "" for none
			says   string
			change func(dir string)
		}{
			{"sound", 3, "", "", func(string) {}},
			{"base missing", 2, job.ImageNotFound, "base" + ext, func(dir string) {
				_ = os.Remove(filepath.Join(dir, "base"+ext))
			}},
			{"parent missing", 1, job.ImageNotFound, "base.1.a" + ext[1:], func(dir string) {
				_ = os.Remove(filepath.Join(dir, "base.1.a"+ext[1:]))
			}},
			{"another base", 2, job.DiskCorrupt, "base" + ext, func(dir string) {
				_ = os.Remove(filepath.Join(dir, "base"+ext))
				out := output(t, dir, "base"+ext, container, "")
				out.Identity.ID = guid("another")
				if _, err := diskimage.Create(t.Context(), out, 4*mib, 512); err != nil {
					t.Fatal(err)
				}
			}},
			{"base is no image", 2, job.DiskCorrupt, "base" + ext, func(dir string) { write(t, dir, "base"+ext, noise(mib, 1)) }},
			{"base is damaged", 2, job.DiskCorrupt, "base" + ext, func(dir string) { damage(t, filepath.Join(dir, "base"+ext)) }},
			{"base is a folder", 2, job.ImageNotFound, "", func(dir string) {
				_ = os.Remove(filepath.Join(dir, "base"+ext))
				_ = os.Mkdir(filepath.Join(dir, "base"+ext), 0o700)
			}},
		} {
			t.Run(x.what+ext, func(t *testing.T) {
				dir := t.TempDir()
				name := buildChain(t, dir, container, 4*mib, 512)
				x.change(dir)
				info, err := diskimage.Inspect(t.Context(), input(t, dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if info.Name != name || info.VirtualSizeBytes != 4*mib || len(info.Layers) != x.layers {
					t.Errorf("%+v", info)
				}
				if x.code == "" {
					if info.Problem != nil || info.Layers[1].Parent.Name != "base"+ext {
						t.Errorf("%+v", info)
					}
					return
				}
				if p := info.Problem; p == nil || p.Code != x.code || !strings.Contains(p.Detail, x.says) {
					t.Errorf("%+v", p)
				}
				if p := info.Layers[0].Parent; p == nil || p.Name != "" || p.RelativePath == "" || p.Linkage == "" {
					t.Errorf("%+v", p)
				}
				for i, l := range info.Layers[1:] {
					if l.Parent == nil || l.Parent.Name != info.Layers[i].Name || l.Parent.FoundBy != "relative path" {
						t.Errorf("%+v", l)
					}
				}
			})
		}
	}
}

// damage overwrites the structures of an image behind its signature.
func damage(t *testing.T, path string) {
	t.Helper()
	data := read(t, path)
	copy(data[600:], noise(300<<10, 1))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestInspectRefuses what has nothing to describe.
func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "noise.vhdx", noise(mib, 1))
	unpack(t, dir, "ntfs-parent.vhdx")
	damage(t, filepath.Join(dir, "ntfs-parent.vhdx"))
	for name, code := range map[string]job.Code{"none.vhdx": job.ImageNotFound, "noise.vhdx": job.WrongFormat, "ntfs-parent.vhdx": job.DiskCorrupt} {
		if info, err := diskimage.Inspect(t.Context(), input(t, dir, name)); job.CodeOf(err) != code {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	in := input(t, dir, "noise.vhdx")
	in.Raw = true
	if info, err := diskimage.Inspect(t.Context(), in); err != nil || info.Type != "raw" {
		t.Errorf("%+v, %v", info, err)
	}
}
