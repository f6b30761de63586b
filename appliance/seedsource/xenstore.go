package seedsource

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

	"imageport/appliance/seedsource/media"
)

// Messages of xenstore: a header of four 32-bit numbers (type, request,
// transaction, length of what follows), then the payload. They come from the
// same machine: the byte order is its own (xen/include/public/io/xs_wire.h).
const (
	xsRead       = 2
	xsWatchEvent = 15
	xsError      = 16

	xsHeader = 16
	// xsPayloadMax is the longest payload, XENSTORE_PAYLOAD_MAX.
	xsPayloadMax = 4096
	// xsRequest is the number of our only request.
	xsRequest = 1
)

// xenstore reads the key of the domain's own directory.
func xenstore(ctx context.Context, env Env) ([]byte, error) {
	bus, err := os.OpenFile(filepath.Join(env.Dev, "xen/xenbus"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no such device")
	}
	if err != nil {
		return nil, err
	}
	// Closing wakes a read that waits for an answer.
	stop := context.AfterFunc(ctx, func() { bus.Close() })
	defer func() {
		if stop() {
			bus.Close()
		}
	}()
	text, err := xsReadKey(bus, media.Xenstore)
	if err != nil {
		return nil, err
	}
	return decode(text)
}

// xsReadKey reads a value by a path relative to the domain's own directory. The
// error wraps errNotThere if there is no such key.
func xsReadKey(bus io.ReadWriter, path string) (string, error) {
	request := make([]byte, xsHeader, xsHeader+len(path)+1)
	binary.NativeEndian.PutUint32(request[0:], xsRead)
	binary.NativeEndian.PutUint32(request[4:], xsRequest)
	binary.NativeEndian.PutUint32(request[12:], uint32(len(path)+1))
	request = append(append(request, path...), 0)
	if _, err := bus.Write(request); err != nil {
		return "", err
	}
	for {
		header := make([]byte, xsHeader)
		if _, err := io.ReadFull(bus, header); err != nil {
			return "", fmt.Errorf("the header of the reply: %w", err)
		}
		kind, number := binary.NativeEndian.Uint32(header), binary.NativeEndian.Uint32(header[4:])
		size := binary.NativeEndian.Uint32(header[12:])
		if size > xsPayloadMax {
			return "", malformed("a reply of %d bytes, the limit is %d", size, xsPayloadMax)
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(bus, payload); err != nil {
			return "", fmt.Errorf("the %d bytes of the reply: %w", size, err)
		}
		switch {
		case kind == xsWatchEvent:
			// Nobody watches through this handle, but it is not a reply.
		case number != xsRequest:
			return "", malformed("a reply to request %d, want %d", number, xsRequest)
		case kind == xsError:
			return "", xsFailure(string(payload))
		case kind != xsRead:
			return "", malformed("a reply of type %d, want %d", kind, xsRead)
		default:
			return string(payload), nil
		}
	}
}

// xsFailure is an error of xenstored, which names it as errno.h does.
func xsFailure(name string) error {
	name = strings.TrimRight(name, "\x00")
	if name == "ENOENT" {
		return errNotThere
	}
	if len(name) > 16 || !strings.HasPrefix(name, "E") || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return errors.New("an error without a name")
	}
	return errors.New("error " + name)
}
