package cevm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// qmp is QEMU's control socket (QEMU Machine Protocol).
type qmp struct {
	conn    net.Conn
	answers chan message
	closed  chan struct{}

	mu    sync.Mutex // one command at a time
	event sync.Mutex
	why   string
}

// message is an answer or an event.
type message struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// dial connects to a QEMU that is just starting, unless that is over.
func dial(ctx context.Context, socket string, over func() bool) (*qmp, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			q := &qmp{conn: conn, answers: make(chan message), closed: make(chan struct{})}
			go q.read()
			_, err := q.execute("qmp_capabilities", nil)
			return q, err
		}
		if over() || ctx.Err() != nil {
			return nil, fmt.Errorf("QEMU has no control socket: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// read takes what QEMU says until its end.
func (q *qmp) read() {
	defer close(q.closed)
	defer q.conn.Close()
	d := json.NewDecoder(q.conn)
	for {
		var m message
		if d.Decode(&m) != nil {
			return
		}
		switch {
		case m.Event == "SHUTDOWN":
			q.event.Lock()
			q.why = m.Data.Reason
			q.event.Unlock()
		case m.Return != nil || m.Error != nil:
			q.answers <- m
		}
	}
}

// reason is why the machine ended: "guest-shutdown", "guest-reset" and others
// of QEMU's ShutdownCause. It is to be asked when the machine has ended.
func (q *qmp) reason() string {
	<-q.closed
	q.event.Lock()
	defer q.event.Unlock()
	return q.why
}

func (q *qmp) execute(command string, arguments map[string]any) (map[string]any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	say := map[string]any{"execute": command}
	if arguments != nil {
		say["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(say); err != nil {
		return nil, err
	}
	select {
	case m := <-q.answers:
		if m.Error != nil {
			return nil, errors.New(m.Error.Desc)
		}
		var answer map[string]any
		_ = json.Unmarshal(m.Return, &answer) // some are lists: nobody asks for those
		return answer, nil
	case <-q.closed:
		return nil, errors.New("QEMU has ended")
	}
}
