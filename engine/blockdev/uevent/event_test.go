package uevent_test

import (
	"context"
	"errors"
	"testing"

	"imageport/engine/blockdev/uevent"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]uevent.Event{
		// As Linux 6.12 sent them when a disk was attached.
		"add@/devices/pci0000:00/0000:00:04.0/virtio2/host2/target2:0:1/2:0:1:0\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:04.0/virtio2/host2/target2:0:1/2:0:1:0\x00SUBSYSTEM=scsi\x00DEVTYPE=scsi_device\x00MODALIAS=scsi:t-0x00\x00SEQNUM=1201\x00": {
			Action: uevent.Add, Path: "/devices/pci0000:00/0000:00:04.0/virtio2/host2/target2:0:1/2:0:1:0", Subsystem: "scsi", Modalias: "scsi:t-0x00"},
		"remove@/devices/virtual/bdi/8:16\x00ACTION=remove\x00SUBSYSTEM=bdi\x00SEQNUM=1300\x00": {
			Action: uevent.Remove, Path: "/devices/virtual/bdi/8:16", Subsystem: "bdi"},
		"change@/devices/x\x00": {Action: uevent.Change, Path: "/devices/x"},
	} {
		if got, err := uevent.Parse([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "add", "add@/x", "libudev\x00\xfe\xed\xca\xfe", "@/x\x00", "add@x\x00"} {
		if e, err := uevent.Parse([]byte(bad)); !errors.Is(err, uevent.ErrMalformed) {
			t.Errorf("%q: %+v, %v", bad, e, err)
		}
	}
}

func TestListenEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	events, err := uevent.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range events { // until it is closed
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00MODALIAS=scsi:t-0x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := uevent.Parse(b); err == nil && (e.Action == "" || e.Path == "") {
			t.Errorf("%q: %+v", b, e)
		}
	})
}
