package seedsource

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"imageport/appliance/seedsource/media"
)

// xsMessage is a message of xenstore.
func xsMessage(kind, request uint32, payload string) []byte {
	b := binary.NativeEndian.AppendUint32(nil, kind)
	b = binary.NativeEndian.AppendUint32(b, request)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// xenbus gives the machine a character device at dev/xen/xenbus, on which one
// request gets that reply. The device is a terminal in raw mode: like xenbus,
// it can be waited for.
func (m *machine) xenbus(reply []byte) {
	m.t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		m.t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		m.t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/pts/%d", number)
	theirs, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(theirs.Fd())); err != nil {
		m.t.Fatal(err)
	}
	m.file("dev/xen/README", "")
	if err := os.Symlink(name, filepath.Join(m.Dev, "xen/xenbus")); err != nil {
		m.t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		want := xsMessage(2, 1, "vm-data/imageport-ce\x00")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(ours, got); err != nil || !bytes.Equal(got, want) {
			m.t.Errorf("xenbus is told %q, %v", got, err)
			return
		}
		if _, err := ours.Write(reply); err != nil {
			m.t.Error(err)
		}
	}()
	m.t.Cleanup(func() {
		<-served
		theirs.Close()
		ours.Close()
	})
}

func TestXenstore(t *testing.T) {
	b64 := media.Base64([]byte(raw))
	for _, c := range []struct {
		what  string
		reply []byte
		err   string // nothing: the seed is found
	}{
		{"the seed", xsMessage(2, 1, b64), ""},
		{"the seed, after an event", append(xsMessage(15, 0, "vm-data\x00token\x00"), xsMessage(2, 1, b64)...), ""},
		{"no such key", xsMessage(16, 1, "ENOENT\x00"), `xenstore: not there; sr0: no disc in the drive`},
		{"not for us", xsMessage(16, 1, "EACCES\x00"), `xenstore: error EACCES; sr0: no disc in the drive`},
		{"an error that is none", xsMessage(16, 1, "\x1b[2Jt"+strings.Repeat("0ken", 99)), `xenstore: an error without a name`},
		{"empty", xsMessage(2, 1, ""), "xenstore: empty"},
		{"bad base64", xsMessage(2, 1, "QUJ"), "seed: xenstore: malformed: no base64 at character"},
		{"longer than a reply", xsMessage(2, 1, strings.Repeat("A", 4097)), "seed: xenstore: malformed: a reply of 4097 bytes, the limit is 4096"},
		{"longer than a seed", xsMessage(2, 1, strings.Repeat("QUJD", 1000)), "seed: xenstore: malformed: more than 2048 bytes"},
		{"another's reply", xsMessage(2, 7, b64), "seed: xenstore: malformed: a reply to request 7, want 1"},
		{"another kind of reply", xsMessage(11, 1, "OK\x00"), "seed: xenstore: malformed: a reply of type 11, want 2"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := newMachine(t, "Xen", "HVM domU")
			m.disc("sr0")
			m.xenbus(c.reply)
			got, source, err := ask(t.Context(), m.Env, m.platform().local(m.Env), localTimeout)
			if c.err == "" {
				if err != nil || string(got) != raw || source != "xenstore" {
					t.Errorf("%q from %q, %v", got, source, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %s", err, c.err)
			}
		})
	}
}

// A bus without an answer is given up, and the read that waits for it ends.
func TestXenstoreSilent(t *testing.T) {
	m := newMachine(t, "Xen", "HVM domU")
	m.xenbus(xsMessage(2, 1, "QUJD")[:18])
	_, _, err := ask(t.Context(), m.Env, m.platform().local(m.Env), 200e6)
	if err == nil || !strings.Contains(err.Error(), "xenstore: no answer in 200ms") {
		t.Error(err)
	}
}
