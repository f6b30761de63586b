package pvstarget

import (
	"context"
	"testing"
	"time"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
)

const mib = 1 << 20

// registry is that of a Windows, to be built.
type registry struct {
	t                testing.TB
	system, software *hive.Key
	files            map[string]bool // on its volume
}

// newRegistry is that of a Windows 10 without the software.
func newRegistry(t testing.TB) *registry {
	r := &registry{t, &hive.Key{Name: "ROOT"}, &hive.Key{Name: "ROOT"}, map[string]bool{}}
	r.software.Create(`Microsoft\Windows NT\CurrentVersion`).
		Set(hive.SZ("ProductName", "Windows 10 Enterprise")).Set(hive.SZ("CurrentBuild", "19045"))
	r.software.Create(`Microsoft\Windows\CurrentVersion\Setup\State`).Set(hive.SZ("ImageState", complete))
	r.list("", "{23170F69-40C1-2702-2301-000001000000}", hive.SZ("DisplayName", "7-Zip"), hive.SZ("DisplayVersion", "23.01"))
	r.system.Create("Setup").Set(hive.DWORD("SetupType", 0)).Set(hive.DWORD("OOBEInProgress", 0))
	r.system.Create(`ControlSet001\Control\Session Manager`).Set(hive.MultiSZ("BootExecute", "autocheck autochk *"))
	return r
}

const (
	code      = "{F9A5B7E0-1C2D-4E3F-8A9B-0C1D2E3F4A5B}"
	otherCode = "{01234567-89AB-CDEF-0123-456789ABCDEF}"
	name      = "Citrix Provisioning Target Device x64"
)

// list adds an entry to the list of installed programs.
func (r *registry) list(view, key string, values ...hive.Value) {
	k := r.software.Create(view, pathUninstall, key)
	for _, v := range values {
		k.Set(v)
	}
}

// register adds what Windows Installer knows of a package.
func (r *registry) register(code, name, version string) {
	r.software.Create(pathProducts, pack(code)).Set(hive.SZ("ProductName", name)).Set(hive.DWORD("Version", 0x7210064))
	r.software.Create(pathUserData, pack(code), "InstallProperties").Set(hive.SZ("DisplayName", name)).Set(hive.SZ("DisplayVersion", version))
}

// install adds a package as its installer does.
func (r *registry) install(code, name, version string) {
	r.list("", code, hive.SZ("DisplayName", name), hive.SZ("DisplayVersion", version), hive.DWORD("WindowsInstaller", 1))
	r.register(code, name, version)
}

// service adds a service with its file.
func (r *registry) service(name string, kind uint32, image, file string) {
	r.system.Create("ControlSet001", "Services", name).
		Set(hive.DWORD("Type", kind)).Set(hive.DWORD("Start", 2)).Set(hive.ExpandSZ("ImagePath", image))
	if file != "" {
		r.files[file] = true
	}
}

// installed is a registry with a version of the software.
func installed(t testing.TB, version string) *registry {
	r := newRegistry(t)
	r.install(code, name, version)
	const drivers = `\Windows\System32\drivers\`
	r.service("bnistack", 1, `System32\drivers\bnistack6.sys`, drivers+"bnistack6.sys")
	r.service("BNDevice", 0x10, `"C:\Program Files\Citrix\Provisioning Services\BNDevice.exe"`, `\Program Files\Citrix\Provisioning Services\BNDevice.exe`)
	r.service("CFsDep2", 2, `\SystemRoot\System32\drivers\CfsDep2.sys`, drivers+"CfsDep2.sys")
	r.service("CVhdMp", 1, `\SystemRoot\System32\drivers\CVhdMp.sys`, drivers+"CVhdMp.sys")
	return r
}

// build gives a tree as the file of a hive.
func build(t testing.TB, root *hive.Key) []byte {
	t.Helper()
	b, err := hive.Build(root, hive.BuildOptions{Modified: time.Unix(1_600_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *offline.Hive {
	t.Helper()
	h, err := hive.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return &offline.Hive{Hive: h, Place: "the hive"}
}

// read inspects hives without a disk.
func read(ctx context.Context, system, software *offline.Hive, files map[string]bool, o Options) (Facts, error) {
	in := inspector{ctx: ctx, options: o, hasFile: func(path string) (bool, error) { return files[path], nil }}
	in.Arch = "x64"
	var err error
	if in.name, err = pattern(o.NamePattern); err != nil {
		return Facts{}, err
	}
	w := &offline.Windows{System: system, Current: "ControlSet001"}
	if err := in.readRegistry(w, software); err != nil {
		return Facts{}, err
	}
	return in.Facts, in.findFiles()
}

func (r *registry) inspect(o Options) Facts {
	r.t.Helper()
	f, err := read(r.t.Context(), parse(r.t, build(r.t, r.system)), parse(r.t, build(r.t, r.software)), r.files, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}
