package guestsim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"imageport/firstboot/plan"
)

// plug tells when the machine loses power.
type plug struct {
	pulled  context.Context // ends when it is
	pull    context.CancelCauseFunc
	timer   *time.Timer
	watch   *os.File
	watched chan struct{} // closed when nobody counts any more
	count   atomic.Int64
}

var (
	errPulled   = errors.New("guestsim: the plug was pulled")
	errPatience = errors.New("guestsim: still on")
)

// newPlug begins to watch for what pulls the plug of a machine whose Windows is
// on the volume mounted at root.
func (s *simulation) newPlug(ctx context.Context, root string) (*plug, error) {
	p := &plug{watched: make(chan struct{})}
	p.pulled, p.pull = context.WithCancelCause(ctx)
	if s.loss.After > 0 {
		p.timer = time.AfterFunc(s.loss.After, func() { p.pull(errPulled) })
	}
	folder, err := findPath(root, strings.Split(strings.TrimPrefix(plan.Folder, `C:\`), `\`)...)
	if errors.Is(err, fs.ErrNotExist) {
		close(p.watched)
		return p, nil
	}
	if err == nil {
		p.watch, err = watchFolder(folder)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	go func() {
		defer close(p.watched)
		p.countWrites(s.loss.StateWrites - s.writes)
	}()
	return p, nil
}

// watchFolder watches for files that get their names there.
func watchFolder(folder string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, folder, unix.IN_MOVED_TO)
	}
	if err != nil {
		return nil, fmt.Errorf("guestsim: watch %s: %w", folder, err)
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// countWrites counts how often the runner's state is put in its place, and pulls
// the plug at the last one.
func (p *plug) countWrites(last int) {
	buf := make([]byte, 4096)
	for {
		n, err := p.watch.Read(buf)
		if err != nil {
			return
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			length := int(binary.NativeEndian.Uint32(buf[at+12:]))
			name := strings.TrimRight(string(buf[at+unix.SizeofInotifyEvent:][:length]), "\x00")
			at += unix.SizeofInotifyEvent + length
			if !strings.EqualFold(name, plan.StateFile) {
				continue
			}
			if int(p.count.Add(1)) == last {
				p.pull(errPulled)
			}
		}
	}
}

func (p *plug) writes() int { return int(p.count.Load()) }

// close ends the watching: a volume that is watched cannot be unmounted.
func (p *plug) close() {
	p.pull(nil)
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.watch != nil {
		p.watch.Close()
		<-p.watched
	}
}
