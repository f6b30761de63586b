package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"imageport/platforms"
	"imageport/qmp"
)

// monitorPatience is for one answer, where the context has no end. To close a disk,
// QEMU writes out all that the system has buffered of it.
const monitorPatience = 10 * time.Minute

// monitor is a conversation with the machine's QEMU.
type monitor struct{ client *qmp.Client }

// dial reaches the monitor of the machine in dir. The machine serves one
// monitor at a time; another one waits here for its turn.
func dial(ctx context.Context, dir string) (*monitor, error) {
	// A socket's path has 107 bytes at most (unix(7)), and dir may be longer.
	handle, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	defer handle.Close()
	path := filepath.Join("/proc/self/fd", fmt.Sprint(handle.Fd()), socketFile)
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, platforms.Errorf(platforms.Busy, "QEMU's monitor: %w", errors.Unwrap(err))
	}
	patient, stop := context.WithTimeout(ctx, monitorPatience)
	defer stop()
	client, err := qmp.Open(patient, conn)
	if err != nil {
		return nil, outOfReach(err)
	}
	return &monitor{client}, nil
}

func (m *monitor) close() { _ = m.client.Close() } // nothing is lost with it

// run runs a command, and puts what it returns in result, if that is not nil.
// If QEMU refuses it, the error wraps a *qmp.Refusal.
func (m *monitor) run(ctx context.Context, command string, arguments, result any) error {
	ctx, stop := context.WithTimeout(ctx, monitorPatience)
	defer stop()
	return outOfReach(m.client.Run(ctx, command, arguments, result))
}

// waitDeleted waits until QEMU has said that the device is gone.
func (m *monitor) waitDeleted(ctx context.Context, device string) error {
	ctx, stop := context.WithTimeout(ctx, monitorPatience)
	defer stop()
	return outOfReach(m.client.WaitDeleted(ctx, device))
}

// outOfReach is for a machine that does not answer, or not any more: the next look
// shows what has become of it.
func outOfReach(err error) error {
	if errors.Is(err, qmp.ErrEnded) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return platforms.Errorf(platforms.Busy, "%w", err)
	}
	return err
}
