package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"

	"imageport/firstboot/plan"
)

const (
	// reserveFile holds room for state.json on a disk that an installer has filled.
	reserveFile  = "reserve.bin"
	reserveBytes = 64 << 10
	// Somebody who looks at every file may hold one for a moment.
	busyTries = 25
	busyWait  = 200 * time.Millisecond
)

// guest is the Windows that this process runs in, as runner.Machine has it.
type guest struct {
	folder string
	log    *slog.Logger
}

func newGuest(folder string, log *slog.Logger) *guest {
	g := &guest{folder, log}
	if err := g.reserve(); err != nil {
		log.Warn("no room is reserved for the state", "error", err)
	}
	// Those that LocalSystem has, but not switched on.
	for _, name := range []string{"SeShutdownPrivilege", "SeTcbPrivilege", "SeAssignPrimaryTokenPrivilege", "SeIncreaseQuotaPrivilege"} {
		if err := enablePrivilege(name); err != nil {
			log.Warn("a privilege is missing", "name", name, "error", err)
		}
	}
	return g
}

func (g *guest) Now() time.Time        { return time.Now() }
func (g *guest) Uptime() time.Duration { return windows.DurationSinceBoot() }

func (g *guest) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *guest) ReadFile(name string, maxBytes int) (b []byte, err error) {
	err = patiently(func() error {
		f, err := os.Open(filepath.Join(g.folder, name))
		if err != nil {
			return err
		}
		defer f.Close()
		b, err = io.ReadAll(io.LimitReader(f, int64(maxBytes)+1))
		return err
	})
	if err == nil && len(b) > maxBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxBytes)
	}
	return b, err
}

func (g *guest) WriteState(b []byte) error {
	state := filepath.Join(g.folder, plan.StateFile)
	err := replace(state, b)
	if errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) {
		g.log.Warn("the disk is full: uses what was reserved")
		if err := os.Remove(filepath.Join(g.folder, reserveFile)); err != nil {
			g.log.Warn("nothing was reserved", "error", err)
		}
		err = replace(state, b)
	}
	return err
}

// replace puts b under the name: before it returns, b is on the disk, and at no
// time is anything else there but what was before.
func replace(name string, b []byte) error {
	partial := name + ".partial"
	if err := patiently(func() error { return writeThrough(partial, b) }); err != nil {
		return err
	}
	from, err := windows.UTF16PtrFromString(partial)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	return patiently(func() error {
		return windows.MoveFileEx(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
	})
}

func writeThrough(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|windows.O_FILE_FLAG_WRITE_THROUGH, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// patiently tries again while somebody else has the file open.
func patiently(do func() error) error {
	for try := 1; ; try++ {
		err := do()
		busy := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION) ||
			errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !busy || try == busyTries {
			return err
		}
		time.Sleep(busyWait)
	}
}

func (g *guest) reserve() error {
	name := filepath.Join(g.folder, reserveFile)
	if info, err := os.Stat(name); err == nil && info.Size() == reserveBytes {
		return nil
	}
	return writeThrough(name, make([]byte, reserveBytes))
}

func (g *guest) Hash(ctx context.Context, file string) (string, error) {
	f, err := os.Open(filepath.Join(g.folder, plan.FilesDir, file))
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// contextReader reads until the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// logFile has every line on the disk before the next thing is done.
type logFile struct{ *os.File }

func (l logFile) Write(p []byte) (int, error) {
	n, err := l.File.Write(p)
	if err == nil {
		err = l.Sync()
	}
	return n, err
}

// openLog gives a place for the log, which may be nowhere: the log is not needed.
func openLog(name string) io.Writer {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return io.Discard
	}
	return logFile{f}
}
