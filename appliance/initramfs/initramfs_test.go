package initramfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"

	"imageport/appliance/deb"
	"imageport/appliance/initramfs"
)

var date = time.Date(2026, 11, 21, 2, 10, 46, 0, time.UTC)

// written gives the archive of a tree.
func written(t *testing.T, tree *initramfs.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tree.Write(&b, date); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// contents has another program read an archive: "mode name" or "mode name ->
// target" in its order.
func contents(t *testing.T, raw []byte) (list []string, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	r := cpio.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return list, files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%o %s", h.Mode, h.Name)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		list, files[h.Name] = append(list, line), string(body)
		if h.Uid != 0 || h.Guid != 0 || !h.ModTime.Equal(date) {
			t.Errorf("%s is of %d:%d, %s", h.Name, h.Uid, h.Guid, h.ModTime)
		}
	}
}

func TestTree(t *testing.T) {
	tree := &initramfs.Tree{}
	err := errors.Join(
		tree.AddLink("/sbin/modprobe", "/init"),
		tree.AddFile("/init", 0o755, []byte("odd")),
		tree.AddDevice("/dev/console", 0o600, 5, 1),
		tree.AddDir("/tmp", 0o1777),
		tree.AddDir("/dev", 0o755), // it is there already
		tree.AddFile("/etc/deep/er/file", 0o644, nil),
	)
	if err != nil {
		t.Fatal(err)
	}
	raw := written(t, tree)
	list, files := contents(t, raw)
	const want = "40755 dev|20600 dev/console|40755 etc|40755 etc/deep|40755 etc/deep/er|100644 etc/deep/er/file|100755 init|40755 sbin|120777 sbin/modprobe -> /init|41777 tmp"
	if got := strings.Join(list, "|"); got != want || files["init"] != "odd" {
		t.Errorf("%s\nwant %s", got, want)
	}
	// 7-Zip sees the same, and no error.
	path := filepath.Join(t.TempDir(), "initramfs.cpio")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("7zz", "l", "-slt", "-tcpio", path).CombinedOutput()
	if err != nil {
		t.Errorf("7zz: %v: %s", err, out)
	}
	for _, part := range []string{"Path = dev/console", "SubType = New ASCII", "Device Major = 5", "Path = sbin/modprobe", "Path = etc/deep/er/file"} {
		if !strings.Contains(string(out), part) {
			t.Errorf("7zz does not say %q: %s", part, out)
		}
	}
}

func TestTreeRefusals(t *testing.T) {
	tree := &initramfs.Tree{}
	if err := tree.AddFile("/etc/file", 0o644, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "/", "relative", "/a/../b", "/a/", "//a", "/a\x00b", "/etc/file", "/etc", "/etc/file/below"} {
		if err := tree.AddFile(name, 0o644, nil); !errors.Is(err, initramfs.ErrTree) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, when := range []time.Time{time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2107, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := tree.Write(io.Discard, when); !errors.Is(err, initramfs.ErrTree) {
			t.Errorf("%s: %v", when, err)
		}
	}
	if err := tree.Write(brokenPipe{}, date); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken pipe: %v", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// assemble makes an object file with what a module says of itself, as the
// kernel's build does, and signs it, as far as anybody can see.
func assemble(t testing.TB, modinfo ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	source := ".section .modinfo,\"a\"\n"
	for _, pair := range modinfo {
		source += fmt.Sprintf(".asciz %q\n", pair)
	}
	in, out := filepath.Join(dir, "m.s"), filepath.Join(dir, "m.ko")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("gcc", "-c", "-o", out, in).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, said)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, "signature~Module signature appended~\n"...)
}

