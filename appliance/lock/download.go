package lock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

var (
	// ErrGone: none of the mirrors has the file (any more).
	ErrGone = errors.New("the mirror does not have it")
	// ErrDownload: no mirror could be reached, or none gave the right bytes.
	ErrDownload = errors.New("cannot be downloaded")
)

const (
	attempts = 3
	// patience is how long no byte may arrive.
	patience = 60 * time.Second
)

// Download gets a file of an archive, Debian or Security, from the first mirror
// that has it. It has size bytes at most, and what check accepts. Nil means
// http.DefaultClient.
func (m Mirror) Download(ctx context.Context, client *http.Client, archive, file string, size int64, check func([]byte) error) ([]byte, error) {
	if len(m[archive]) == 0 {
		return nil, fmt.Errorf("%w: of its archive %s", ErrNoMirror, archive)
	}
	if client == nil {
		client = http.DefaultClient
	}
	var failures []error
	gone := true
	for _, base := range m[archive] {
		body, err := retry(ctx, func() ([]byte, error) {
			return get(ctx, client, base+"/"+escape(file), size)
		})
		if err == nil {
			err = check(body)
		}
		if err == nil {
			return body, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		failures = append(failures, fmt.Errorf("%s: %w", base, err))
		gone = gone && errors.Is(err, ErrGone)
	}
	if gone {
		return nil, fmt.Errorf("%w: %s of %s", ErrGone, file, strings.Join(m[archive], ", "))
	}
	return nil, fmt.Errorf("%s %w: %w", file, ErrDownload, errors.Join(failures...))
}

// retry calls f again while that may help.
func retry(ctx context.Context, f func() ([]byte, error)) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		body, err := f()
		if err == nil || attempt == attempts || errors.Is(err, ErrGone) || ctx.Err() != nil {
			return body, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(attempt) * time.Second / 2):
		}
	}
}

// escape writes a path of a pool in a URL as apt does: some mirrors take a plus
// for a space.
func escape(file string) string {
	return strings.NewReplacer("+", "%2b", "~", "%7e", ":", "%3a").Replace(file)
}

func get(ctx context.Context, client *http.Client, address string, size int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(patience, func() { cancel(fmt.Errorf("nothing has arrived for %s", patience)) })
	defer stalled.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%w: %s", ErrGone, response.Status)
	default:
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	body, err := io.ReadAll(&watched{io.LimitReader(response.Body, size+1), stalled})
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if int64(len(body)) > size {
		return nil, fmt.Errorf("it has more than the %d bytes that it should have", size)
	}
	return body, nil
}

// causeOf says why a request has ended, where that was us; the URL is said by
// the caller.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// watched puts off a timer with all that arrives.
type watched struct {
	r io.Reader
	t *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.t.Reset(patience)
	}
	return n, err
}
