package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/patience"
)

// answer gives the SDK's error of an answer.
func answer(status int, body string) error {
	req, err := http.NewRequest(http.MethodPut, "https://management.azure.com/x?sig=secret", nil)
	if err != nil {
		return err
	}
	return runtime.NewResponseError(&http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{"Retry-After": {"9"}}, Request: req, Body: io.NopCloser(strings.NewReader(body)),
	})
}

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		status        int
		code, message string
		kind          platforms.Kind
	}{
		{429, "OperationNotAllowed", "throttled", platforms.Busy}, {429, "", "", platforms.Busy}, {503, "", "", platforms.Busy},
		{409, "OperationNotAllowed", "exceeding approved standardDSv5Family Cores quota", platforms.Full},
		{409, "OperationNotAllowed", "Disk is attached", platforms.Busy}, {409, "AnotherOperationInProgress", "", platforms.Busy},
		{409, "QuotaExceeded", "", platforms.Full}, {200, "AllocationFailed", "", platforms.Full}, {200, "ZonalAllocationFailed", "", platforms.Full},
		{409, "SkuNotAvailable", "", platforms.Full}, {200, "OperationPreempted", "", platforms.Busy}, {412, "", "", platforms.Busy},
		{401, "", "", platforms.Denied}, {403, "AuthorizationFailed", "", platforms.Denied}, {403, "SomethingElse", "", platforms.Denied},
		{403, "RequestDisallowedByPolicy", "", platforms.Denied}, {409, "ReadOnlyDisabledSubscription", "", platforms.Denied},
		{404, "ResourceNotFound", "", platforms.NotFound}, {404, "", "", platforms.NotFound}, {400, "InvalidResourceReference", "", platforms.NotFound},
		{400, "InvalidParameter", "", platforms.BadRequest}, {400, "", "", platforms.BadRequest}, {200, "SomethingNew", "", platforms.Internal},
		{500, "InternalServerError", "", platforms.Busy},
	} {
		err := fail("sub", "do", fmt.Errorf("step: %w", answer(tc.status, fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, tc.code, tc.message))))
		if got := platforms.KindOf(err); got != tc.kind {
			t.Errorf("%d %s is %s, want %s: %v", tc.status, tc.code, got, tc.kind, err)
		}
	}
	for err, kind := range map[error]platforms.Kind{
		context.Canceled: platforms.Busy, io.ErrUnexpectedEOF: platforms.Busy, patience.ErrContended: platforms.Busy, errors.New("x"): platforms.Internal,
		&url.Error{Op: "Put", URL: "https://x", Err: errors.New("reset")}: platforms.Busy, platforms.Errorf(platforms.Foreign, "x"): platforms.Foreign,
	} {
		if got := kindOf(fmt.Errorf("step: %w", err)); got != kind {
			t.Errorf("%v is %s, want %s", err, got, kind)
		}
	}
	err := fail("sub", "create ce", fmt.Errorf("make the VM: %w", answer(403, `{"error":{"code":"AuthorizationFailed","message":"no right to 'A/b/write'\n over 'c'"}}`)))
	if want := "Azure subscription sub: create ce: make the VM: no right to 'A/b/write' over 'c' (AuthorizationFailed)"; err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
	err = fail("sub", "do", answer(503, "<html>"))
	var e *platforms.Error
	if want := "Azure subscription sub: do: Service Unavailable (HTTP 503)"; !errors.As(err, &e) || err.Error() != want || e.RetryAfter != 9*time.Second {
		t.Errorf("%v, %+v; want %s", err, e, want)
	}
}

// The address of an upload is as good as a password for it.
func TestBlobErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		kind platforms.Kind
	}{
		{answer(403, ""), platforms.Busy}, {answer(503, ""), platforms.Busy}, {answer(413, ""), platforms.Internal},
		{&url.Error{Op: "Put", URL: "https://md-1.blob?sig=secret", Err: io.EOF}, platforms.Busy},
	} {
		err := fail("sub", "do", blobError(t.Context(), 512, tc.err))
		if platforms.KindOf(err) != tc.kind || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "offset 512") {
			t.Errorf("%v: %s, want %s", err, platforms.KindOf(err), tc.kind)
		}
	}
}

