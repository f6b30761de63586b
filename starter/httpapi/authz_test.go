package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"imageport/job"
	"imageport/starter/httpapi"
	"imageport/starter/startertest"
)

// document is what the tests read in the OpenAPI document.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string                 `json:"operationId"`
		Security    *[]map[string][]string `json:"security"`
	} `json:"paths"`
}

// rights says who may call an operation: the status that each one gets.
type rights struct{ admin, operator, viewer, keeper, stranger int }

// TestWhoMayDoWhat calls every operation of the document as everybody. An
// operation that is not in the table fails the test.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue, batches)
	started, batch := s.start(t, startertest.Works), s.startBatch(t, "floor", startertest.Works, s.image+"-2")
	s.until(t, started.ID, working)
	batchPath := "/batches/" + url.PathEscape(batch.ID)
	jobPath := url.PathEscape(started.JobID)
	const ok, accepted, forbidden, notFound = http.StatusOK, http.StatusAccepted, http.StatusForbidden, http.StatusNotFound
	running := func(op string) (string, string, []byte, rights) {
		// The image has a running job: who may start one is told so.
		body := startertest.Body(s.queue, s.image, "out")
		switch op {
		case "reverseImage":
			body = []byte(strings.Replace(string(body), `"outputImageFilename": "out"`, `"outputDiskName": "out"`, 1))
		case "upgradePvs":
			body = []byte(strings.Replace(string(body), `"outputImageFilename"`, `"upgradeOptions": {"installPvs": "2311"}, "outputImageFilename"`, 1))
		}
		const conflict = http.StatusConflict
		return "POST", "/images/$" + op, body, rights{conflict, conflict, forbidden, forbidden, forbidden}
	}
	sees := rights{ok, ok, ok, notFound, notFound}
	credential := []byte(`{"id":"files","type":"UsernamePassword","username":"u","password":"p"}`)
	type call struct {
		method, path string
		body         []byte
		rights       rights
	}
	table := map[string]call{}
	for _, op := range []string{"reverseImage", "convertToUefi", "upgradePvs"} {
		method, path, body, r := running(op)
		table[op] = call{method, path, body, r}
	}
	all := rights{ok, ok, ok, ok, ok}
	table["listJobs"] = call{"GET", "/jobs", nil, all}
	table["getJob"] = call{"GET", "/jobs/" + jobPath, nil, sees}
	table["getJobResult"] = call{"GET", "/jobs/" + jobPath + "/result", nil, rights{409, 409, 409, notFound, notFound}}
	table["getJobLogs"] = call{"GET", "/jobs/" + jobPath + "/logs", nil, sees}
	table["watchJob"] = call{"GET", "/jobs/" + jobPath + "/events", nil, sees}
	table["cancelJob"] = call{"POST", "/jobs/" + jobPath + "/cancel", nil, rights{accepted, accepted, forbidden, notFound, notFound}}
	table["deleteJob"] = call{"DELETE", "/jobs/" + jobPath, nil, rights{accepted, accepted, forbidden, notFound, notFound}}
	table["startBatch"] = call{"POST", "/batches", startertest.BatchBody(s.queue, "floor", "out", s.image), rights{409, 409, forbidden, forbidden, forbidden}}
	table["listBatches"] = call{"GET", "/batches", nil, all}
	table["getBatch"] = call{"GET", batchPath, nil, sees}
	table["getBatchReport"] = call{"GET", batchPath + "/report", nil, sees}
	table["cancelBatch"] = call{"POST", batchPath + "/cancel", nil, rights{accepted, accepted, forbidden, notFound, notFound}}
	table["listCredentials"] = call{"GET", "/credentials", nil, rights{ok, forbidden, forbidden, ok, forbidden}}
	table["addCredential"] = call{"POST", "/credentials", credential, rights{http.StatusCreated, forbidden, forbidden, http.StatusConflict, forbidden}}
	table["putCredential"] = call{"PUT", "/credentials/files", credential, rights{ok, forbidden, forbidden, ok, forbidden}}
	table["removeCredential"] = call{"DELETE", "/credentials/files", nil, rights{204, forbidden, forbidden, notFound, forbidden}}
	table["status"] = call{"GET", "/status", nil, all}
	table["health"] = call{"GET", "/healthz", nil, all}
	table["ready"] = call{"GET", "/readyz", nil, all}

	var d document
	if err := json.Unmarshal(s.api.OpenAPI(), &d); err != nil {
		t.Fatal(err)
	}
	last := []string{"removeCredential", "cancelBatch", "cancelJob", "deleteJob"}
	var order []string
	for path, item := range d.Paths {
		for method, op := range item {
			c, ok := table[op.OperationID]
			if !ok {
				t.Errorf("%s %s (%s) is not in this test's table: say who may call it", method, path, op.OperationID)
				continue
			}
			public := op.Security != nil && len(*op.Security) == 0
			if isPublic := op.OperationID == "health" || op.OperationID == "ready"; public != isPublic {
				t.Errorf("%s: public is %v", op.OperationID, public)
			}
			for _, token := range []string{"", "x", "ipk_000000000000_AAAA", strings.ToUpper(s.admin), s.admin + "A", s.admin[:len(s.admin)-1], "a.b.c"} {
				for _, base := range []string{"", "/ips"} {
					status, header, body := s.call(t, token, c.method, base+c.path, c.body)
					if public {
						if status != http.StatusOK {
							t.Errorf("%s for %q: %d", op.OperationID, token, status)
						}
						continue
					}
					isProblem(t, fmt.Sprintf("%s for %q", op.OperationID, token), status, header, body, http.StatusUnauthorized, job.Unauthenticated)
					if header.Get("WWW-Authenticate") == "" {
						t.Errorf("%s: no challenge", op.OperationID)
					}
				}
			}
			if !slices.Contains(last, op.OperationID) {
				order = append(order, op.OperationID)
			}
		}
	}
	slices.Sort(order) // addCredential comes before putCredential
	for _, op := range append(order, last...) {
		c := table[op]
		for _, who := range []struct {
			name, token string
			want        int
		}{
			{"stranger", s.stranger, c.rights.stranger}, {"viewer", s.viewer, c.rights.viewer}, {"operator", s.operator, c.rights.operator},
			{"admin", s.admin, c.rights.admin}, {"keeper", s.keeper, c.rights.keeper},
		} {
			if op == "watchJob" && who.want == ok {
				r := s.request(t, who.token, c.method, c.path, nil)
				answer, err := s.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != who.want {
					t.Errorf("%s as %s: %d", op, who.name, answer.StatusCode)
				}
				continue
			}
			status, header, body := s.call(t, who.token, c.method, c.path, c.body)
			if status != who.want {
				t.Errorf("%s as %s: %d, want %d: %s", op, who.name, status, who.want, body)
			}
			if status >= 400 {
				p := isProblem(t, op+" as "+who.name, status, header, body, who.want, codeIn(body))
				if (who.name == "stranger" || who.name == "keeper") && (strings.Contains(string(body), started.RunID) || strings.Contains(string(body), batch.RunID)) {
					t.Errorf("%s tells %s of what there is: %s", op, who.name, p.Detail)
				}
			}
			if op == "listBatches" && strings.Contains(string(body), batch.RunID) != (who.name != "stranger" && who.name != "keeper") {
				t.Errorf("%s sees: %s", who.name, body)
			}
			if op == "listJobs" && strings.Contains(string(body), started.RunID) != (who.name != "stranger" && who.name != "keeper") {
				t.Errorf("%s sees: %s", who.name, body)
			}
		}
	}
	if log := s.log.String(); strings.Contains(log, s.admin) || strings.Contains(log, s.operator[20:]) {
		t.Error("the log has a token")
	}
}

