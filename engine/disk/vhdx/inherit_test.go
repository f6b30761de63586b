package vhdx

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// appendItem adds an item with data to a file of ours, after the others.
func appendItem(p []byte, id uuid.UUID, flags uint32, data []byte) {
	addItem(p, id, flags)
	table := p[layoutMetadataOffset:]
	n := int(le.Uint16(table[10:]))
	end := uint32(metadataTableSize)
	for i := range n {
		end = max(end, le.Uint32(metaEntry(p, i)[16:])+le.Uint32(metaEntry(p, i)[20:]))
	}
	copy(table[end:], data)
	if entry := metaEntry(p, n-1); len(data) > 0 {
		le.PutUint32(entry[16:], end)
		le.PutUint32(entry[20:], uint32(len(data)))
	}
}

// TestInheritedMetadata keeps the items that belong to the virtual disk through
// two generations, and leaves those of a file in that file.
func TestInheritedMetadata(t *testing.T) {
	id := func(n byte) uuid.UUID { return uuid.UUID{0: n, 6: 0x40, 8: 0x80} }
	p := smallChild(t)
	appendItem(p, id(1), itemIsUser|itemIsVirtualDisk, []byte("user, disk"))
	appendItem(p, id(2), itemIsUser, []byte("user, file"))
	appendItem(p, id(3), itemIsVirtualDisk, []byte("system, disk"))
	appendItem(p, id(4), itemIsUser|itemIsVirtualDisk, nil)
	appendItem(p, virtualDiskIDGUID, itemIsUser|itemIsVirtualDisk, []byte("user, with a system ID"))
	for generation := range 2 {
		info := openBytes(t, p).Info()
		var got []string
		for _, item := range info.inherited.items {
			got = append(got, string(item.data))
			if item.flags != itemIsUser|itemIsVirtualDisk && item.id != id(3) {
				t.Errorf("generation %d: %s has flags %d", generation, item.id, item.flags)
			}
		}
		if want := "user, disk|system, disk||user, with a system ID"; strings.Join(got, "|") != want {
			t.Errorf("generation %d: items %q", generation, got)
		}
		p = writeChild(t, overlay.New(disktest.Zeros(8<<20, 512)), childOptions(info, "p.vhdx", 0))
		if bytes.Contains(p, []byte("user, file")) {
			t.Errorf("generation %d: an item of the file was copied", generation)
		}
	}

	// Too many of them are no reason not to read the image.
	p = smallChild(t)
	for n := range byte(3) {
		appendItem(p, id(n), itemIsVirtualDisk, make([]byte, maxInherited/2))
		le.PutUint32(metaEntry(p, int(le.Uint16(p[layoutMetadataOffset+10:]))-1)[16:], metadataTableSize)
	}
	info := openBytes(t, p).Info()
	f := disktest.File{Ordered: true}
	_, err := WriteChild(t.Context(), &f, overlay.New(disktest.Zeros(8<<20, 512)), childOptions(info, "p.vhdx", 0), nil)
	if !errors.Is(err, ErrUnsupported) || len(f.Data) > 0 {
		t.Errorf("too much to inherit: %v, %d bytes written", err, len(f.Data))
	}

	p = smallChild(t)
	appendItem(p, id(1), itemIsVirtualDisk, []byte("x"))
	le.PutUint32(metaEntry(p, 6)[20:], 2*mib)
	if _, err := Open(bytes.NewReader(p), int64(len(p))); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), id(1).String()) {
		t.Errorf("item outside: %v", err)
	}
}
