package xapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"
)

// maxRequest bounds a JSON-RPC request. The records of create have some 3 KiB.
const maxRequest = 1 << 20

// request is a JSON-RPC request of version 1.0 or 2.0.
type request struct {
	method  string
	params  []any // numbers are json.Number
	id      any   // a string or json.Number
	version string
}

// parseRequest reads one. What a notification would be, without id, is an error.
func parseRequest(body []byte) (request, error) {
	var in struct {
		Version *string `json:"jsonrpc"`
		Method  string  `json:"method"`
		Params  []any   `json:"params"`
		ID      any     `json:"id"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&in); err != nil {
		return request{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return request{}, errors.New("there is more than one value")
	}
	req := request{method: in.Method, params: in.Params, id: in.ID, version: "1.0"}
	if in.Version != nil {
		req.version = *in.Version
	}
	if req.version != "1.0" && req.version != "2.0" {
		return request{}, fmt.Errorf("jsonrpc is %q", req.version)
	}
	if req.method == "" {
		return request{}, errors.New("there is no method")
	}
	switch id := req.id.(type) {
	case string:
	case json.Number:
		if _, err := id.Int64(); err != nil {
			return request{}, fmt.Errorf("the id is %s", id)
		}
	default:
		return request{}, errors.New("there is no id")
	}
	return req, nil
}

// respond writes the answer to a request as its version has it.
func respond(w io.Writer, req request, result any, failed error) error {
	out := map[string]any{"id": req.id}
	var f *failure
	if failed != nil && !errors.As(failed, &f) {
		f = internal("%v", failed)
	}
	params := func() []string { return append([]string{}, f.params...) }
	switch {
	case req.version == "1.0" && f != nil:
		out["result"], out["error"] = nil, append([]string{f.code}, params()...)
	case req.version == "1.0":
		out["result"], out["error"] = result, nil
	case f != nil:
		out["jsonrpc"], out["error"] = "2.0", map[string]any{"code": 1, "message": f.code, "data": params()}
	default:
		out["jsonrpc"], out["result"] = "2.0", result
	}
	return json.NewEncoder(w).Encode(out)
}

// door is what one host serves.
type door struct {
	p *Pool
	// supporter is of a host that is not the coordinator.
	supporter bool
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimSuffix(r.URL.Path, "/"); {
	case path == "/jsonrpc" && r.Method == http.MethodPost:
		d.rpc(w, r)
	case path == "/import_raw_vdi" && r.Method == http.MethodPut:
		d.importRaw(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (d *door) rpc(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		broken(w, err)
		return
	}
	req, err := parseRequest(body)
	if err != nil {
		broken(w, err)
		return
	}
	hooked := Call{Method: req.method, Changes: changes(req.method)}
	if len(req.params) > 0 {
		hooked.Params = req.params[1:]
	}
	if !d.p.pass(hooked) {
		panic(http.ErrAbortHandler) // the way to end a connection
	}
	var result any
	if d.supporter {
		err = fail("HOST_IS_SLAVE", d.p.Host())
	} else {
		result, err = d.p.serve(req.method, req.params)
	}
	var answer bytes.Buffer
	if err := respond(&answer, req, result, err); err != nil {
		broken(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer.Bytes()) // who does not listen any more has gone
}

// broken answers what is no request.
func broken(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Cache-Control", "no-cache, no-store")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "<html><body><h1>HTTP 500 internal server error</h1>An unexpected error occurred; please wait a while and try again."+
		"<h1> Additional information </h1>%s</body></html>", html.EscapeString(err.Error()))
}