func TestLUN(t *testing.T) {
	v := &vm{}
	for _, tc := range []struct {
		uniqueID string
		want     int32
	}{
		{"00000000-0000-4000-8000-000000000000", 2}, {"00000001-x", 3}, {"0000003d-x", 63}, {"0000003e-x", 2}, {"ffffffff-x", 2 + 0xffffffff%62},
	} {
		if got, err := v.freeLUN(tc.uniqueID); err != nil || got != tc.want {
			t.Errorf("%s: %d, %v; want %d", tc.uniqueID, got, err, tc.want)
		}
	}
	for range 62 {
		lun, err := v.freeLUN("0000003d-x")
		if err != nil || lun < firstLUN || lun > maxLUN {
			t.Fatalf("LUN %d, %v", lun, err)
		}
		v.disks = append(v.disks, dataDisk{lun: lun})
	}
	if _, err := v.freeLUN("0000003d-x"); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("all are taken: %v", err)
	}
	if _, err := v.freeLUN(""); platforms.KindOf(err) != platforms.Internal {
		t.Errorf("no unique id: %v", err)
	}
}

func TestVersionName(t *testing.T) {
	digest := [32]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0x80, 0, 0, 1}
	if got := versionName(digest); got != "2147483647.1.1073741824" {
		t.Error(got)
	}
}

func FuzzDiskName(f *testing.F) {
	d := &Driver{group: "g", target: "T"}
	for _, name := range []string{"win11", "a.b-c_d", "ce-0123456789ab", "x/../y", strings.Repeat("x", 81)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w, err := d.wantDisk("ce-0123456789ab", platforms.OutputDisk{Name: name, SizeBytes: gib, Provision: job.ProvisionThin})
		if err != nil {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if w.name != name || len(name) > 80 || strings.ContainsAny(name, "/?#% \\") || reserved.MatchString(name) || !reserved.MatchString(w.temporary) || len(w.temporary) > 80 {
			t.Errorf("%q is %+v", name, w)
		}
		upper, err := d.wantDisk("ce-0123456789ab", platforms.OutputDisk{Name: strings.ToUpper(name), SizeBytes: gib})
		if err != nil || upper.temporary != w.temporary {
			t.Errorf("%q and its upper case are two disks: %v", name, err)
		}
	})
}

func FuzzTags(f *testing.F) {
	f.Add("ips/files/pvs/win")
	f.Add(strings.Repeat("ü€", 200))
	f.Add(strings.Repeat("\x80", 300))
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > maxTag*(maxParts-1) {
			return
		}
		kept := tags{}
		kept.put(tagJob, value)
		if got := kept.get("IMAGEPORT-JOB"); got != value {
			t.Errorf("%q became %q", value, got)
		}
		for name, piece := range kept {
			if len(*piece) > maxTag || *piece == "" {
				t.Errorf("%s has %d bytes", name, len(*piece))
			}
		}
	})
}

func FuzzVHD(f *testing.F) {
	good := make([]byte, mib+footerBytes)
	copy(good[mib:], cookie)
	good[mib+typeAt] = typeFixed
	f.Add(good[mib:], int64(len(good)))
	f.Add([]byte("conectix"), int64(mib+footerBytes))
	f.Add(good[mib:], int64(1<<62))
	f.Fuzz(func(t *testing.T, footer []byte, size int64) {
		footer = append(footer, make([]byte, footerBytes)...)[:footerBytes]
		err := checkVHD(&atEnd{footer, size}, size)
		ok := bytes.HasPrefix(footer, []byte(cookie)) && footer[typeAt] == typeFixed && size > footerBytes && size <= maxVHDBytes && size%mib == footerBytes
		if ok != (err == nil) || err != nil && !errors.Is(err, errNotVHD) {
			t.Errorf("%d bytes of %d: %v", len(footer), size, err)
		}
	})
}

// atEnd has zeros, and at its end a footer.
type atEnd struct {
	footer []byte
	size   int64
}

func (r *atEnd) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off == r.size-footerBytes {
		copy(p, r.footer)
	}
	return len(p), nil
}
