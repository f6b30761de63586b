package diskimage

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"imageport/engine/disk/chain"
)

// FuzzResumeState reads the states that are beside partial outputs: what is
// accepted is the same when it is written and read again.
func FuzzResumeState(f *testing.F) {
	o := Output{UsedOnly: true, SHA256: true}
	layers := []chain.Layer{{Name: "win10.vhdx", FileSize: 1 << 30, ModTime: time.Unix(1_700_000_000, 5), ID: "a-guid"}}
	begun, err := json.Marshal(o.newResumeState(layers))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(begun)
	f.Add([]byte(`{"version":1,"source":[{"name":"a","sizeBytes":1,"modified":"2026-01-02T03:04:05.6Z"}],"copy":{"version":1,"source":"s","sizeBytes":4194304,"unitBytes":1048576,"crc32c":true,"done":"0-1:9ae0daaf"}}`))
	f.Add([]byte(`{"version":1,"copy":{"version":1,"sizeBytes":4194304,"unitBytes":1048576,"done":"3-1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data)
		if err != nil {
			return
		}
		if err := s.admits(s); err != nil {
			t.Errorf("a state does not admit itself: %v", err)
		}
		again, err := json.Marshal(s)
		if err != nil {
			return // a time beyond the year 9999
		}
		if got, err := parseState(again); err != nil || got.identity() != s.identity() || !reflect.DeepEqual(got.Copy, s.Copy) {
			t.Errorf("%s: %+v, %v", again, got, err)
		}
	})
}
