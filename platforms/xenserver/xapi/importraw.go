package xapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

const (
	// maxHops is how often a pool may send the bytes elsewhere.
	maxHops = 3
	// importPath is where the bytes of disks go.
	importPath = "/import_raw_vdi"
)

// ImportRaw writes size bytes of content to the VDI, from its beginning. The
// coordinator sends them on to a host that has the SR.
func (c *Client) ImportRaw(ctx context.Context, vdi Ref, content io.ReaderAt, size int64) error {
	lost, err := c.importRaw(ctx, vdi, content, size)
	if lost && ctx.Err() == nil {
		_, err = c.importRaw(ctx, vdi, content, size)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return wrap("import_raw_vdi", err)
}

// importRaw reports also whether it failed when the session was lost.
func (c *Client) importRaw(ctx context.Context, vdi Ref, content io.ReaderAt, size int64) (lost bool, err error) {
	var task Ref
	if err := c.Call(ctx, "task.create", &task, "imageport: import a disk", ""); err != nil {
		return false, err
	}
	p, err := c.connect(ctx, 0)
	if err != nil {
		return false, err
	}
	query := url.Values{
		"session_id": {string(p.session)}, "task_id": {string(task)}, "vdi": {string(vdi)}, "format": {"raw"},
	}
	sendErr := c.put(ctx, &url.URL{Scheme: "https", Host: p.address, Path: importPath, RawQuery: query.Encode()}, content, size)
	if sendErr == nil {
		// 200 OK comes before the bytes are stored: the task knows.
		_, err := c.finish(ctx, task)
		return false, err
	}
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Settle)
	defer stop()
	_, now, err := c.task(longer, task)
	lost = now.login != p.login && (err == nil || errors.Is(err, ErrTaskLost))
	// The task may know better, in a moment: it may even have all, where the
	// connection ended roughly.
	if _, ended, err := c.followFor(longer, 4*c.cfg.Poll, task); ended {
		sendErr = err
	} else {
		_ = c.Call(longer, "task.cancel", nil, task)
	}
	c.forget(longer, task)
	return lost, sendErr
}

// put sends the bytes. They are sent with their length: XAPI takes no chunks.
func (c *Client) put(ctx context.Context, to *url.URL, content io.ReaderAt, size int64) error {
	for hop := 0; hop < maxHops; hop++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), nil)
		if err != nil {
			return err
		}
		body := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(content, 0, size)), nil }
		req.Body, _ = body()
		req.GetBody, req.ContentLength = body, size
		res, err := c.http.Transport.RoundTrip(req) // which follows nobody, and says nothing of the query
		if err != nil {
			return hideQuery(err)
		}
		// The connection ends when it has all.
		_, copyErr := io.Copy(io.Discard, io.LimitReader(res.Body, maxReply))
		res.Body.Close()
		switch {
		case res.StatusCode == http.StatusOK:
			return copyErr
		case res.StatusCode >= 300 && res.StatusCode < 400:
			next, err := res.Location()
			if err != nil {
				return fmt.Errorf("%w: sent elsewhere, and not told where: %w", ErrReply, hideQuery(err))
			}
			if next.Scheme != "https" || next.Path != importPath || next.RawQuery == "" {
				return fmt.Errorf("%w: sent to %s://%s%s", ErrReply, shorten(next.Scheme), shorten(next.Host), shorten(next.Path))
			}
			if next.Port() == "" {
				next.Host = c.sibling(next.Hostname())
			}
			to = next
		default:
			return &StatusError{Status: res.StatusCode}
		}
	}
	return fmt.Errorf("%w: sent elsewhere %d times", ErrReply, maxHops)
}

// hideQuery takes the session out of an error's words.
func hideQuery(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}
