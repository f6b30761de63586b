package gcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"imageport/platforms"
	"imageport/platforms/patience"
)

func httpError(status int, reasons ...string) error {
	e := &googleapi.Error{Code: status, Message: "m"}
	for _, r := range reasons {
		e.Errors = append(e.Errors, googleapi.ErrorItem{Reason: r, Message: "m"})
	}
	return e
}

func opFailed(status int, codes ...string) error {
	return &operationError{kind: "insert", status: status, codes: codes, text: "m"}
}

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		err  error
		kind platforms.Kind
	}{
		{context.Canceled, platforms.Busy},
		{context.DeadlineExceeded, platforms.Busy},
		{platforms.Errorf(platforms.Foreign, "x"), platforms.Foreign},
		{patience.ErrContended, platforms.Busy},
		{httpError(401, "authError"), platforms.Denied},
		{httpError(403, "forbidden"), platforms.Denied},
		{httpError(403), platforms.Denied},
		{httpError(403, "accessNotConfigured"), platforms.Denied},
		{httpError(403, "rateLimitExceeded"), platforms.Busy},
		{httpError(403, "userRateLimitExceeded"), platforms.Busy},
		{httpError(403, "quotaExceeded"), platforms.Full},
		{httpError(404, "notFound"), platforms.NotFound},
		{httpError(409, "alreadyExists"), platforms.Foreign},
		{httpError(412, "conditionNotMet"), platforms.Busy},
		{httpError(400, "invalid"), platforms.BadRequest},
		{httpError(400, "resourceNotReady"), platforms.Busy},
		{httpError(400, "resourceInUseByAnotherResource"), platforms.Busy},
		{httpError(413), platforms.BadRequest},
		{httpError(429), platforms.Busy},
		{httpError(500), platforms.Busy},
		{httpError(503, "backendError"), platforms.Busy},
		{httpError(302), platforms.Internal},
		{opFailed(503, "ZONE_RESOURCE_POOL_EXHAUSTED"), platforms.Full},
		{opFailed(503, "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"), platforms.Full},
		{opFailed(403, "QUOTA_EXCEEDED"), platforms.Full},
		{opFailed(429, "RATE_LIMIT_EXCEEDED"), platforms.Busy},
		{opFailed(0, "RESOURCE_NOT_FOUND"), platforms.NotFound},
		{opFailed(0, "RESOURCE_ALREADY_EXISTS"), platforms.Foreign},
		{opFailed(0, "PERMISSIONS_ERROR"), platforms.Denied},
		{opFailed(0, "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"), platforms.Busy},
		{opFailed(400, "INVALID_USAGE"), platforms.BadRequest},
		{opFailed(500, "INTERNAL_ERROR"), platforms.Busy},
		{opFailed(0, "UNHEARD_OF"), platforms.Internal},
		{&oauth2.RetrieveError{Response: &http.Response{StatusCode: 400}}, platforms.Denied},
		{&oauth2.RetrieveError{Response: &http.Response{StatusCode: 503}}, platforms.Busy},
		{&oauth2.RetrieveError{}, platforms.Denied},
		{&url.Error{Op: "Get", URL: "u", Err: io.EOF}, platforms.Busy},
		{&net.OpError{Op: "dial", Err: errors.New("x")}, platforms.Busy},
		{io.ErrUnexpectedEOF, platforms.Busy},
		{errors.New("x"), platforms.Internal},
		{errors.Join(opFailed(503, "ZONE_RESOURCE_POOL_EXHAUSTED"), opFailed(403, "QUOTA_EXCEEDED")), platforms.Full},
	} {
		for _, err := range []error{tc.err, fmt.Errorf("x: %w", tc.err)} {
			if got := kindOf(err); got != tc.kind {
				t.Errorf("%v is %s; want %s", err, got, tc.kind)
			}
			if got := platforms.KindOf(fail("p", "create x", err)); got != tc.kind {
				t.Errorf("%v leaves as %s; want %s", err, got, tc.kind)
			}
		}
	}
	if fail("p", "x", nil) != nil {
		t.Error("no failure became one")
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "-3": 0, "soon": 0, "99999999999": maxRetryAfter, "90000": maxRetryAfter,
	} {
		err := fmt.Errorf("x: %w", &googleapi.Error{Code: 429, Header: http.Header{"Retry-After": {header}}})
		if got := retryAfter(err); got != want {
			t.Errorf("%q: %v; want %v", header, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	err := fail("p", "create ce", fmt.Errorf("make it: %w", httpError(403, "forbidden", "forbidden", "other")))
	for _, part := range []string{"GCP project p: create ce: make it:", "(HTTP 403, forbidden, other)"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	err = fail("", "x", errors.New(strings.Repeat("ä\n", 2000)))
	if n := len(err.Error()); n > maxText+100 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%d bytes: %.50s", n, err)
	}
}
