package inject

import (
	"bytes"
	"errors"
	"testing"

	"imageport/engine/disk/overlay"
	"imageport/job"
)

// area is what lies in front of the partitions.
func area(t *testing.T, d *workDisk) []byte {
	t.Helper()
	p := make([]byte, redoEnd-redoStart)
	if _, err := d.ReadAt(p, redoStart); err != nil {
		t.Fatal(err)
	}
	return p
}

// The Compositing Engine is lost at any write of Clean: the next one completes it,
// and leaves nothing but the Windows as it was.
func TestCleanCutAnywhere(t *testing.T) {
	injected, p := build(t, roomy())
	got, err := Inject(t.Context(), injected, injection(p), ignore)
	if err != nil {
		t.Fatal(err)
	}
	cuts := 0
	for left := int64(0); ; left++ {
		d := &workDisk{Overlay: overlay.New(injected.Overlay)}
		broken := &failing{workDisk: d, err: errors.New("the cable is out")}
		broken.left.Store(left)
		_, err := Clean(t.Context(), broken, p, got.Undo, ignore)
		if err == nil {
			break
		}
		wantCode(t, err, job.PlatformError, "the cable is out")
		cuts++
		if _, err := Clean(t.Context(), d, p, got.Undo, ignore); err != nil {
			t.Errorf("cut off at write %d: %v", left, err)
		}
		judge(t, d, p)
		if left, err := Traces(t.Context(), d, p); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
		if b := area(t, d); bytes.Count(b, []byte{0}) < len(b) {
			t.Error("something is left in front of the partitions")
		}
	}
	t.Logf("%d cuts", cuts)
	if cuts < 10 {
		t.Errorf("Clean has %d writes", cuts)
	}
}

// What others have in front of the partitions stays, and what cannot be one of
// Clean is not used.
func TestRedoOfOthers(t *testing.T) {
	injected, p := build(t, roomy())
	got, err := Inject(t.Context(), injected, injection(p), ignore)
	if err != nil {
		t.Fatal(err)
	}
	outside, err := pack([]overlay.Page{{Offset: 0, Data: make([]byte, overlay.PageSize)}})
	if err != nil {
		t.Fatal(err)
	}
	spoiled := append(header([]byte("what was written")), "what is there"...)
	for name, c := range map[string]struct {
		there []byte
		stays bool
		code  job.Code
	}{
		"a boot loader":        {[]byte("stage 1.5"), true, ""},
		"one that had begun":   {append(header(nil), "some of the pages"...), false, ""},
		"one that was cleared": {spoiled, false, ""},
		"longer than possible": {append([]byte(redoMagic), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), false, ""},
		"no pages":             {append(header([]byte("junk")), "junk"...), true, job.Internal},
		"of the table":         {append(header(outside), outside...), true, job.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			d := &workDisk{Overlay: overlay.New(injected.Overlay)}
			if _, err := d.WriteAt(c.there, redoStart); err != nil {
				t.Fatal(err)
			}
			_, err := Clean(t.Context(), d, p, got.Undo, ignore)
			if job.CodeOf(err) != c.code || (err == nil) != (c.code == "") {
				t.Fatalf("%v, want %q", err, c.code)
			}
			if found := bytes.HasPrefix(area(t, d), c.there); found != c.stays {
				t.Errorf("it is there: %t", found)
			}
			if c.code == "" {
				judge(t, d, p)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	p := Partition{1, 1 << 20, 8 << 20}
	packed, err := pack([]overlay.Page{{Offset: 1 << 20, Data: make([]byte, overlay.PageSize)}, {Offset: 2 << 20, Data: make([]byte, overlay.PageSize)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, packed []byte) {
		pages, err := unpack(packed, p)
		if err != nil {
			return
		}
		for _, page := range pages {
			if page.Offset < p.Offset || page.Offset+int64(len(page.Data)) > p.Offset+p.SizeBytes {
				t.Errorf("%d bytes at %d", len(page.Data), page.Offset)
			}
		}
	})
}