// modules are a kernel package's files.
func modules(t testing.TB) deb.Tree {
	const dir = "/usr/lib/modules/6.12-cloud-amd64/kernel/drivers/"
	plain := assemble(t, "name=plain")
	return deb.Tree{
		"/boot/vmlinuz-6.12-cloud-amd64":                    {Data: []byte("bzImage")},
		"/usr/lib/modules/6.12-cloud-amd64/modules.builtin": {Data: []byte("kernel/fs/fuse/fuse.ko\nkernel/drivers/nvme-core.ko\n")},
		dir + "net/xen-net.ko":                              {Data: assemble(t, "name=xen_net", "alias=xen:vif", "alias=xennet", "depends=virtio-ring,plain", "license=GPL", "softdep=pre: soft absent post: last")},
		dir + "virtio_ring.ko":                              {Data: assemble(t, "name=virtio_ring", "depends=")},
		dir + "plain.ko":                                    {Data: plain},
		dir + "soft.ko":                                     {Data: assemble(t, "name=soft", "depends=nvme-core")},
		dir + "last.ko":                                     {Data: assemble(t, "name=last")},
		dir + "loop_a.ko":                                   {Data: assemble(t, "name=loop_a", "depends=loop_b")},
		dir + "loop_b.ko":                                   {Data: assemble(t, "name=loop_b", "depends=loop_a")},
		dir + "orphan.ko":                                   {Data: assemble(t, "name=orphan", "depends=nowhere")},
		dir + "other.ko":                                    {Data: assemble(t, "name=another")},
		dir + "blank.ko":                                    {Data: assemble(t, "name=blank", "alias=pci:a b")},
		dir + "unsigned.ko":                                 {Data: plain[:len(plain)-1]},
		dir + "text.ko":                                     {Data: []byte("text~Module signature appended~\n")},
		dir + "damaged.ko.xz":                               {Data: []byte("\xfd7zXZ\x00 and so on, and so on, and so on")},
		"/usr/lib/modules/6.1-old/kernel/plain.ko":          {Data: []byte("of another kernel")},
	}
}

func TestModules(t *testing.T) {
	k, err := initramfs.FindKernel(modules(t))
	if err != nil || k.Release != "6.12-cloud-amd64" || string(k.Image) != "bzImage" || !k.Has("fuse") || k.Has("plain") {
		t.Fatalf("%+v, %v", k, err)
	}
	tree := &initramfs.Tree{}
	if err := tree.AddModules(k, []string{"xen-net", "nvme_core", "plain"}); err != nil {
		t.Fatal(err)
	}
	list, files := contents(t, written(t, tree))
	const index = "plain\t\t\nvirtio_ring\t\t\nsoft\tnvme_core\t\nxen_net\tvirtio_ring,plain,soft\txen:vif xennet\n"
	if files["lib/modules/index"] != index {
		t.Errorf("the index is %q, want %q", files["lib/modules/index"], index)
	}
	if want := "40755 lib|40755 lib/modules|100644 lib/modules/index|100644 lib/modules/plain.ko|100644 lib/modules/soft.ko|100644 lib/modules/virtio_ring.ko|100644 lib/modules/xen_net.ko"; strings.Join(list, "|") != want {
		t.Errorf("%s, want %s", list, want)
	}
	if !strings.HasSuffix(files["lib/modules/plain.ko"], "signature~Module signature appended~\n") {
		t.Error("a module has lost its signature")
	}
	for name, says := range map[string]string{
		"nowhere": "nowhere is not in kernel 6.12-cloud-amd64", "orphan": "orphan: not a usable kernel module: nowhere is not in", "loop_a": "loop_a depends on itself", "other": "other calls itself another",
		"blank": "has a blank in it", "unsigned": "it has no signature", "text": "bad magic number", "damaged": "damaged.ko.xz",
	} {
		if err := (&initramfs.Tree{}).AddModules(k, []string{name}); !errors.Is(err, initramfs.ErrModule) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFindKernelRefusals(t *testing.T) {
	two := modules(t)
	two["/boot/vmlinuz-6.1-old"] = deb.File{Data: []byte("bzImage")}
	if _, err := initramfs.FindKernel(two); !errors.Is(err, initramfs.ErrKernel) {
		t.Errorf("two kernels: %v", err)
	}
	if _, err := initramfs.FindKernel(deb.Tree{}); !errors.Is(err, initramfs.ErrKernel) {
		t.Errorf("no kernel: %v", err)
	}
	twice := modules(t)
	twice["/usr/lib/modules/6.12-cloud-amd64/extra/plain.ko.xz"] = deb.File{}
	if _, err := initramfs.FindKernel(twice); !errors.Is(err, initramfs.ErrModule) {
		t.Errorf("a module twice: %v", err)
	}
}

// programs makes a program and its libraries: program needs liba, which needs
// libb.
func programs(t testing.TB) deb.Tree {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"-shared", "-nostdlib", "-Wl,-soname,libb.so.1", "-o", "libb.so.1"},
		{"-shared", "-nostdlib", "-Wl,-soname,liba.so.1,--no-as-needed", "-o", "liba.so.1", "libb.so.1"},
		{"-nostdlib", "-Wl,-dynamic-linker,/lib64/ld-test.so.2,--no-as-needed,-rpath-link,.", "-o", "program", "liba.so.1", "libb.so.1"},
		{"-static", "-nostdlib", "-o", "static"},
	} {
		gcc := exec.Command("gcc", append([]string{"-x", "c", "start.c", "-x", "none"}, args...)...)
		gcc.Dir = dir
		if err := os.WriteFile(filepath.Join(dir, "start.c"), []byte("void _start(void) {}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := gcc.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v: %s", err, said)
		}
	}
	file := func(name string) deb.File {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return deb.File{Perm: 0o644, Data: raw}
	}
	const libraries = "/usr/lib/x86_64-linux-gnu/"
	return deb.Tree{
		"/usr/bin/program":         file("program"),
		"/usr/bin/static":          file("static"),
		"/usr/bin/script":          {Perm: 0o755, Data: []byte("#!/bin/sh\n")},
		"/usr/lib64/ld-test.so.2":  {Link: "../lib/x86_64-linux-gnu/ld-test.so.2"},
		libraries + "ld-test.so.2": file("static"),
		libraries + "liba.so.1":    {Link: "liba.so.1.0"},
		libraries + "liba.so.1.0":  file("liba.so.1"),
		"/usr/lib/libb.so.1":       file("libb.so.1"),
	}
}

