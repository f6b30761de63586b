package upgrade

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"imageport/engine/catalogue"
	"imageport/engine/disk/overlay"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/samba"
	"imageport/testkit/winimage"
)

// readOnly is a share that nothing can be written to, and nothing fits on.
type readOnly struct{ share.Store }

func (readOnly) Free(context.Context) (int64, error) { return 0, nil }
func (readOnly) Writable(context.Context) error {
	return job.Errorf(job.ShareDenied, "Allow it", "nothing can be written to the share")
}

// full is a share with little room.
type full struct{ share.Store }

func (full) Free(context.Context) (int64, error) { return 1 << 20, nil }

// What the catalogue has decides.
func TestPreflightRefusesInstaller(t *testing.T) {
	resolve := func(s *site, version string) error {
		_, err := Resolve(context.Background(), noDial, s.catalogue, version)
		return err
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, s *site) error
		code job.Code
		says string
	}{
		{"no such version", func(_ *testing.T, s *site) error { return resolve(s, "1999") }, job.InstallerNotFound, "it has 2311"},
		{"for another processor", func(t *testing.T, s *site) error {
			rewrite(t, s, `"arch":"x64"`, `"arch":"x86"`)
			return resolve(s, "2311")
		}, job.InstallerNotFound, "for x86 only"},
		{"a damaged catalogue", func(t *testing.T, s *site) error {
			rewrite(t, s, `"arch"`, `arch"`)
			return resolve(s, "2311")
		}, job.CatalogueInvalid, "line 1"},
		{"a catalogue that leads out of its folder", func(t *testing.T, s *site) error {
			rewrite(t, s, installerFile, "../setup.exe")
			return resolve(s, "2311")
		}, job.CatalogueInvalid, "../setup.exe"},
		{"a folder without a catalogue", func(t *testing.T, s *site) error {
			if err := os.Remove(filepath.Join(s.catalogue.Dir, catalogue.FileName)); err != nil {
				t.Fatal(err)
			}
			return resolve(s, "2311")
		}, job.CatalogueInvalid, "no catalogue.json"},
		{"no folder", func(_ *testing.T, s *site) error {
			s.catalogue.Dir = filepath.Join(s.catalogue.Dir, "gone")
			return resolve(s, "2311")
		}, job.ShareNotFound, "gone"},
		{"no file", func(t *testing.T, s *site) error {
			if err := os.Remove(filepath.Join(s.catalogue.Dir, installerFile)); err != nil {
				t.Fatal(err)
			}
			_, err := s.preflight(t)
			return err
		}, job.InstallerNotFound, installerFile},
		{"no folder of the file", func(t *testing.T, s *site) error {
			if err := os.RemoveAll(filepath.Join(s.catalogue.Dir, "2311")); err != nil {
				t.Fatal(err)
			}
			_, err := s.preflight(t)
			return err
		}, job.InstallerNotFound, installerFile},
		{"another file", func(t *testing.T, s *site) error {
			change(t, filepath.Join(s.catalogue.Dir, installerFile), func(b []byte) []byte { b[len(b)-1]++; return b })
			_, err := s.preflight(t)
			return err
		}, job.InstallerHashMismatch, installerFile},
		{"a file for which there is no room", func(t *testing.T, s *site) error {
			if err := os.Truncate(filepath.Join(s.catalogue.Dir, installerFile), 200<<20); err != nil {
				t.Fatal(err)
			}
			_, err := s.preflight(t)
			return err
		}, job.WindowsFull, "1624 MiB"},
		{"a pattern that is none", func(t *testing.T, s *site) error {
			s.installer.Verify.DisplayName = "("
			_, err := s.preflight(t)
			return err
		}, job.CatalogueInvalid, "pattern"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			before := files(t, s.dir)
			refused(t, c.make(t, s), c.code, c.says)
			if after := files(t, s.dir); after != before {
				t.Errorf("the folder changed\nbefore\n%safter\n%s", before, after)
			}
		})
	}
}

