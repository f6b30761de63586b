package xapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	// maxReply bounds an answer, in bytes: all VMs of the largest pool have some
	// tens of MiB.
	maxReply = 256 << 20
	// maxText is how much of a server's words goes into a message, in bytes.
	maxText = 300
)

// Ref is an object of the pool. It is good until the object is gone.
type Ref string

// Null is the Ref of nothing.
const Null Ref = "OpaqueRef:NULL"

// sessionParam stands for the session itself among the parameters of a call.
type sessionParam struct{}

// OwnSession is a parameter that stands for the reference of the session by
// which the call is made.
var OwnSession any = sessionParam{}

// request is that of JSON-RPC 2.0, 4.
type request struct {
	Version string `json:"jsonrpc"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
	ID      int    `json:"id"`
}

// encode gives the body of a call. The first parameter of most is the session.
func encode(method string, params []any) ([]byte, error) {
	b, err := json.Marshal(request{Version: "2.0", Method: method, Params: params, ID: 1})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}

// decode reads the answer to a call (JSON-RPC 2.0, 5) into out, unless that is
// nil. The error is an *Error if the pool gave one.
func decode(r io.Reader, out any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxReply+1))
	if err != nil {
		return err
	}
	if len(b) > maxReply {
		return fmt.Errorf("%w: more than %d bytes", ErrReply, maxReply)
	}
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal(b, &reply); err != nil {
		return fmt.Errorf("%w: %w in %q", ErrReply, err, shorten(string(b)))
	}
	switch {
	case reply.Error != nil && reply.Error.Message == "":
		return fmt.Errorf("%w: an error without a name in %q", ErrReply, shorten(string(b)))
	case reply.Error != nil:
		return &Error{Code: reply.Error.Message, Params: errorParams(reply.Error.Data)}
	case reply.Result == nil:
		return fmt.Errorf("%w: neither a result nor an error in %q", ErrReply, shorten(string(b)))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(reply.Result, out); err != nil {
		return fmt.Errorf("%w: %w in %q", ErrReply, err, shorten(string(reply.Result)))
	}
	return nil
}

// errorParams reads the parameters of an error: a list of strings, or whatever
// else as one.
func errorParams(data json.RawMessage) []string {
	data = bytes.TrimSpace(data)
	var list []string
	if len(data) == 0 || json.Unmarshal(data, &list) == nil {
		return list
	}
	return []string{shorten(string(data))}
}

// resultRef reads the reference in the result of a task, which is a value of
// XML-RPC: "<value>OpaqueRef:…</value>".
func resultRef(result string) (Ref, error) {
	text := strings.NewReplacer("<value>", "", "</value>", "", "<string>", "", "</string>", "").Replace(result)
	text = strings.Trim(strings.TrimSpace(text), `"`)
	if text == "" || strings.ContainsAny(text, "<>\" \n") || !strings.HasPrefix(text, "OpaqueRef:") {
		return "", fmt.Errorf("%w: the result of a task is %q, want a reference", ErrReply, shorten(result))
	}
	return Ref(text), nil
}

// statusError describes an answer that is not 200 OK.
func statusError(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxText)) // as far as it comes
	return &StatusError{Status: res.StatusCode, Text: shorten(strings.Join(strings.Fields(string(b)), " "))}
}

func shorten(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
