package vhdx

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"imageport/testkit/disktest"
)

func TestSetWriteGUIDs(t *testing.T) {
	opt := createOptions(Dynamic, 8<<20)
	file, data := uuid.MustParse("11111111-2222-4333-8444-555555555555"), uuid.MustParse("66666666-2222-4333-8444-555555555555")
	var f disktest.File
	w := create(t, &f, opt)
	if w.SetWriteGUIDs(uuid.Nil, data) == nil || w.SetWriteGUIDs(file, uuid.Nil) == nil {
		t.Error("an image without GUIDs")
	}
	if _, err := w.WriteAt([]byte("data"), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.SetWriteGUIDs(file, data); err != nil {
		t.Fatal(err)
	}
	size, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(bytes.NewReader(f.Data), size)
	if err != nil {
		t.Fatal(err)
	}
	if i := im.Info(); i.FileWriteGUID != file || i.DataWriteGUID != data || i.VirtualDiskID != opt.VirtualDiskID {
		t.Errorf("%+v", i)
	}
	if w.SetWriteGUIDs(data, file) == nil {
		t.Error("of a finished image")
	}
}
