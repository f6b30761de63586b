package xenbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

var (
	// ErrNoDevice says that this is no machine on Xen, or one without the driver.
	ErrNoDevice = errors.New("no such device")
	// ErrNotThere says that there is no such key.
	ErrNotThere = errors.New("not there")
	// ErrReply says that a reply is none that the protocol knows.
	ErrReply = errors.New("malformed")
)

// Messages of xenstore: a header of four 32-bit numbers (type, request,
// transaction, length of what follows), then the payload. They come from the
// same machine: the byte order is its own (xen/include/public/io/xs_wire.h).
const (
	typeRead       = 2
	typeWrite      = 11
	typeWatchEvent = 15
	typeError      = 16

	headerBytes = 16
	// payloadMax is the longest payload, XENSTORE_PAYLOAD_MAX.
	payloadMax = 4096
)

// Bus is an open device.
type Bus struct {
	device  io.ReadWriteCloser
	request uint32 // number of the last one
	stop    func() bool
}

// Open opens the device below dev, which is /dev. When ctx ends, so does
// whatever waits for an answer.
func Open(ctx context.Context, dev string) (*Bus, error) {
	f, err := os.OpenFile(filepath.Join(dev, "xen/xenbus"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoDevice
	}
	if err != nil {
		return nil, err
	}
	b := &Bus{device: f}
	b.stop = context.AfterFunc(ctx, func() { f.Close() }) // closing wakes a read
	return b, nil
}

// Close closes the device.
func (b *Bus) Close() {
	if b.stop() {
		b.device.Close()
	}
}

// Read gives the value of a key. The error wraps ErrNotThere if there is none.
func (b *Bus) Read(path string) (string, error) { return b.call(typeRead, path+"\x00") }

// Write sets the value of a key.
func (b *Bus) Write(path, value string) error {
	_, err := b.call(typeWrite, path+"\x00"+value)
	return err
}

func (b *Bus) call(kind uint32, payload string) (string, error) {
	b.request++
	message := make([]byte, headerBytes, headerBytes+len(payload))
	binary.NativeEndian.PutUint32(message[0:], kind)
	binary.NativeEndian.PutUint32(message[4:], b.request)
	binary.NativeEndian.PutUint32(message[12:], uint32(len(payload)))
	if _, err := b.device.Write(append(message, payload...)); err != nil {
		return "", err
	}
	for {
		answer, number, text, err := b.read()
		switch {
		case err != nil:
			return "", err
		case answer == typeWatchEvent:
			// Nobody watches through this handle, but it is not a reply.
		case number != b.request:
			return "", malformed("a reply to request %d, want %d", number, b.request)
		case answer == typeError:
			return "", failure(text)
		case answer != kind:
			return "", malformed("a reply of type %d, want %d", answer, kind)
		default:
			return text, nil
		}
	}
}

func (b *Bus) read() (kind, request uint32, payload string, err error) {
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(b.device, header); err != nil {
		return 0, 0, "", fmt.Errorf("the header of the reply: %w", err)
	}
	size := binary.NativeEndian.Uint32(header[12:])
	if size > payloadMax {
		return 0, 0, "", malformed("a reply of %d bytes, the limit is %d", size, payloadMax)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(b.device, text); err != nil {
		return 0, 0, "", fmt.Errorf("the %d bytes of the reply: %w", size, err)
	}
	return binary.NativeEndian.Uint32(header), binary.NativeEndian.Uint32(header[4:]), string(text), nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrReply, fmt.Sprintf(format, args...))
}

// failure is an error of xenstored, which names it as errno.h does.
func failure(name string) error {
	name = strings.TrimRight(name, "\x00")
	if name == "ENOENT" {
		return ErrNotThere
	}
	if len(name) > 16 || !strings.HasPrefix(name, "E") || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return errors.New("an error without a name")
	}
	return errors.New("error " + name)
}
