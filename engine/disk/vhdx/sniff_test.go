package vhdx

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/iotest"

	"imageport/testkit/disktest"
)

func TestSniff(t *testing.T) {
	at := func(off int, signature string) []byte { return append(make([]byte, off), signature...) }
	for _, c := range []struct {
		header []byte
		want   string
	}{
		{smallChild(t)[:64], "vhdx"},
		{at(0, "conectix\x00"), "vhd"},
		{at(0, "KDMV\x01"), "vmdk"},
		{at(0, "# Disk DescriptorFile\n"), "vmdk"},
		{at(0, "QFI\xfb\x00\x00\x00\x03"), "qcow2"},
		{at(0x40, "\x7f\x10\xda\xbe"), "vdi"},
		{at(0x8001, "CD001"), "iso"},
		{at(0x8001, "CD00"), ""},
		{at(510, "\x55\xaa"), ""},
		{nil, ""},
	} {
		if got := Sniff(c.header); got != c.want {
			t.Errorf("%.24q: %q, want %q", c.header, got, c.want)
		}
	}

	fixedVHD := make([]byte, 4<<20+512)
	copy(fixedVHD[4<<20:], "conectix")
	for _, c := range []struct {
		file []byte
		want string
	}{{fixedVHD, "vhd"}, {fixedVHD[:len(fixedVHD)-1], "vhd"}, {fixedVHD[:4<<20], ""}, {nil, ""}, {at(0, "QFI\xfb"), "qcow2"}} {
		if got, err := SniffFile(bytes.NewReader(c.file), int64(len(c.file))); got != c.want || err != nil {
			t.Errorf("file of %d bytes: %q, %v, want %q", len(c.file), got, err, c.want)
		}
	}
	if _, err := SniffFile(disktest.FailingAt(bytes.NewReader(fixedVHD), 0, iotest.ErrTimeout), 4096); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("failing reader: %v", err)
	}
	for _, format := range []struct{ option, want string }{{"vpc", "vhd"}, {"vmdk", "vmdk"}, {"qcow2", "qcow2"}, {"vdi", "vdi"}} {
		path := t.TempDir() + "/x"
		disktest.Run(t, "qemu-img", "create", "-q", "-f", format.option, path, fmt.Sprint(1<<20))
		f := openFile(t, path)
		st, _ := f.Stat()
		if got, err := SniffFile(f, st.Size()); got != format.want || err != nil {
			t.Errorf("qemu-img's %s: %q, %v", format.option, got, err)
		}
	}
}
