package vhd

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"imageport/testkit/disktest"
)

func TestSetUniqueID(t *testing.T) {
	id := uuid.MustParse("11111111-2222-4333-8444-555555555555")
	for _, kind := range []Type{Fixed, Dynamic} {
		var f disktest.File
		w, err := Create(&f, Options{Type: kind, SizeBytes: 4 << 20, UniqueID: testParent, Timestamp: testTime})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteAt([]byte("data"), 0); err != nil {
			t.Fatal(err)
		}
		if w.SetUniqueID(uuid.Nil) == nil {
			t.Error("an image without an ID")
		}
		if err := w.SetUniqueID(id); err != nil {
			t.Fatal(err)
		}
		size, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if found, err := ReadIdentity(bytes.NewReader(f.Data), size); err != nil || found != id {
			t.Errorf("%s: the ID is %s, %v", kind, found, err)
		}
		if w.SetUniqueID(testParent) == nil {
			t.Errorf("%s: of a finished image", kind)
		}
	}
}
