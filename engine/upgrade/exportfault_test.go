package upgrade

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/disktest"
)

// exportStore fails after some changes, for good or with the error that a store
// has when it is full.
type exportStore struct {
	share.Store
	left atomic.Int64
	err  error
}

func (s *exportStore) change() error {
	if s.left.Add(-1) < 0 {
		return s.err
	}
	return nil
}

func (s *exportStore) CreateExcl(ctx context.Context, name string) (share.WritableFile, error) {
	if err := s.change(); err != nil {
		return nil, err
	}
	f, err := s.Store.CreateExcl(ctx, name)
	return exportStoreFile{f, s}, err
}

func (s *exportStore) Rename(ctx context.Context, from, to string) error {
	if err := s.change(); err != nil {
		return err
	}
	if err := s.Store.Rename(ctx, from, to); err != nil {
		return err
	}
	return s.change() // done, but nobody hears of it
}

func (s *exportStore) Remove(ctx context.Context, name string) error {
	if err := s.change(); err != nil {
		return err
	}
	return s.Store.Remove(ctx, name)
}

type exportStoreFile struct {
	share.WritableFile
	s *exportStore
}

func (f exportStoreFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.s.change(); err != nil {
		n, _ := f.WritableFile.WriteAt(p[:len(p)/2], off) // torn
		return n, err
	}
	return f.WritableFile.WriteAt(p, off)
}

func (f exportStoreFile) Sync() error {
	if err := f.s.change(); err != nil {
		return err
	}
	return f.WritableFile.Sync()
}

// Cut off after any number of changes to the share, only partial files of the
// job are there, and the next attempt leaves its own alone.
func TestExportCutAnywhere(t *testing.T) {
	contents := make([]byte, 24*exportMiB)
	for at := 0; at < len(contents); at += 4 * exportMiB {
		disktest.Fill(contents, at, 100_000, uint64(at))
	}
	d := exportDisk{bytes: contents}
	for failure, step := range map[error]int64{errors.New("cut"): 1, job.Errorf(job.ShareFull, "Make space", "no space left"): 6} {
		for cut := int64(0); ; cut += step {
			dir, store := exportFolder(t)
			in := exportInput(chain.VHDX)
			in.SizeBytes, in.BlockBytes = d.Size(), 2*exportMiB
			failing := &exportStore{Store: store, err: failure}
			failing.left.Store(cut)
			_, err := Export(t.Context(), failing, in, d, exportQuiet)
			if err != nil && (!errors.Is(err, failure) || job.CodeOf(err) != job.CodeOf(failure)) {
				t.Fatalf("cut after %d: %v", cut, err)
			}
			for _, name := range exportNames(t, dir) {
				if !strings.HasPrefix(name, in.Output+"."+in.Key+"."+in.Attempt) || !strings.HasSuffix(name, ".partial") {
					t.Fatalf("cut after %d: there is a file %s", cut, name)
				}
			}
			if err == nil {
				if cut < 18 {
					t.Errorf("it took %d changes only", cut)
				}
				break
			}
			in.Attempt = "ce-2"
			out, err := Export(t.Context(), store, in, d, exportQuiet)
			if err != nil {
				t.Fatalf("cut after %d, and again: %v", cut, err)
			}
			if names := exportNames(t, dir); !slices.Equal(names, []string{out.Piece.Partial}) {
				t.Fatalf("cut after %d, and again: %q", cut, names)
			}
		}
	}
}

// Cancelled in the middle, it says so, and removes what it has written.
func TestExportCancelled(t *testing.T) {
	dir, store := exportFolder(t)
	d := exportDisk{bytes: disktest.Pattern(24*exportMiB, 7)}
	in := exportInput(chain.VHD)
	in.SizeBytes = d.Size()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Export(ctx, store, in, d, func(p job.Progress) {
		if p.DoneBytes > d.Size()/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if names := exportNames(t, dir); len(names) > 0 {
		t.Errorf("left %q", names)
	}
}

// exportRot changes a file on the share before it is read back.
type exportRot struct {
	share.Store
	rot func(path string) error
	dir string
}

func (s *exportRot) Open(ctx context.Context, name string) (share.File, error) {
	if rot := s.rot; rot != nil {
		s.rot = nil
		if err := rot(filepath.Join(s.dir, name)); err != nil {
			return nil, err
		}
	}
	return s.Store.Open(ctx, name)
}

// A share that does not give back what was written to it is found out: by the
// file's structures and by samples, or by all of it.
func TestExportVerifies(t *testing.T) {
	d := exportDisk{bytes: make([]byte, 40*exportMiB)}
	disktest.Fill(d.bytes, 0, 9*exportMiB, 8)
	at := func(off int64, p ...byte) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(p, off)
			return errors.Join(err, f.Close())
		}
	}
	const data = 4 * exportMiB // of a VHDX of this size
	for _, c := range []struct {
		name   string
		verify string
		rot    func(path string) error
	}{
		{"gone", "", os.Remove},
		{"no file any more", "", func(path string) error { return os.Truncate(path, 0) }},
		{"cut", "", func(path string) error { return os.Truncate(path, 9*exportMiB) }},
		{"header", "", at(64<<10+100, 1, 2, 3, 4)}, // one of the two is enough to read it, but not to be sound
		{"entry of a block", "", at(3*exportMiB, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"data that never came", "", at(data, make([]byte, 8*exportMiB)...)},
		{"one byte of data", job.VerifyFull, at(data+5*exportMiB+77, 0x55)},
		{"one byte between the structures", job.VerifyFull, at(900<<10, 1)},
		{"one byte behind the data", job.VerifyFull, at(data+30*exportMiB, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, store := exportFolder(t)
			in := exportInput(chain.VHDX)
			in.SizeBytes, in.Verify = d.Size(), c.verify
			_, err := Export(t.Context(), &exportRot{store, c.rot, dir}, in, d, exportQuiet)
			if job.CodeOf(err) != job.VerifyFailed {
				t.Errorf("%q, %v", job.CodeOf(err), err)
			}
		})
	}
}

// Samples are the same in whatever order the disk was written, spread over it,
// and not too many.
func TestExportSamples(t *testing.T) {
	const pieces = 5000
	order := rand.New(rand.NewPCG(1, 2))
	take := func(step int64) *samples {
		var s samples
		for _, i := range order.Perm(pieces) {
			off := int64(i) * step * sampleBytes
			s.note(binary.LittleEndian.AppendUint64(nil, uint64(off)), off)
		}
		return &s
	}
	for _, step := range []int64{1, 2, 16, 512} {
		first, second := take(step), take(step)
		if !maps.Equal(first.pieces, second.pieces) {
			t.Errorf("every %d: another order gave other samples", step)
		}
		if n := len(first.pieces); n < maxSamples/4 || n > maxSamples {
			t.Errorf("every %d: %d samples", step, n)
		}
		end := int64(pieces) * step * sampleBytes
		var quarters [4]int
		for off := range first.pieces {
			quarters[off*4/end]++
		}
		if slices.Min(quarters[:]) < 3 {
			t.Errorf("every %d: samples by quarter %v", step, quarters)
		}
	}
}
