package seedsource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"imageport/appliance/seedsource/media"
)

// metadataPatience is how long a metadata service may take to come up. A
// request that has begun by then may end.
const metadataPatience = 20 * time.Second

// azure reads the VM's userData, which the Instance Metadata Service gives in
// base64.
func azure(ctx context.Context, env Env) ([]byte, error) {
	r, err := env.metadata(ctx, "/metadata/instance/compute/userData?api-version=2021-01-01&format=text", "Metadata", "true")
	if err != nil {
		return nil, err
	}
	return decode(string(r.body))
}

// gcp reads the instance's attribute.
func gcp(ctx context.Context, env Env) ([]byte, error) {
	r, err := env.metadata(ctx, "/computeMetadata/v1/instance/attributes/"+media.Attribute, "Metadata-Flavor", "Google")
	if err != nil {
		return nil, err
	}
	// The real service vouches for its answers with the same header.
	if r.header.Get("Metadata-Flavor") != "Google" {
		return nil, errors.New("the answer is not from the metadata service: no Metadata-Flavor: Google")
	}
	return r.body, nil
}

type reply struct {
	header http.Header
	body   []byte
}

// metadata gets a document, with patience for a service that is not up yet or
// has too much to do. Without the header, a service gives nothing: it keeps
// those away who can only make somebody else send a request.
func (e Env) metadata(ctx context.Context, path, header, value string) (reply, error) {
	began, wait := time.Now(), 250*time.Millisecond
	for {
		r, again, err := e.get(ctx, path, header, value)
		if !again {
			return r, err
		}
		if time.Since(began)+wait > metadataPatience {
			return reply{}, fmt.Errorf("%w, for %s", err, time.Since(began).Round(time.Second))
		}
		if err := sleep(ctx, wait); err != nil {
			return reply{}, err
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// get makes one request, and says whether another may do better.
func (e Env) get(ctx context.Context, path, header, value string) (r reply, again bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attempt, fmt.Errorf("no answer in %s", attempt))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Metadata+path, nil)
	if err != nil {
		return reply{}, false, err
	}
	request.Header.Set(header, value)
	response, err := e.HTTP.Do(request)
	if err != nil {
		return reply{}, true, unwrapURL(ctx, err)
	}
	defer response.Body.Close()
	switch status := response.StatusCode; {
	case status == http.StatusOK:
	case status == http.StatusNotFound:
		return reply{}, false, errNotThere
	default:
		// Azure says 410 while it moves the service.
		again = status == http.StatusGone || status == http.StatusTooManyRequests || status >= 500
		return reply{}, again, fmt.Errorf("HTTP status %d %s", status, http.StatusText(status))
	}
	body, err := readAll(response.Body, maxText)
	if err != nil {
		return reply{}, !errors.Is(err, ErrMalformed), unwrapURL(ctx, err)
	}
	return reply{response.Header, body}, false, nil
}

// unwrapURL drops the request from an error, and says time-out in our words.
func unwrapURL(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}
