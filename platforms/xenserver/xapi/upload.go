package xapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// answerTimeout is how long a pool is waited for that may refuse a disk's bytes,
// or want them elsewhere, before they are sent.
const answerTimeout = time.Second

// transport carries calls as net/http does, and uploads in a way of its own.
type transport struct {
	calls *http.Transport
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPut {
		return t.upload(req)
	}
	return t.calls.RoundTrip(req)
}

// upload sends a request whose answer comes before its body. XAPI says 200 OK when
// it has seen the header, or something else, and does not read the body then. What
// net/http does is of no use for that: it takes an answer for the end of the
// exchange, or loses it when the connection ends under what it sends.
func (t *transport) upload(req *http.Request) (*http.Response, error) {
	defer req.Body.Close()
	conn, err := t.dial(req.Context(), "tcp", req.URL.Host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(req.Context(), func() { conn.Close() })
	res, err := exchange(conn, req)
	if err != nil {
		stop()
		conn.Close()
		if req.Context().Err() != nil {
			err = req.Context().Err()
		}
		return nil, err
	}
	res.Body = &connBody{ReadCloser: res.Body, conn: conn, stop: stop}
	return res, nil
}

// connBody is the body of an answer, with which the connection ends.
type connBody struct {
	io.ReadCloser
	conn net.Conn
	stop func() bool
}

func (b *connBody) Close() error {
	b.stop()
	_ = b.ReadCloser.Close()
	return b.conn.Close()
}

// exchange sends the header, and the body unless the answer is that it is not
// wanted.
func exchange(conn net.Conn, req *http.Request) (*http.Response, error) {
	_, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		req.URL.RequestURI(), req.URL.Host, req.ContentLength)
	if err != nil {
		return nil, err
	}
	type answer struct {
		res *http.Response
		err error
	}
	answers := make(chan answer, 1)
	go func() { // it ends with the connection at the latest
		res, err := http.ReadResponse(bufio.NewReader(conn), req)
		answers <- answer{res, err}
	}()
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	var early *answer
	select {
	case a := <-answers:
		if a.err != nil || a.res.StatusCode != http.StatusOK {
			return a.res, a.err
		}
		early = &a
	case <-timer.C:
	}
	_, sendErr := io.CopyN(conn, req.Body, req.ContentLength)
	if early == nil {
		if sendErr != nil {
			// It may say why it wants no more. That the header was all right is no reason.
			select {
			case a := <-answers:
				if a.err == nil && a.res.StatusCode == http.StatusOK {
					a.res.Body.Close()
					return nil, sendErr
				}
				return a.res, a.err
			case <-time.After(answerTimeout):
				return nil, sendErr
			}
		}
		a := <-answers
		return a.res, a.err
	}
	if sendErr != nil {
		early.res.Body.Close()
		return nil, sendErr
	}
	return early.res, nil
}
