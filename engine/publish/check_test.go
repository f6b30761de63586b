package publish_test

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
	"imageport/testkit/disktest"
)

func (f folder) image(t *testing.T, name string) {
	t.Helper()
	format := map[string]string{".vhdx": "vhdx", ".vhd": "vpc"}[filepath.Ext(name)]
	disktest.Run(t, "qemu-img", "create", "-q", "-f", format, filepath.Join(f.path, name), "8M")
}

const versions = `<?xml version="1.0"?><versionManifest><startingVersion>0</startingVersion><version><versionNumber>0</versionNumber>` +
	`<description></description><type>0</type><access>0</access><createDate>2026-11-23T10:00:00</createDate><scheduledDate></scheduledDate>` +
	`<deleteWhenFree>0</deleteWhenFree><diskFileName>Win10.vhdx</diskFileName><size>4</size><lastWriteTime>2026-11-23T10:00:00</lastWriteTime></version></versionManifest>`

// What a preflight asks about a whole disk as the output.
func TestAdmit(t *testing.T) {
	for _, c := range []struct {
		name      string
		put       func(t *testing.T, f folder)
		overwrite bool
		code      job.Code
	}{
		{"nothing there", nil, false, ""},
		{"nothing there to overwrite", nil, true, ""},
		{"a disk", func(t *testing.T, f folder) { f.image(t, output) }, false, job.OutputExists},
		{"a disk to overwrite", func(t *testing.T, f folder) { f.image(t, output) }, true, ""},
		{"another job publishes", func(t *testing.T, f folder) { f.write(t, output+".ffffffffffff.claim", "") }, true, job.OutputInUse},
		{"this job publishes", func(t *testing.T, f folder) { f.write(t, output+".0123456789ab.claim", "") }, true, ""},
		{"another output is published", func(t *testing.T, f folder) { f.write(t, output+".x.vhdx.ffffffffffff.claim", "") }, true, ""},
		{"no disk", func(t *testing.T, f folder) { f.write(t, output, "a letter") }, true, job.OutputExists},
		{"the image itself, by another name", func(t *testing.T, f folder) {
			if err := os.Link(filepath.Join(f.path, "source.vhdx"), filepath.Join(f.path, output)); err != nil {
				t.Fatal(err)
			}
		}, true, job.OutputExists},
		{"in use by PVS", func(t *testing.T, f folder) { f.image(t, output); f.write(t, "Win10.lok", "") }, true, job.ImageLocked},
		{"in a store of PVS", func(t *testing.T, f folder) { f.image(t, output); f.write(t, "win10.PVP", "") }, true, job.OutputExists},
		{"with versions", func(t *testing.T, f folder) { f.image(t, output); f.write(t, "win10.2.avhdx", "") }, true, job.OutputExists},
		{"beside another vDisk with versions", func(t *testing.T, f folder) { f.image(t, output); f.write(t, "win11.2.avhdx", "") }, true, ""},
		{"listed in a manifest", func(t *testing.T, f folder) { f.image(t, output); f.write(t, "Win10.xml", versions) }, true, job.OutputExists},
		{"with a damaged manifest", func(t *testing.T, f folder) { f.image(t, output); f.write(t, "Win10.xml", "<versionManifest>") }, true, job.ManifestInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t)
			f.image(t, "source.vhdx")
			from := source.Layer{Name: "source.vhdx", File: *f.id(t, "source.vhdx")}
			if c.put != nil {
				c.put(t, f)
			}
			before := f.files(t)
			existing, err := publish.Admit(t.Context(), f.store, publish.Names{Output: output, Key: "0123456789ab"}, c.overwrite, from)
			if job.CodeOf(err) != c.code || err == nil != (c.code == "") {
				t.Errorf("got %q, %v", job.CodeOf(err), err)
			}
			if there := f.id(t, output); err == nil && (there == nil) != (existing == nil) || existing != nil && *existing != *there {
				t.Errorf("found %v, there is %v", existing, there)
			}
			f.holds(t, before)
		})
	}
}

func TestKindOf(t *testing.T) {
	f := newFolder(t)
	f.image(t, "a.vhdx")
	f.image(t, "a.vhd")
	f.write(t, "a.txt", "a letter")
	for name, want := range map[string]string{"a.vhdx": "a disk of its own", "a.vhd": "a disk of its own"} {
		if kind, err := publish.KindOf(t.Context(), f.store, name); err != nil || kind.String() != want {
			t.Errorf("%s is %s, %v", name, kind, err)
		}
	}
	if kind, err := publish.KindOf(t.Context(), f.store, "a.txt"); err != nil || kind.Unreadable == nil {
		t.Errorf("a letter is %s, %v", kind, err)
	}
	if kind := (publish.Kind{Parent: "b.vhdx"}); kind.String() != "a differencing disk of b.vhdx" {
		t.Error(kind)
	}
}

// small is a share with little room.
type small struct {
	share.Store
	free int64
}

func (s small) Free(context.Context) (int64, error) { return s.free, nil }

func TestRoom(t *testing.T) {
	f := newFolder(t)
	if err := publish.Room(t.Context(), small{f.store, 100}, 100); err != nil {
		t.Error(err)
	}
	if err := publish.Room(t.Context(), small{f.store, 99}, 100); job.CodeOf(err) != job.ShareFull {
		t.Errorf("got %v", err)
	}
}

func TestReadSmall(t *testing.T) {
	f := newFolder(t)
	id := f.write(t, "win10.pvp", "properties")
	if b, err := publish.ReadSmall(t.Context(), f.store, "win10.pvp", *id); err != nil || string(b) != "properties" {
		t.Errorf("%q, %v", b, err)
	}
	f.write(t, "win10.pvp", "other properties")
	if _, err := publish.ReadSmall(t.Context(), f.store, "win10.pvp", *id); job.CodeOf(err) != job.SourceChanged {
		t.Errorf("a changed file: %v", err)
	}
	if err := os.Truncate(filepath.Join(f.path, "win10.pvp"), 17<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := publish.ReadSmall(t.Context(), f.store, "win10.pvp", *f.id(t, "win10.pvp")); job.CodeOf(err) != job.ManifestInvalid {
		t.Errorf("a large file: %v", err)
	}
	// It became shorter when it was open already.
	id = f.write(t, "win10.pvp", "properties")
	if b, err := publish.ReadSmall(t.Context(), shrinking{f.store}, "win10.pvp", *id); job.CodeOf(err) != job.SourceChanged {
		t.Errorf("a file that was cut off: %q, %v", b, err)
	}
}

// shrinking is a folder of files that have less than they had when they were
// opened.
type shrinking struct{ share.Store }

func (s shrinking) Open(ctx context.Context, name string) (share.File, error) {
	f, err := s.Store.Open(ctx, name)
	return cutOff{f}, err
}

type cutOff struct{ share.File }

func (f cutOff) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p[:len(p)/2], off)
	return n, cmp.Or(err, io.EOF)
}
