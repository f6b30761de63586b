package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ErrMalformed says that a message is no event of the kernel's.
var ErrMalformed = errors.New("uevent: not an event of the kernel")

// Actions that listeners care about. The kernel knows more of them.
const (
	Add    = "add"
	Remove = "remove"
	Change = "change"
	// Lost is ours: there were events that nobody will hear of any more.
	Lost = "lost"
)

// Event is what happened to one device.
type Event struct {
	Action    string // one of the constants, or another of the kernel's
	Path      string // of the device below /sys, as /devices/pci0000:00/...
	Subsystem string // as block, net, pci; it may be empty
	Modalias  string // by which its driver is found; empty if the device has none
}

// Parse reads one message: "add@/devices/..." and then KEY=value, each ended by
// a zero byte (lib/kobject_uevent.c of the kernel).
func Parse(b []byte) (Event, error) {
	head, rest, ok := bytes.Cut(b, []byte{0})
	action, path, is := strings.Cut(string(head), "@")
	if !ok || !is || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, fmt.Errorf("%w: begins with %.40q, want action@/path", ErrMalformed, b)
	}
	e := Event{Action: action, Path: path}
	for len(rest) > 0 {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{0})
		key, value, _ := strings.Cut(string(pair), "=")
		switch key {
		case "SUBSYSTEM":
			e.Subsystem = value
		case "MODALIAS":
			e.Modalias = value
		}
	}
	return e, nil
}