func TestPrograms(t *testing.T) {
	files := programs(t)
	tree := &initramfs.Tree{}
	if err := tree.AddPrograms(files, []string{"/usr/bin/program", "/usr/bin/static"}); err != nil {
		t.Fatal(err)
	}
	list, _ := contents(t, written(t, tree))
	const want = "40755 lib|100755 lib/liba.so.1|100755 lib/libb.so.1|40755 lib64|100755 lib64/ld-test.so.2|40755 usr|40755 usr/bin|100755 usr/bin/program|100755 usr/bin/static"
	if got := strings.Join(list, "|"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for name, says := range map[string]string{"/usr/bin/absent": "/usr/bin/absent is in none of the packages", "/usr/bin/script": "/usr/bin/script: it is no ELF file"} {
		if err := (&initramfs.Tree{}).AddPrograms(files, []string{name}); !errors.Is(err, initramfs.ErrProgram) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for missing, says := range map[string]string{"/usr/lib/libb.so.1": "libb.so.1 is in none of the packages: pin the one that has it", "/usr/lib64/ld-test.so.2": "/lib64/ld-test.so.2 is in none"} {
		without := programs(t)
		delete(without, missing)
		if err := (&initramfs.Tree{}).AddPrograms(without, []string{"/usr/bin/program"}); !errors.Is(err, initramfs.ErrProgram) || !strings.Contains(err.Error(), says) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	if err := initramfs.CheckStatic(files["/usr/bin/static"].Data); err != nil {
		t.Error(err)
	}
	for name, says := range map[string]string{"/usr/bin/program": "it needs /lib64/ld-test.so.2", "/usr/lib/x86_64-linux-gnu/liba.so.1.0": "it needs libb.so.1", "/usr/bin/script": "it is no ELF file"} {
		if err := initramfs.CheckStatic(files[name].Data); !errors.Is(err, initramfs.ErrProgram) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzModule(f *testing.F) {
	f.Add(assemble(f, "name=m", "alias=pci:v*", "depends=a,b", "softdep=pre: c"))
	f.Fuzz(func(t *testing.T, ko []byte) {
		k, err := initramfs.FindKernel(deb.Tree{"/boot/vmlinuz-6": {Data: []byte("x")}, "/lib/modules/6/m.ko": {Data: ko}})
		if err != nil {
			t.Fatal(err)
		}
		if err := (&initramfs.Tree{}).AddModules(k, []string{"m"}); err != nil && !errors.Is(err, initramfs.ErrModule) {
			t.Error(err)
		}
	})
}

func FuzzProgram(f *testing.F) {
	for _, file := range programs(f) {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		err := (&initramfs.Tree{}).AddPrograms(deb.Tree{"/bin/program": {Data: program}}, []string{"/bin/program"})
		if err != nil && !errors.Is(err, initramfs.ErrProgram) {
			t.Error(err)
		}
	})
}