func change(t *testing.T, path string, with func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, with(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rewrite changes the text of the catalogue.
func rewrite(t *testing.T, s *site, from, to string) {
	t.Helper()
	change(t, filepath.Join(s.catalogue.Dir, catalogue.FileName), func(b []byte) []byte {
		after := bytes.Replace(b, []byte(from), []byte(to), 1)
		if bytes.Equal(after, b) {
			t.Fatalf("%s has no %s", b, from)
		}
		return after
	})
}

const versions = `<?xml version="1.0"?><versionManifest><startingVersion>0</startingVersion><version><versionNumber>0</versionNumber>` +
	`<description></description><type>0</type><access>0</access><createDate>2026-11-23T10:00:00</createDate><scheduledDate></scheduledDate>` +
	`<deleteWhenFree>0</deleteWhenFree><diskFileName>new.vhdx</diskFileName><size>4</size><lastWriteTime>2026-11-23T10:00:00</lastWriteTime></version></versionManifest>`

// existing puts a disk where the output is to be.
func (s *site) existing(t *testing.T) {
	t.Helper()
	disktest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", filepath.Join(s.dir, s.task.Output), "8M")
	s.task.Overwrite = true
}

// The files of the image, the output and the share decide.
func TestPreflightRefusesFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, s *site)
		code job.Code // "" is none
		says string
	}{
		{"no image", func(_ *testing.T, s *site) { s.task.Copy.Input = "gone.vhdx" }, job.ImageNotFound, "gone.vhdx"},
		{"no parent", func(t *testing.T, s *site) {
			s.version(t, file(`\hiberfil.sys`, 0, "\x00"))
			if err := os.Remove(filepath.Join(s.dir, vDisk)); err != nil {
				t.Fatal(err)
			}
		}, job.ImageNotFound, vDisk},
		{"another parent", func(t *testing.T, s *site) {
			s.version(t, file(`\hiberfil.sys`, 0, "\x00"))
			path := filepath.Join(s.dir, vDisk)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			disktest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", path, "1536M")
		}, job.DiskCorrupt, vDisk},
		{"a letter", func(t *testing.T, s *site) { s.task.Copy.Input = "a.vhdx"; s.put(t, "a.vhdx", "a letter") }, job.WrongFormat, "a.vhdx"},
		{"another format", func(_ *testing.T, s *site) { s.task.Copy.Format = job.FormatVHD }, job.WrongFormat, "vhdx"},
		{"a cut image", func(t *testing.T, s *site) {
			b, err := os.ReadFile(filepath.Join(s.dir, vDisk))
			if err != nil {
				t.Fatal(err)
			}
			s.task.Copy.Input = "cut.vhdx"
			s.put(t, s.task.Copy.Input, string(b[:len(b)-4<<20]))
		}, job.DiskCorrupt, "cut.vhdx"},
		{"locked", func(t *testing.T, s *site) { s.put(t, "win10.lok", "") }, job.ImageLocked, "win10.lok"},
		{"locked, and that ignored", func(t *testing.T, s *site) { s.put(t, "win10.lok", ""); s.task.Copy.IgnoreLock = true }, "", ""},
		{"outputSizeMb too small", func(_ *testing.T, s *site) { s.task.Copy.SizeMB = 1535 }, job.OutputTooSmall, "1535"},
		{"outputSizeMb of the image", func(_ *testing.T, s *site) { s.task.Copy.SizeMB = 1536 }, "", ""},
		{"a larger output", func(_ *testing.T, s *site) { s.task.Copy.SizeMB = 4096 }, "", ""},
		{"an output too large for a VHD", func(t *testing.T, s *site) {
			s.vhd(t)
			s.task.Copy.SizeMB = 2040<<10 + 1
		}, job.BadRequest, "VHD"},
		{"the largest VHD", func(t *testing.T, s *site) { s.vhd(t); s.task.Copy.SizeMB = 2040 << 10; s.store = roomy{s.store} }, "", ""},
		{"an output that is there", func(t *testing.T, s *site) { s.existing(t); s.task.Overwrite = false }, job.OutputExists, "new.vhdx"},
		{"an output to be overwritten", func(t *testing.T, s *site) { s.existing(t) }, "", ""},
		{"an output that is a letter", func(t *testing.T, s *site) { s.put(t, s.task.Output, "a letter"); s.task.Overwrite = true }, job.OutputExists, "new.vhdx"},
		{"an output that is a version", func(t *testing.T, s *site) {
			s.version(t, file(`\hiberfil.sys`, 0, "\x00"))
			if err := os.Rename(filepath.Join(s.dir, s.task.Copy.Input), filepath.Join(s.dir, s.task.Output)); err != nil {
				t.Fatal(err)
			}
			s.task.Copy.Input, s.task.Overwrite = vDisk, true
		}, job.OutputExists, "differencing"},
		{"the image as the output", func(_ *testing.T, s *site) { s.task.Output, s.task.Overwrite = vDisk, true }, job.OutputExists, vDisk},
		{"the image as the output, by another name", func(t *testing.T, s *site) {
			if err := os.Link(filepath.Join(s.dir, vDisk), filepath.Join(s.dir, s.task.Output)); err != nil {
				t.Fatal(err)
			}
			s.task.Overwrite = true
		}, job.OutputExists, vDisk},
		{"the parent as the output", func(t *testing.T, s *site) {
			s.version(t, file(`\hiberfil.sys`, 0, "\x00"))
			s.task.Output, s.task.Overwrite = vDisk, true
		}, job.OutputExists, vDisk},
		{"an output that PVS has in use", func(t *testing.T, s *site) { s.existing(t); s.put(t, "new.lok", "") }, job.ImageLocked, "new.lok"},
		{"an output in a store of PVS", func(t *testing.T, s *site) { s.existing(t); s.put(t, "new.pvp", "") }, job.OutputExists, "new.pvp"},
		{"an output with versions", func(t *testing.T, s *site) { s.existing(t); s.put(t, "new.1.avhdx", "") }, job.OutputExists, "new.1.avhdx"},
		{"an output in a manifest", func(t *testing.T, s *site) { s.existing(t); s.put(t, "new.xml", versions) }, job.OutputExists, "new"},
		{"an output with a damaged manifest", func(t *testing.T, s *site) { s.existing(t); s.put(t, "new.xml", "<versionManifest>") }, job.ManifestInvalid, "manifest"},
		{"an output that another job publishes", func(t *testing.T, s *site) { s.put(t, "new.vhdx.ffffffffffff.claim", "") }, job.OutputInUse, "new.vhdx"},
		{"a share that is full", func(_ *testing.T, s *site) { s.store = full{s.store} }, job.ShareFull, "1 MiB free"},
		{"a share for reading", func(_ *testing.T, s *site) { s.store = readOnly{s.store} }, job.ShareDenied, "written"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c.make(t, s)
			if c.code != "" {
				s.refuses(t, c.code, c.says)
				return
			}
			out := s.admits(t)
			if there := exists(t, filepath.Join(s.dir, s.task.Output)); there != (out.Approval.Existing != nil) {
				t.Errorf("of the output there is %v, and found was %+v", there, out.Approval.Existing)
			}
			if want := s.task.Copy.SizeMB << 20; want != 0 && out.Approval.Copy.SizeBytes != want {
				t.Errorf("%d bytes, asked for were %d", out.Approval.Copy.SizeBytes, want)
			}
		})
	}
}

