package cedir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"imageport/platforms"
)

// The files of every CE, in its directory <state>/<name>; a driver adds its
// own. Those that are written more than once are replaced by renaming, so that
// a reader sees all or nothing.
const (
	// SeedFile is the seed.Seed, as the CE reads it.
	SeedFile = "seed.json"
	// LockFile is locked by the CE's process for its life, or by Destroy.
	LockFile = "process.lock"
	// ProcessFile is the Process that holds the lock, or the last one that did.
	ProcessFile = "process.json"

	markFile = "ce.json"    // mark: whose CE this is
	doomFile = "destroying" // a Destroy has begun, and is to be finished whatever comes next
)

// mark is the content of ce.json.
type mark struct {
	Job     string    `json:"job"`
	RunID   string    `json:"runId"`
	Owner   string    `json:"owner"`
	Created time.Time `json:"created"`
}

// Recorded gives the process that recorded itself last, or was. If there was
// none, it gives a process that is not alive.
func Recorded(dir string) (Process, error) {
	var p Process
	_, err := ReadJSON(filepath.Join(dir, ProcessFile), &p)
	return p, err
}

// Record makes p the process of the CE in dir. Only who holds the CE's
// LockFile for p may do it.
func Record(dir string, p Process) error { return ReplaceJSON(filepath.Join(dir, ProcessFile), p) }

// maxFileBytes bounds what is read of a file of ours.
const maxFileBytes = 64 << 10

// ReadJSON reads a file of a CE. What is missing, or is not what we wrote (a
// power cut may have emptied it; nothing that it told of has survived that),
// gives ok == false.
func ReadJSON(path string, v any) (ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return false, err
	}
	return json.Unmarshal(b, v) == nil, nil
}

// ReplaceFile puts a file of mode 0600 in place. The callers exclude each other.
func ReplaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".tmp", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// ReplaceJSON puts v in place, as ReplaceFile does.
func ReplaceJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ReplaceFile(path, b)
}

// ReplaceDurable puts v in place, as ReplaceJSON does, in the directory of a CE,
// on stable storage: what is made afterwards does not outlive the file.
func ReplaceDurable(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxFileBytes {
		return fmt.Errorf("%s: %d bytes are to be written, and %d at most are read", path, len(b), maxFileBytes)
	}
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return err
	}
	if err := Sync(path + ".tmp"); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := Sync(dir); err != nil {
		return err
	}
	return Sync(filepath.Dir(dir)) // which has the name of the CE's directory
}

// Sync puts a file or directory on stable storage.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sleep waits for d, or until ctx ends, and then gives its error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Fail gives err its kind, and says what failed, on which CE. It gives nil for nil.
func Fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("%s %s: %w", op, name, err)}
}

// kindOf sorts the errors of the operating system.
func kindOf(err error) platforms.Kind {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return platforms.Busy
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return platforms.Full
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ETXTBSY):
		return platforms.Busy
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return platforms.Denied
	}
	if kind := platforms.KindOf(err); kind != platforms.Internal {
		return kind
	}
	if errors.Is(err, fs.ErrNotExist) {
		return platforms.NotFound
	}
	return platforms.Internal
}