func codeIn(body []byte) job.Code {
	var p httpapi.Problem
	_ = json.Unmarshal(body, &p) // isProblem tells
	return p.Code
}

func TestStrangersLearnNothingOfARunningJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start(t, startertest.Works) // without a worker
	// What there is is answered as what there is not.
	none := strings.Replace(first.JobID, s.image, "none", 1)
	for _, id := range []string{first.JobID, none} {
		for _, path := range []string{"/jobs/", "/batches/"} {
			status, header, body := s.call(t, s.stranger, "GET", path+url.PathEscape(id), nil)
			what := map[string]string{"/jobs/": "job", "/batches/": "batch"}[path]
			if p := isProblem(t, path+id, status, header, body, http.StatusNotFound, job.JobNotFound); p.Detail != fmt.Sprintf("there is no %s with the id %q", what, id) {
				t.Errorf("it tells: %s", body)
			}
		}
	}
	// The stranger may start jobs in his own location, on the same image.
	body := startertest.Body(strings.Replace(s.queue, "location", "other", 1), s.image, "out")
	status, header, answer := s.call(t, s.stranger, "POST", "/images/$convertToUefi", body, "Idempotency-Key: k")
	isProblem(t, "start", status, header, answer, http.StatusConflict, job.AlreadyRunning)
	if strings.Contains(string(answer), first.RunID) || strings.Contains(string(answer), s.queue) {
		t.Errorf("it tells: %s", answer)
	}
	if err := s.temporal.TerminateWorkflow(t.Context(), first.JobID, "", ""); err != nil {
		t.Fatal(err)
	}
}

func TestAuthorizationHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, tc := range []struct {
		values []string
		want   int
	}{
		{[]string{"Bearer " + s.viewer}, 200},
		{[]string{"bearer  " + s.viewer}, 200},
		{[]string{"CWSAuth bearer=" + s.viewer}, 200},
		{[]string{"CwsAuth Bearer=" + s.viewer}, 200},
		{[]string{"CWSAuth " + s.viewer}, 401},
		{[]string{"CWSAuth basic=" + s.viewer}, 401},
		{[]string{"Basic " + s.viewer}, 401},
		{[]string{s.viewer}, 401},
		{[]string{"Bearer"}, 401},
		{[]string{"Bearer " + s.viewer, "Bearer " + s.viewer}, 401},
		{nil, 401},
	} {
		r := s.request(t, "", "GET", "/status", nil, "Citrix-CustomerId: acme", "Accept: application/json")
		r.Header["Authorization"] = tc.values
		answer, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != tc.want {
			t.Errorf("%q: %d", tc.values, answer.StatusCode)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "customer=acme") || !strings.Contains(log, `principal="key viewer"`) || strings.Contains(log, s.viewer) {
		t.Errorf("log: %s", log)
	}
}

func TestOpenServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *httpapi.Config) { c.Auth, c.Open = nil, true })
	for _, tc := range []struct {
		host, origin string
		want         int
	}{
		{"localhost:8088", "", 202}, {"127.0.0.1", "", 202}, {"[::1]:8088", "", 202},
		{"evil.example", "", 403}, {"127.0.0.1.evil.example:8088", "", 403}, {"192.0.2.7", "", 403},
		{"127.0.0.1", "https://evil.example", 403},
	} {
		body := startertest.Body(s.queue, fmt.Sprintf("%s-%x", s.image, tc.host), "out")
		r := s.request(t, "", "POST", "/images/$convertToUefi", body)
		r.Host = tc.host
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		answer, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != tc.want {
			t.Errorf("%+v: %d", tc, answer.StatusCode)
		}
	}
}