// roomy is a share on which everything fits.
type roomy struct{ share.Store }

func (roomy) Free(context.Context) (int64, error) { return 1 << 50, nil }

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// vhd has the job take the image as a VHD.
func (s *site) vhd(t *testing.T) {
	t.Helper()
	s.task.Copy.Input, s.task.Copy.Format, s.task.Output = "win10.vhd", job.FormatVHD, "new.vhd"
	disktest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on", must(t, oldDisk).Path, filepath.Join(s.dir, s.task.Copy.Input))
}

// A server tells names that differ in case from no others, may be for reading
// only, and says in its own words that there is no folder.
func TestPreflightOnShare(t *testing.T) {
	t.Parallel()
	server := samba.New(t, samba.Options{Shares: map[string]string{"disks": t.TempDir(), "read": t.TempDir()}, ReadOnly: []string{"read"}})
	on := func(name string) *site {
		s := newSite(t)
		if err := os.Link(filepath.Join(s.dir, vDisk), filepath.Join(server.Shares[name], vDisk)); err != nil {
			t.Fatal(err)
		}
		s.dir = server.Shares[name]
		var err error
		if s.store, err = share.Dial(t.Context(), share.Location{Host: server.Host, Port: server.Port, Share: name},
			share.Credential{Username: server.Username, Password: server.Password}, share.Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.store.Close() })
		return s
	}
	on("read").refuses(t, job.ShareDenied, "read")
	s := on("disks")
	s.admits(t)
	s.task.Output = "WIN10.VHDX"
	s.refuses(t, job.OutputExists, "WIN10.VHDX")
	s.task.Overwrite = true
	s.refuses(t, job.OutputExists, vDisk)
	s.task.Copy.Input = "WIN10.vhdx"
	s.refuses(t, job.OutputExists, "WIN10.vhdx")

	// The catalogue is on a share, too; the folder of the file is not there.
	s.task.Output = "new.vhdx"
	dial := func(ctx context.Context, where job.StorageLocation) (share.Store, error) {
		folder, err := where.Folder()
		if err != nil {
			return nil, err
		}
		return share.Dial(ctx, share.Location{Host: server.Host, Port: server.Port, Share: folder.Share, Folder: folder.Path},
			share.Credential{Username: server.Username, Password: server.Password}, share.Options{})
	}
	remote := Catalogue{Share: &job.StorageLocation{Host: server.Host, SharePath: "disks/installers"}}
	if err := os.CopyFS(filepath.Join(s.dir, "installers"), os.DirFS(s.catalogue.Dir)); err != nil {
		t.Fatal(err)
	}
	found, err := Resolve(t.Context(), dial, remote, "2311")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Preflight(t.Context(), s.store, dial, s.task, remote, found); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "installers", "2311")); err != nil {
		t.Fatal(err)
	}
	_, err = Preflight(t.Context(), s.store, dial, s.task, remote, found)
	refused(t, err, job.InstallerNotFound, `\\127.0.0.1\disks\installers`)
}

