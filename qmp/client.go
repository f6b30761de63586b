package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// maxMessage bounds what QEMU says at a time, in bytes. The longest that anybody
	// asks for lists the block nodes, some 2 KiB each.
	maxMessage = 1 << 20
	// maxDeleted bounds for how many devices it is remembered that they are gone.
	maxDeleted = 1024
)

// ErrEnded is wrapped by the error of a conversation that is over: QEMU has ended,
// said what is not of the protocol, or Close was called.
var ErrEnded = errors.New("QEMU has ended the conversation")

// Refusal is QEMU's answer to a command that it does not carry out.
type Refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (r *Refusal) Error() string { return r.Desc }

// message is anything that QEMU says.
type message struct {
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *Refusal        `json:"error"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// Client is a conversation with a QEMU.
type Client struct {
	conn  io.ReadWriteCloser
	turn  chan struct{} // held by who writes
	ended chan struct{} // closed when QEMU says no more
	err   error         // why, before ended is closed

	mu      sync.Mutex
	last    int // id of a command
	waiting map[int]chan message
	deleted map[string]bool // ids of devices
	news    chan struct{}   // closed when there is another one
	reason  string
}

// Open begins the conversation on a connection with QEMU's monitor, in control
// mode, and closes the connection if that fails. A monitor serves one client at a
// time: another one waits here for its turn.
func Open(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	c := &Client{
		conn: conn, turn: make(chan struct{}, 1), ended: make(chan struct{}),
		waiting: make(map[int]chan message), deleted: make(map[string]bool), news: make(chan struct{}),
	}
	go c.listen()
	if err := c.Run(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the conversation. The machine goes on.
func (c *Client) Close() error { return c.conn.Close() }

// listen hears what QEMU says, until it says no more.
func (c *Client) listen() {
	defer close(c.ended)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			c.err = fmt.Errorf("%w: a message of %d bytes: %w", ErrEnded, len(lines.Bytes()), err)
			break
		}
		c.hear(m)
	}
	if err := lines.Err(); err != nil {
		c.err = fmt.Errorf("%w: %w", ErrEnded, err)
	} else if c.err == nil {
		c.err = fmt.Errorf("%w: %w", ErrEnded, io.ErrUnexpectedEOF)
	}
	c.conn.Close() // what QEMU cannot say any more it would wait with for ever
}

func (c *Client) hear(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Event != "":
		var data struct{ Device, Reason string }
		if json.Unmarshal(m.Data, &data) != nil {
			return // of another event, with other fields
		}
		switch {
		case m.Event == "SHUTDOWN":
			c.reason = data.Reason
		case m.Event == "DEVICE_DELETED" && data.Device != "" && len(c.deleted) < maxDeleted:
			c.deleted[data.Device] = true
			close(c.news)
			c.news = make(chan struct{})
		}
	case m.ID != nil:
		if answer, ok := c.waiting[*m.ID]; ok { // otherwise of a command that was given up
			delete(c.waiting, *m.ID)
			answer <- m
		}
	case m.Error != nil: // it has not understood which command
		for id, answer := range c.waiting {
			delete(c.waiting, id)
			answer <- m
		}
	}
}

// Run has QEMU carry out a command, and puts what it returns in result, if that is
// not nil. If QEMU refuses, the error wraps a *Refusal; if the conversation is over,
// ErrEnded; if ctx ends first, its error.
func (c *Client) Run(ctx context.Context, command string, arguments, result any) error {
	m, err := c.ask(ctx, command, arguments)
	if err == nil && m.Error != nil {
		err = m.Error
	}
	if err == nil && result != nil {
		err = json.Unmarshal(m.Return, result)
	}
	if err != nil {
		return fmt.Errorf("QEMU's monitor: %s: %w", command, err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, command string, arguments any) (message, error) {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		ID        int    `json:"id"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, id, arguments})
	if err != nil {
		return message{}, err
	}
	if err := c.say(ctx, append(line, '\n')); err != nil {
		return message{}, err
	}
	select {
	case m := <-answer:
		return m, nil
	case <-ctx.Done():
		return message{}, ctx.Err()
	case <-c.ended:
	}
	select {
	case m := <-answer: // the last that it said
		return m, nil
	default:
		return message{}, c.err
	}
}

// say writes a line. A line that is not written when ctx ends is half a line, and
// the end of the conversation.
func (c *Client) say(ctx context.Context, line []byte) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	_, err := c.conn.Write(line)
	if !stop() {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEnded, err)
	}
	return nil
}

// WaitDeleted waits until QEMU has said that a device is gone, which it does when
// the guest has let it go. It is to be asked once for each time.
func (c *Client) WaitDeleted(ctx context.Context, device string) error {
	for ended := false; ; {
		c.mu.Lock()
		gone, news := c.deleted[device], c.news
		delete(c.deleted, device)
		c.mu.Unlock()
		switch {
		case gone:
			return nil
		case ended:
			return fmt.Errorf("QEMU's monitor: removal of device %s: %w", device, c.err)
		}
		select {
		case <-news:
		case <-c.ended:
			ended = true
		case <-ctx.Done():
			return fmt.Errorf("QEMU's monitor: removal of device %s: %w", device, ctx.Err())
		}
	}
}

// Reason waits for the end of the conversation, and gives why the machine was last
// shut down: a ShutdownCause of QEMU's, such as "guest-shutdown", or "".
func (c *Client) Reason() string {
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}
