package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"imageport/platforms"
)

const (
	// maxMessage bounds a message of the monitor, in bytes. The longest that
	// we ask for lists the block nodes, some 2 KiB each.
	maxMessage = 1 << 20
	// monitorPatience is for one answer, where the context has no end. To close
	// a disk, QEMU writes out all that the system has buffered of it.
	monitorPatience = 10 * time.Minute
)

// errMonitor is wrapped by what goes wrong between us and QEMU's monitor.
var errMonitor = errors.New("QEMU's monitor")

// monitor speaks the QEMU Machine Protocol: JSON objects in both directions, a
// greeting first, then an answer to each command, and events in between. It is
// for one goroutine.
type monitor struct {
	conn    net.Conn
	lines   *bufio.Scanner
	next    int      // id of the next command
	deleted []string // ids of devices of which QEMU has said that they are gone
}

// message is anything that QEMU says.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       *int            `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *commandError   `json:"error"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
}

// commandError is QEMU's refusal of a command.
type commandError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *commandError) Error() string { return e.Desc }

// dial reaches the monitor of the machine in dir. The machine serves one
// monitor at a time; another one waits here for its turn.
func dial(ctx context.Context, dir string) (*monitor, error) {
	// A socket's path has 107 bytes at most (unix(7)), and dir may be longer.
	handle, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMonitor, err)
	}
	defer handle.Close()
	path := filepath.Join("/proc/self/fd", fmt.Sprint(handle.Fd()), socketFile)
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, outOfReach(errors.Unwrap(err))
	}
	m, err := greet(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// greet opens the conversation.
func greet(ctx context.Context, conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, lines: bufio.NewScanner(conn)}
	m.lines.Buffer(nil, maxMessage)
	defer m.limit(ctx)()
	for {
		msg, err := m.read(ctx)
		if err != nil {
			return nil, err
		}
		if msg.Greeting != nil {
			break
		}
	}
	return m, m.run(ctx, "qmp_capabilities", nil, nil)
}

func (m *monitor) close() { m.conn.Close() }

// limit makes reads and writes end when ctx does, or with our patience. They
// go on being limited until the function is called that it gives.
func (m *monitor) limit(ctx context.Context) (done func()) {
	m.conn.SetDeadline(time.Now().Add(monitorPatience))
	stop := context.AfterFunc(ctx, func() { m.conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// run runs a command, and puts what it returns in result, if that is not nil.
// If QEMU refuses it, the error wraps a *commandError.
func (m *monitor) run(ctx context.Context, command string, arguments, result any) error {
	m.next++
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		ID        int    `json:"id"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, m.next, arguments})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errMonitor, command, err)
	}
	defer m.limit(ctx)()
	if _, err := m.conn.Write(append(line, '\n')); err != nil {
		return outOfReach(fmt.Errorf("%s: %w", command, because(ctx, err)))
	}
	for {
		msg, err := m.read(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", command, err)
		case msg.Error != nil && (msg.ID == nil || *msg.ID == m.next):
			return fmt.Errorf("%w: %s: %w", errMonitor, command, msg.Error)
		case msg.Return == nil || msg.ID == nil || *msg.ID != m.next: // of a command that was given up
			continue
		case result == nil:
			return nil
		}
		if err := json.Unmarshal(msg.Return, result); err != nil {
			return fmt.Errorf("%w: %s: %w", errMonitor, command, err)
		}
		return nil
	}
}

// waitDeleted waits until QEMU has said that the device is gone.
func (m *monitor) waitDeleted(ctx context.Context, device string) error {
	defer m.limit(ctx)()
	for !slices.Contains(m.deleted, device) {
		if _, err := m.read(ctx); err != nil {
			return fmt.Errorf("removal of device %s: %w", device, err)
		}
	}
	return nil
}

// read gives the next message, and remembers what events tell.
func (m *monitor) read(ctx context.Context) (message, error) {
	if !m.lines.Scan() {
		err := m.lines.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return message{}, outOfReach(because(ctx, err))
	}
	var msg message
	if err := json.Unmarshal(m.lines.Bytes(), &msg); err != nil {
		return message{}, fmt.Errorf("%w: a message of %d bytes: %w", errMonitor, len(m.lines.Bytes()), err)
	}
	if msg.Event == "DEVICE_DELETED" {
		var data struct {
			Device string `json:"device"`
		}
		// Devices without an id are none of ours.
		if err := json.Unmarshal(msg.Data, &data); err == nil && data.Device != "" {
			m.deleted = append(m.deleted, data.Device)
		}
	}
	return msg, nil
}

// outOfReach is for a machine that does not listen, or not any more: the next look
// shows what has become of it.
func outOfReach(err error) error {
	return platforms.Errorf(platforms.Busy, "%w: %w", errMonitor, err)
}

// because prefers the reason why ctx ended to what came of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
