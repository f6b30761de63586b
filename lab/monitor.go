package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxMessage bounds a message of QEMU, in bytes.
	maxMessage = 1 << 20
	// monitorPatience is for one answer. To close a disk, QEMU writes out all
	// that it has of it.
	monitorPatience = 2 * time.Minute
)

// errEnded says that QEMU has nothing more to say.
var errEnded = errors.New("QEMU has ended")

// monitor speaks the QEMU Machine Protocol with a QEMU whose standard input and
// output it is: a line of JSON each, an answer to every command, and events in
// between. It is safe for concurrent use.
type monitor struct {
	in      io.Writer
	answers chan message
	over    chan struct{} // closed when QEMU has ended

	turn sync.Mutex // one command at a time
	last int        // id of a command

	mu      sync.Mutex
	deleted map[string]chan struct{} // by the id of the device
}

// message is an answer or an event.
type message struct {
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Device string `json:"device"`
	} `json:"data"`
}

// newMonitor opens the conversation. It ends when out does.
func newMonitor(in io.Writer, out io.Reader) (*monitor, error) {
	m := &monitor{in: in, answers: make(chan message, 1), over: make(chan struct{}), deleted: make(map[string]chan struct{})}
	go m.listen(out)
	return m, m.run("qmp_capabilities", nil)
}

func (m *monitor) listen(out io.Reader) {
	defer close(m.over)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var msg message
		switch err := json.Unmarshal(lines.Bytes(), &msg); {
		case err != nil: // no message of the protocol
		case msg.Event == "DEVICE_DELETED":
			m.mu.Lock()
			if gone, ok := m.deleted[msg.Data.Device]; ok {
				delete(m.deleted, msg.Data.Device)
				close(gone)
			}
			m.mu.Unlock()
		case msg.Return != nil || msg.Error != nil:
			m.answers <- msg
		}
	}
	// What QEMU cannot write it would wait with for ever.
	_, _ = io.Copy(io.Discard, out)
}

// run has QEMU carry out a command.
func (m *monitor) run(command string, arguments any) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	m.last++
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		ID        int    `json:"id"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, m.last, arguments})
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if _, err := m.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %w", command, errEnded)
	}
	patience := time.After(monitorPatience)
	for {
		select {
		case msg := <-m.answers:
			if msg.ID != m.last {
				continue // of a command that was given up
			}
			if msg.Error != nil {
				return fmt.Errorf("QEMU refuses %s: %s", command, msg.Error.Desc)
			}
			return nil
		case <-m.over:
			return fmt.Errorf("%s: %w", command, errEnded)
		case <-patience:
			return fmt.Errorf("%s: QEMU has not answered in %v", command, monitorPatience)
		}
	}
}

// remove takes a device from the machine, and waits until the guest has let it
// go.
func (m *monitor) remove(device string) error {
	gone := make(chan struct{})
	m.mu.Lock()
	m.deleted[device] = gone
	m.mu.Unlock()
	if err := m.run("device_del", map[string]any{"id": device}); err != nil {
		return err
	}
	select {
	case <-gone:
		return nil
	case <-m.over:
		return fmt.Errorf("removal of %s: %w", device, errEnded)
	case <-time.After(monitorPatience):
		return fmt.Errorf("removal of %s: the guest has not let it go in %v", device, monitorPatience)
	}
}