// opens counts how often each file is opened.
type opens struct {
	share.Store
	of map[string]int
}

func (s opens) Open(ctx context.Context, name string) (share.File, error) {
	s.of[name]++
	return s.Store.Open(ctx, name)
}

// The image is opened, and its tables are read, once; and its headers at the end,
// to see that it is the same.
func TestPreflightOpensOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.version(t, func(testing.TB, *overlay.Overlay, winimage.Partition) {})
	of := map[string]int{}
	s.store = opens{s.store, of}
	s.admits(t)
	if len(of) != 2 || of[vDisk] != 2 || of[s.task.Copy.Input] != 2 {
		t.Errorf("opened %v", of)
	}
}

// A job that is cancelled while the installer is hashed has not found it wrong.
func TestPreflightCancelled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	where := job.StorageLocation{Location: "//files/catalogue"}
	dials := 0
	dial := func(context.Context, job.StorageLocation) (share.Store, error) {
		if dials++; dials == 2 { // the first is to see that it is there
			cancel()
		}
		return share.Dir(filepath.Join(s.catalogue.Dir, "2311"))
	}
	_, err := Preflight(ctx, s.store, dial, s.task, Catalogue{Share: &where}, s.installer)
	if !errors.Is(err, context.Canceled) || dials != 2 {
		t.Errorf("after %d dials: %v", dials, err)
	}
}
