package xapi

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzRequest sends a pool anything: it answers, and does not panic.
func FuzzRequest(f *testing.F) {
	p, err := Start(Config{Dir: f.TempDir(), SRs: []SR{{Name: DefaultSR, SizeBytes: 1 << 30}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(p.Close)
	p.mu.Lock()
	vm := p.referring("VM", "name_label", MediaTemplate)[0]
	session := p.insert("session", record{})
	p.mu.Unlock()
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":["S"]}`,
		`{"id":"x","method":"VM.clone","params":["S","V","name"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"Async.VM.start","params":["S","V",false,false]}`,
		`{"jsonrpc":"2.0","id":1,"method":"VM.set_platform","params":["S","V",{"a":"b"}]}`,
		`{"jsonrpc":"2.0","id":1,"method":"VM.add_to_other_config","params":["S","V","disks","<provision/>"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["root",""]}`,
		`{"jsonrpc":"2.0","id":1,"method":"VM.set_memory_limits","params":["S","V",1,2,"3",4e1]}`,
		`{"jsonrpc":"2.0","id":1,"method":"VIF.create","params":["S",{"device":"0"}]}`,
		`{"jsonrpc":"2.0","id":1,"method":"VDI.create","params":["S",{"SR":"OpaqueRef:NULL","virtual_size":1,"type":"user","sharable":false,"read_only":false,"other_config":{}}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseRequest(body)
		if err != nil {
			return
		}
		for i, v := range req.params {
			switch v { // short names of what there is
			case "S":
				req.params[i] = session
			case "V":
				req.params[i] = vm
			}
		}
		if req.method == "session.logout" || changes(req.method) && len(p.VMs()) > 20 {
			return
		}
		result, failed := p.serve(req.method, req.params)
		var answer bytes.Buffer
		if err := respond(&answer, req, result, failed); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if !json.Valid(answer.Bytes()) {
			t.Fatalf("%s: %s", body, answer.Bytes())
		}
	})
}
