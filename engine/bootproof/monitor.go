package bootproof

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// monitor talks to QEMU by the QEMU Machine Protocol: a JSON object a line, in
// both directions. It is for one goroutine.
type monitor struct {
	conn    io.ReadWriteCloser
	next    int           // id of the next command
	ready   bool          // for commands
	greeted chan struct{} // closed at the greeting
	stopped chan string   // why the machine stopped itself; holds the first
	replies chan reply
	done    chan struct{} // closed by close: nobody waits for replies
}

type reply struct {
	Greeting *json.RawMessage `json:"QMP"`
	ID       int              `json:"id"`
	Return   json.RawMessage  `json:"return"`
	Error    *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

const (
	maxReply      = 1 << 20 // bytes of a line
	replyPatience = 10 * time.Second
)

var errMonitor = errors.New("QEMU's monitor")

func newMonitor(conn io.ReadWriteCloser) *monitor {
	m := &monitor{
		conn: conn, greeted: make(chan struct{}), stopped: make(chan string, 1),
		replies: make(chan reply), done: make(chan struct{}),
	}
	go m.listen()
	return m
}

func (m *monitor) close() {
	close(m.done)
	m.conn.Close()
}

// listen hands on what QEMU says, until it says no more.
func (m *monitor) listen() {
	defer close(m.replies)
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, maxReply)
	greeted := false
	for lines.Scan() {
		r, err := parseReply(lines.Bytes())
		switch {
		case err != nil:
			return
		case r.Greeting != nil:
			if !greeted {
				close(m.greeted)
			}
			greeted = true
		case r.Event == "SHUTDOWN" && strings.HasPrefix(r.Data.Reason, "guest-"):
			select {
			case m.stopped <- r.Data.Reason:
			default:
			}
		case r.Event != "":
		default:
			select {
			case m.replies <- r:
			case <-m.done:
				return
			}
		}
	}
}

func parseReply(line []byte) (reply, error) {
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, fmt.Errorf("%w: %w", errMonitor, err)
	}
	return r, nil
}

// run runs a command, and puts what it returns in result, if that is not nil.
func (m *monitor) run(command string, arguments map[string]any, result any) error {
	if !m.ready {
		if err := m.exchange("qmp_capabilities", nil, nil); err != nil {
			return err
		}
		m.ready = true
	}
	return m.exchange(command, arguments, result)
}

func (m *monitor) exchange(command string, arguments map[string]any, result any) error {
	m.next++
	words := map[string]any{"execute": command, "id": m.next}
	if arguments != nil {
		words["arguments"] = arguments
	}
	line, err := json.Marshal(words)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errMonitor, command, err)
	}
	if _, err := m.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%w: %s: %w", errMonitor, command, err)
	}
	patience := time.NewTimer(replyPatience)
	defer patience.Stop()
	for {
		select {
		case r, open := <-m.replies:
			switch {
			case !open:
				return fmt.Errorf("%w: %s: %w", errMonitor, command, io.ErrUnexpectedEOF)
			case r.ID != m.next: // of a command that was given up
				continue
			case r.Error != nil:
				return fmt.Errorf("%w: %s: %s", errMonitor, command, r.Error.Desc)
			case result != nil:
				if err := json.Unmarshal(r.Return, result); err != nil {
					return fmt.Errorf("%w: %s: %w", errMonitor, command, err)
				}
			}
			return nil
		case <-patience.C:
			return fmt.Errorf("%w: %s: no reply within %v", errMonitor, command, replyPatience)
		}
	}
}

// internalError reports whether the machine has stopped because it could not go
// on, which is KVM's way to fail.
func (m *monitor) internalError() (bool, error) {
	var status struct {
		Status string `json:"status"`
	}
	err := m.run("query-status", nil, &status)
	return status.Status == "internal-error", err
}

// written is how far the file is written that has what the machine changed on
// the disk, in bytes.
func (m *monitor) written() (int64, error) {
	var drives []struct {
		Device string `json:"device"`
		Parent struct {
			Stats struct {
				Highest int64 `json:"wr_highest_offset"`
			} `json:"stats"`
		} `json:"parent"`
	}
	if err := m.run("query-blockstats", nil, &drives); err != nil {
		return 0, err
	}
	for _, d := range drives {
		if d.Device == diskID {
			return d.Parent.Stats.Highest, nil
		}
	}
	return 0, fmt.Errorf("%w: query-blockstats: no drive %q", errMonitor, diskID)
}

// screendump has QEMU write the screen to a file.
func (m *monitor) screendump(path string) error {
	return m.run("screendump", map[string]any{"filename": path}, nil)
}
