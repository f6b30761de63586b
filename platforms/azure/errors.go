package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/patience"
)

// maxText is how much of Azure's words goes into a message, in bytes.
const maxText = 600

// fail makes the error that leaves the package: which subscription, doing what,
// which code.
func fail(subscription, what string, err error) error {
	if err == nil {
		return nil
	}
	e := &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("%s subscription %s: %s: %w", job.PlatformAzure, subscription, what, &failure{err})}
	if e.Kind == platforms.Busy || e.Kind == platforms.Full {
		e.RetryAfter = retryAfter(err)
	}
	return e
}

// failure is an error in one line: the SDK's have a page.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

func (f *failure) Error() string {
	text := f.error.Error()
	if re, ok := errors.AsType[*azcore.ResponseError](f.error); ok {
		// What was added on the way, and then what Azure says.
		text = strings.TrimSuffix(text, re.Error()) + words(re)
	} else if a, ok := errors.AsType[*azidentity.AuthenticationFailedError](f.error); ok {
		text = strings.TrimSuffix(text, a.Error()) + "log in: " + a.Error()
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// words gives what Azure says of an error.
func words(re *azcore.ResponseError) string {
	message := messageOf(re)
	if message == "" {
		message = http.StatusText(re.StatusCode)
	}
	if re.ErrorCode == "" {
		return fmt.Sprintf("%s (HTTP %d)", message, re.StatusCode)
	}
	return fmt.Sprintf("%s (%s)", message, re.ErrorCode)
}

func messageOf(re *azcore.ResponseError) string {
	if re.RawResponse == nil || re.RawResponse.Body == nil {
		return ""
	}
	b, err := runtime.Payload(re.RawResponse)
	if err != nil {
		return ""
	}
	var body struct {
		Error struct {
			Message string
		}
	}
	if json.Unmarshal(b, &body) != nil {
		return ""
	}
	return body.Error.Message
}

// codeOf gives Azure's code of an error, "" if it is none of Azure's.
func codeOf(err error) string {
	if re, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return re.ErrorCode
	}
	return ""
}

// kinds are the codes of errors that say more than their HTTP status. The status
// of an operation's error is always 200.
var kinds = map[string]platforms.Kind{
	"AllocationFailed": platforms.Full, "ZonalAllocationFailed": platforms.Full, "OverconstrainedAllocationRequest": platforms.Full,
	"OverconstrainedZonalAllocationRequest": platforms.Full, "SkuNotAvailable": platforms.Full, "QuotaExceeded": platforms.Full,
	"ResourceQuotaExceeded": platforms.Full, "SubscriptionQuotaReached": platforms.Full,

	"TooManyRequests": platforms.Busy, "AnotherOperationInProgress": platforms.Busy, "Conflict": platforms.Busy, "ConflictingUserInput": platforms.Busy,
	"OperationNotAllowed": platforms.Busy, "OperationPreempted": platforms.Busy, "PreconditionFailed": platforms.Busy, "RetryableError": platforms.Busy,
	"ServerTimeout": platforms.Busy, "OperationTimedOut": platforms.Busy, "AttachDiskWhileBeingDetached": platforms.Busy, "ServerBusy": platforms.Busy,

	"AuthorizationFailed": platforms.Denied, "LinkedAuthorizationFailed": platforms.Denied, "InvalidAuthenticationToken": platforms.Denied,
	"InvalidAuthenticationTokenTenant": platforms.Denied, "ExpiredAuthenticationToken": platforms.Denied, "RequestDisallowedByPolicy": platforms.Denied,
	"ReadOnlyDisabledSubscription": platforms.Denied, "ScopeLocked": platforms.Denied,

	"ResourceNotFound": platforms.NotFound, "ResourceGroupNotFound": platforms.NotFound, "SubscriptionNotFound": platforms.NotFound,
	"InvalidResourceReference": platforms.NotFound, "GalleryImageNotFound": platforms.NotFound, "ImageNotFound": platforms.NotFound,
	"NotFound": platforms.NotFound, "ParentResourceNotFound": platforms.NotFound,

	"InvalidParameter": platforms.BadRequest, "InvalidRequestContent": platforms.BadRequest, "LocationNotAvailableForResourceType": platforms.BadRequest,
	"MissingSubscriptionRegistration": platforms.BadRequest, "InvalidRequestFormat": platforms.BadRequest,
}

// kindOf sorts errors. This is the only place that does it.
func kindOf(err error) platforms.Kind {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return platforms.Busy
	}
	if e, ok := errors.AsType[*platforms.Error](err); ok {
		return e.Kind
	}
	if re, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return kindOfResponse(re)
	}
	if a, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		if a.RawResponse != nil && (a.RawResponse.StatusCode == http.StatusTooManyRequests || a.RawResponse.StatusCode >= 500) {
			return platforms.Busy
		}
		return platforms.Denied
	}
	if errors.Is(err, patience.ErrContended) {
		return platforms.Busy
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return platforms.Busy // all of Azure's names are there: it is our way to them
	}
	_, ofURL := errors.AsType[*url.Error](err)
	_, ofNet := errors.AsType[net.Error](err)
	if ofURL || ofNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return platforms.Busy
	}
	return platforms.Internal
}

func kindOfResponse(re *azcore.ResponseError) platforms.Kind {
	// The same code stands for what is not possible now, and for a quota.
	if re.ErrorCode == "OperationNotAllowed" && strings.Contains(strings.ToLower(messageOf(re)), "quota") {
		return platforms.Full
	}
	if kind, ok := kinds[re.ErrorCode]; ok {
		return kind
	}
	switch status := re.StatusCode; {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return platforms.Denied
	case status == http.StatusNotFound:
		return platforms.NotFound
	case status == http.StatusConflict || status == http.StatusPreconditionFailed || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return platforms.Busy
	case status >= 400:
		return platforms.BadRequest
	}
	return platforms.Internal
}

// retryAfter is when Azure wants to be asked again, 0 if it did not say.
func retryAfter(err error) time.Duration {
	re, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || re.RawResponse == nil {
		return 0
	}
	return pauseOf(re.RawResponse.Header)
}

func pauseOf(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > int(time.Hour/time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// missing reports whether err says that a resource, or the group that it would be
// in, is not there.
func missing(err error) bool {
	switch codeOf(err) {
	case "ResourceNotFound", "ResourceGroupNotFound", "ParentResourceNotFound", "NotFound":
		return true
	}
	return false
}
