package xenbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// message is a message of xenstore.
func message(kind, request uint32, payload string) []byte {
	b := binary.NativeEndian.AppendUint32(nil, kind)
	b = binary.NativeEndian.AppendUint32(b, request)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// exchange is a bus whose replies are there already.
type exchange struct {
	io.Reader
	sent bytes.Buffer
}

func (e *exchange) Write(p []byte) (int, error) { return e.sent.Write(p) }
func (*exchange) Close() error                  { return nil }

func TestCalls(t *testing.T) {
	for _, c := range []struct {
		what  string
		reply []byte
		value string
		err   string
	}{
		{"a value", message(2, 1, "hello"), "hello", ""},
		{"an event before it", append(message(15, 0, "vm-data\x00token\x00"), message(2, 1, "x")...), "x", ""},
		{"no such key", message(16, 1, "ENOENT\x00"), "", "not there"},
		{"not for us", message(16, 1, "EACCES\x00"), "", "error EACCES"},
		{"an error that is none", message(16, 1, "\x1b[2Jtoken\x00"), "", "an error without a name"},
		{"another's reply", message(2, 7, "x"), "", "malformed: a reply to request 7, want 1"},
		{"another kind", message(11, 1, "OK\x00"), "", "malformed: a reply of type 11, want 2"},
		{"too long", message(2, 1, strings.Repeat("A", 4097)), "", "malformed: a reply of 4097 bytes, the limit is 4096"},
		{"cut off", message(2, 1, "hello")[:18], "", "the 5 bytes of the reply: unexpected EOF"},
		{"nothing", nil, "", "the header of the reply: EOF"},
	} {
		e := &exchange{Reader: bytes.NewReader(c.reply)}
		got, err := (&Bus{device: e}).Read("vm-data/x")
		if got != c.value || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %q, %v", c.what, got, err)
		}
		if !bytes.Equal(e.sent.Bytes(), message(2, 1, "vm-data/x\x00")) {
			t.Errorf("%s: it is told %q", c.what, &e.sent)
		}
	}
	e := &exchange{Reader: bytes.NewReader(append(message(11, 1, "OK\x00"), message(16, 2, "EACCES\x00")...))}
	b := &Bus{device: e}
	if err := b.Write("a", "1"); err != nil {
		t.Error(err)
	}
	if err := b.Write("b", "22"); err == nil || err.Error() != "error EACCES" {
		t.Error(err)
	}
	if want := append(message(11, 1, "a\x001"), message(11, 2, "b\x0022")...); !bytes.Equal(e.sent.Bytes(), want) {
		t.Errorf("it is told %q", &e.sent)
	}
}

// device makes a character device at dev/xen/xenbus, and gives its other end. It
// is a terminal in raw mode: like xenbus, it can be waited for.
func device(t *testing.T) (dev string, host *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/pts/%d", number)
	theirs, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	if _, err := term.MakeRaw(int(theirs.Fd())); err != nil {
		t.Fatal(err)
	}
	dev = t.TempDir()
	if err := os.Mkdir(filepath.Join(dev, "xen"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name, filepath.Join(dev, "xen/xenbus")); err != nil {
		t.Fatal(err)
	}
	return dev, ours
}

func TestAnnounceHotplug(t *testing.T) {
	if err := AnnounceHotplug(t.Context(), t.TempDir()); err != nil {
		t.Errorf("not on Xen: %v", err)
	}
	dev, host := device(t)
	heard := make(chan []byte)
	go func() {
		var all []byte
		for n, want := range [][]byte{message(11, 1, "feature/hotplug/vbd\x001"), message(11, 2, "data/updated\x001")} {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(host, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("message %d is %q, %v; want %q", n, got, err, want)
			}
			all = append(all, got...)
			if _, err := host.Write(message(11, uint32(n+1), "OK\x00")); err != nil {
				t.Error(err)
			}
		}
		heard <- all
	}()
	if err := AnnounceHotplug(t.Context(), dev); err != nil {
		t.Error(err)
	}
	<-heard
}

// A host that does not answer is not waited for when the context has ended.
func TestSilentHost(t *testing.T) {
	dev, _ := device(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := AnnounceHotplug(ctx, dev); err == nil || !strings.HasPrefix(err.Error(), "feature/hotplug/vbd: ") {
		t.Error(err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add(append(message(15, 0, "vm-data\x00token\x00"), message(2, 1, "QUJD")...))
	f.Add(message(16, 1, "ENOENT\x00"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		text, err := (&Bus{device: &exchange{Reader: bytes.NewReader(reply)}}).Read("x")
		if err == nil && !bytes.Contains(reply, []byte(text)) {
			t.Errorf("%q is not in the reply", text)
		}
		if errors.Is(err, ErrNotThere) && !bytes.Contains(reply, []byte("ENOENT")) {
			t.Error(err)
		}
	})
}
