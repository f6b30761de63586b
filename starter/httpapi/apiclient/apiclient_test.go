package apiclient_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"go.temporal.io/sdk/client"

	"imageport/starter"
	"imageport/starter/httpapi"
	"imageport/starter/httpapi/apiclient"
	"imageport/starter/httpapi/auth"
	"imageport/starter/startertest"
	"imageport/testkit/devserver"
)

// noCredentials is an empty wallet.
type noCredentials struct{ httpapi.Credentials }

func (noCredentials) List(context.Context) ([]httpapi.Credential, error) {
	return []httpapi.Credential{{ID: "files", Type: "UsernamePassword", Username: "svc", State: "Ok"}}, nil
}

func server(t *testing.T, c client.Client) *httpapi.Server {
	t.Helper()
	s, err := httpapi.New(httpapi.Config{Jobs: starter.New(c), Open: true, Credentials: noCredentials{}, Version: "1", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// offline gives a server that knows no Temporal.
func offline(t *testing.T) *httpapi.Server {
	t.Helper()
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return server(t, c)
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	s := offline(t)
	for name, text := range map[string][]byte{"3.1": s.OpenAPI(), "3.0": s.OpenAPI30()} {
		if !bytes.Contains(text, []byte(`"openapi":"`+name)) {
			t.Errorf("it is not of version %s: %.100s", name, text)
		}
		doc, err := libopenapi.NewDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		v, errs := validator.NewValidator(doc)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if ok, errs := v.ValidateDocument(); !ok {
			for _, err := range errs {
				t.Errorf("%s: %s: %s", name, err.Message, err.Reason)
				for _, e := range err.SchemaValidationErrors {
					t.Errorf("  %s at %s", e.Reason, e.FieldPath)
				}
			}
		}
	}
}

// TestGenerated makes the client anew, and compares.
func TestGenerated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spec, made := filepath.Join(dir, "openapi.json"), filepath.Join(dir, "client.gen.go")
	if err := os.WriteFile(spec, offline(t).OpenAPI30(), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := filepath.Abs("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "oapi-codegen", "-config", config, "-o", made, spec)
	cmd.Dir = "../../../tools/openapi"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("IMAGEPORT_GENERATE") != "" {
		if err := os.WriteFile("client.gen.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("client.gen.go")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("client.gen.go is not of this document (%v): see doc.go", err)
	}
}

// TestClient starts, follows and cancels a job by the generated client. What
// goes over the wire is checked against the document.
func TestClient(t *testing.T) {
	t.Parallel()
	temporal := devserver.Start(t)
	queue := "location-" + uuid.NewString()[:8]
	startertest.Serve(t, temporal, queue)
	api := server(t, temporal)
	doc, err := libopenapi.NewDocument(api.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	checked := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		answer := rec.Result()
		text := rec.Body.Bytes()
		answer.Body = io.NopCloser(bytes.NewReader(text))
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.URL.RawPath = "" // the validator knows no escaped slashes
		r.URL.Path = strings.ReplaceAll(r.URL.Path, "/pvs/", "-pvs-")
		r.Header.Set("Authorization", "Bearer x")
		if ok, errs := v.ValidateHttpRequestResponse(r, answer); !ok {
			for _, err := range errs {
				t.Errorf("%s %s: %s: %s: %+v\n%s", r.Method, r.URL, err.Message, err.Reason, err.SchemaValidationErrors, text)
			}
		}
		checked++
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(text)
	}))
	defer web.Close()
	c, err := apiclient.NewClientWithResponses(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	started, err := c.ConvertToUefiWithBodyWithResponse(t.Context(), &apiclient.ConvertToUefiParams{}, "application/json", bytes.NewReader(startertest.Body(queue, "win10-"+queue, startertest.Works)))
	if err != nil || started.JSON202 == nil {
		t.Fatalf("%v %s", err, started.Body)
	}
	id := started.JSON202.Id
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got, err := c.GetJobWithResponse(t.Context(), id, &apiclient.GetJobParams{})
		if err != nil || got.JSON200 == nil {
			t.Fatalf("%v %s", err, got.Body)
		}
		if got.JSON200.Progress != nil && got.JSON200.Progress.Step == "write" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not work: %s", got.Body)
		}
	}
	if canceled, err := c.CancelJobWithResponse(t.Context(), id, &apiclient.CancelJobParams{}); err != nil || canceled.JSON202 == nil {
		t.Fatalf("%v %+v", err, canceled)
	}
	list, err := c.ListJobsWithResponse(t.Context(), &apiclient.ListJobsParams{ResourceLocation: &queue})
	if err != nil || list.JSON200 == nil {
		t.Errorf("%v %+v", err, list)
	}
	missing, err := c.GetJobWithResponse(t.Context(), "nothing", &apiclient.GetJobParams{})
	if err != nil || missing.ApplicationproblemJSONDefault == nil || missing.ApplicationproblemJSONDefault.Code != "JOB_NOT_FOUND" {
		t.Errorf("%v %+v", err, missing)
	}
	if status, err := c.StatusWithResponse(t.Context()); err != nil || status.JSON200 == nil || status.JSON200.ResourceLocations[0] != auth.Everywhere {
		t.Errorf("%v %+v", err, status)
	}
	if credentials, err := c.ListCredentialsWithResponse(t.Context(), &apiclient.ListCredentialsParams{}); err != nil || credentials.JSON200 == nil || len(credentials.JSON200.Items) != 1 {
		t.Errorf("%v %+v", err, credentials)
	}
	batch, err := c.StartBatchWithBodyWithResponse(t.Context(), &apiclient.StartBatchParams{}, "application/json", bytes.NewReader(startertest.BatchBody(queue+"-idle", "floor", "out", "win10")))
	if err != nil || batch.JSON202 == nil {
		t.Fatalf("%v %s", err, batch.Body)
	}
	run := batch.JSON202.RunId
	if got, err := c.GetBatchWithResponse(t.Context(), run); err != nil || got.JSON200 == nil || got.JSON200.Id != batch.JSON202.Id || got.JSON200.State != "running" {
		t.Errorf("%v %+v", err, got)
	}
	if report, err := c.GetBatchReportWithResponse(t.Context(), run, &apiclient.GetBatchReportParams{}); err != nil || report.JSON200 == nil || report.JSON200.RunId != run {
		t.Errorf("%v %+v", err, report)
	}
	if list, err := c.ListBatchesWithResponse(t.Context(), &apiclient.ListBatchesParams{}); err != nil || list.JSON200 == nil {
		t.Errorf("%v %+v", err, list)
	}
	if canceled, err := c.CancelBatchWithResponse(t.Context(), run, &apiclient.CancelBatchParams{}); err != nil || canceled.JSON202 == nil {
		t.Errorf("%v %+v", err, canceled)
	}
	if err := temporal.TerminateWorkflow(t.Context(), batch.JSON202.Id, "", "no worker will come"); err != nil {
		t.Error(err)
	}
	if checked < 11 {
		t.Errorf("only %d calls were checked", checked)
	}
}
