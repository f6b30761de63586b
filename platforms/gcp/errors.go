package gcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/googleapis/gax-go/v2/apierror"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"imageport/platforms"
	"imageport/platforms/patience"
)

const (
	// maxText is how much of the cloud's words goes into a message, in bytes.
	maxText = 600
	// maxRetryAfter bounds how long the cloud can have a job wait.
	maxRetryAfter = time.Hour
)

// fail makes the error that leaves the package: which project, doing what, and
// what the cloud said.
func fail(project, what string, err error) error {
	if err == nil {
		return nil
	}
	e := &platforms.Error{Kind: kindOf(err), RetryAfter: retryAfter(err)}
	if project != "" {
		what = "project " + project + ": " + what
	}
	e.Err = fmt.Errorf("GCP %s: %w", what, &failure{err})
	return e
}

// failure is an error in one line, with what it is called by the cloud.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

func (f *failure) Error() string {
	text := strings.Join(strings.Fields(f.error.Error()), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	of, ok := errors.AsType[*googleapi.Error](f.error)
	if !ok {
		return text
	}
	words := append([]string{"HTTP " + strconv.Itoa(of.Code)}, reasons(of)...)
	return fmt.Sprintf("%s (%s)", text, strings.Join(words, ", "))
}

// operationError is how an operation failed.
type operationError struct {
	kind   string // insert, attachDisk
	status int    // of HTTP, 0 if it was not said
	codes  []string
	text   string
}

func (e *operationError) Error() string {
	return fmt.Sprintf("the operation %s failed: %s: %s", e.kind, strings.Join(e.codes, ", "), e.text)
}

// has reports whether the cloud gives one of the codes, or one that begins with it.
// Stock-outs come as ZONE_RESOURCE_POOL_EXHAUSTED and with _WITH_DETAILS.
func (e *operationError) has(prefixes ...string) bool {
	return slices.ContainsFunc(e.codes, func(code string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(code, p) })
	})
}

// reasons gives what an error of the API says that it is.
func reasons(e *googleapi.Error) []string {
	var all []string
	for _, item := range e.Errors {
		if item.Reason != "" && !slices.Contains(all, item.Reason) {
			all = append(all, item.Reason)
		}
	}
	return all
}

// isHTTP reports whether the API has answered with that status, and if reasons are
// given, with one of them.
func isHTTP(err error, status int, anyOf ...string) bool {
	e, ok := errors.AsType[*googleapi.Error](err)
	if !ok || e.Code != status {
		return false
	}
	return len(anyOf) == 0 || slices.ContainsFunc(reasons(e), func(r string) bool { return slices.Contains(anyOf, r) })
}

// isNotFound, isTaken report what the API has answered, or the operation.
func isNotFound(err error) bool {
	op, ok := errors.AsType[*operationError](err)
	return isHTTP(err, http.StatusNotFound) || ok && op.has("RESOURCE_NOT_FOUND")
}

func isTaken(err error) bool {
	op, ok := errors.AsType[*operationError](err)
	return isHTTP(err, http.StatusConflict) || ok && op.has("RESOURCE_ALREADY_EXISTS")
}

// inTheWay reports whether err comes of others who are at work on the same
// resource, on this side or the other: what the next attempt sees is different.
func inTheWay(err error) bool {
	op, ok := errors.AsType[*operationError](err)
	return errors.Is(err, patience.ErrContended) || isHTTP(err, http.StatusPreconditionFailed) ||
		isHTTP(err, http.StatusBadRequest, "resourceNotReady", "resourceInUseByAnotherResource") ||
		ok && op.has("RESOURCE_NOT_READY", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "CONDITION_NOT_MET")
}

// kindOf sorts errors. This is the only place that does it.
func kindOf(err error) platforms.Kind {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return platforms.Busy
	}
	if e, ok := errors.AsType[*platforms.Error](err); ok {
		return e.Kind
	}
	if inTheWay(err) {
		return platforms.Busy
	}
	if e, ok := errors.AsType[*operationError](err); ok {
		return kindOfOperation(e)
	}
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return kindOfHTTP(e.Code, reasons(e))
	}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // of the service that gives tokens
		if e.Response != nil && (e.Response.StatusCode >= 500 || e.Response.StatusCode == http.StatusTooManyRequests) {
			return platforms.Busy
		}
		return platforms.Denied
	}
	_, ofURL := errors.AsType[*url.Error](err)
	_, ofNet := errors.AsType[net.Error](err)
	if ofURL || ofNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return platforms.Busy
	}
	return platforms.Internal
}

func kindOfOperation(e *operationError) platforms.Kind {
	switch {
	case e.has("ZONE_RESOURCE_POOL_EXHAUSTED", "RESOURCE_POOL_EXHAUSTED", "QUOTA_EXCEEDED", "LIMIT_EXCEEDED", "INSUFFICIENT_"):
		return platforms.Full
	case e.has("RATE_LIMIT_EXCEEDED", "OPERATION_RATE_EXCEEDED", "RESOURCE_OPERATION_RATE_EXCEEDED", "SERVICE_UNAVAILABLE"):
		return platforms.Busy
	case e.has("RESOURCE_NOT_FOUND"):
		return platforms.NotFound
	case e.has("RESOURCE_ALREADY_EXISTS"):
		return platforms.Foreign
	case e.has("PERMISSIONS_ERROR", "PERMISSION_DENIED"):
		return platforms.Denied
	}
	return kindOfHTTP(e.status, nil)
}

func kindOfHTTP(status int, reasons []string) platforms.Kind {
	has := func(anyOf ...string) bool {
		return slices.ContainsFunc(reasons, func(r string) bool { return slices.Contains(anyOf, r) })
	}
	switch status {
	case http.StatusUnauthorized:
		return platforms.Denied
	case http.StatusForbidden:
		switch {
		case has("rateLimitExceeded", "userRateLimitExceeded", "concurrentLimitExceeded"):
			return platforms.Busy
		case has("quotaExceeded", "limitExceeded", "QUOTA_EXCEEDED"):
			return platforms.Full
		}
		return platforms.Denied
	case http.StatusNotFound:
		return platforms.NotFound
	case http.StatusConflict:
		return platforms.Foreign
	case http.StatusTooManyRequests, http.StatusRequestTimeout,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return platforms.Busy
	}
	if status >= 400 && status < 500 {
		return platforms.BadRequest
	}
	return platforms.Internal
}

// retryAfter gives when the cloud wants to be asked again, 0 if it did not say.
func retryAfter(err error) time.Duration {
	var d time.Duration
	if e, ok := errors.AsType[*googleapi.Error](err); ok && e.Header != nil {
		if s, err := strconv.Atoi(e.Header.Get("Retry-After")); err == nil && s > 0 {
			d = time.Duration(min(s, int(maxRetryAfter/time.Second))) * time.Second
		}
	}
	if e, ok := errors.AsType[*apierror.APIError](err); ok && d == 0 {
		if info := e.Details().RetryInfo; info != nil {
			d = info.GetRetryDelay().AsDuration()
		}
	}
	return min(max(d, 0), maxRetryAfter)
}
