package convert

import (
	"bytes"
	"context"
	"testing"

	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/winimage"
)

// flipStore changes one byte of what is written: the one at a distance from the
// first place where a pattern is.
type flipStore struct {
	share.Store
	pattern []byte
	at      int
	flipped bool
}

func (s *flipStore) CreateExcl(ctx context.Context, name string) (share.WritableFile, error) {
	f, err := s.Store.CreateExcl(ctx, name)
	return &flipFile{f, s}, err
}

type flipFile struct {
	share.WritableFile
	s *flipStore
}

func (f *flipFile) WriteAt(p []byte, off int64) (int, error) {
	if i := bytes.Index(p, f.s.pattern); i >= 0 && !f.s.flipped {
		f.s.flipped = true
		p = bytes.Clone(p)
		p[i+f.s.at] ^= 1
	}
	return f.WritableFile.WriteAt(p, off)
}

// One byte that arrives wrong on the share is found before the output gets its
// name, wherever it is.
func TestVerifyFindsEveryByte(t *testing.T) {
	utf16 := func(s string) []byte {
		var b []byte
		for _, c := range []byte(s) {
			b = append(b, c, 0)
		}
		return b
	}
	for _, c := range []struct {
		name    string
		pattern []byte
		at      int
		opt     job.UEFIOptions
	}{
		{"partition table", []byte("EFI PART"), 60, job.UEFIOptions{}},
		{"boot store", []byte("regf"), 5000, job.UEFIOptions{}},
		{"boot manager", []byte("MZ"), 1000, job.UEFIOptions{}},
		{"drive letter", []byte("DMIO:ID:"), 10, job.UEFIOptions{}},
		{"parent's name", utf16(`.\win10.vhdx`), 4, job.UEFIOptions{}},
		{"what nobody reads, behind a file's record", []byte("FILE0"), 700, job.UEFIOptions{ESPPlacement: []job.ESPPlacement{job.PlaceShrink}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, task := newFolder(t, winimage.Small()), newTask()
			task.Options = c.opt
			a, err := admit(t.Context(), f.store, task)
			if err != nil {
				t.Fatal(err)
			}
			store := &flipStore{Store: f.store, pattern: c.pattern, at: c.at}
			_, err = Compose(t.Context(), store, task, a, "try", quiet)
			if !store.flipped {
				t.Fatal("there was nothing to flip")
			}
			if job.CodeOf(err) != job.VerifyFailed {
				t.Errorf("got %v", err)
			}
		})
	}
}
