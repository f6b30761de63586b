package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/starter/httpapi"
	"imageport/starter/startertest"
)

// event is a server-sent event; a comment has the name ":".
type event struct {
	name, id string
	job      httpapi.Job
}

// listen opens the stream of a job behind the event with the id last.
func (s *site) listen(t *testing.T, base, id, last string) (status int, events <-chan event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := s.request(t, s.viewer, "GET", "/jobs/"+id+"/events", nil).WithContext(ctx)
	if base != "" {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Host = u.Host
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	c := make(chan event, 100)
	go func() {
		defer close(c)
		defer answer.Body.Close()
		var e event
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "":
				if lines.Text() != "" { // a comment
					c <- event{name: ":"}
				} else if e.name != "" {
					c <- e
				}
				e = event{}
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				_ = json.Unmarshal([]byte(value), &e.job) // the test sees that it is empty
			}
		}
	}()
	t.Cleanup(cancel)
	return answer.StatusCode, c, cancel
}

// take waits for an event that is so, and gives it and the names of all before.
func take(t *testing.T, events <-chan event, ok func(event) bool) (event, []string) {
	t.Helper()
	var before []string
	for late := time.After(30 * time.Second); ; {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream has ended, after %q", before)
			}
			if ok(e) {
				return e, before
			}
			before = append(before, e.name)
		case <-late:
			t.Fatalf("no such event, after %q", before)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(u)) // it flushes event streams at once
	t.Cleanup(proxy.Close)
	for _, base := range []string{"", proxy.URL} {
		status, events, stop := s.listen(t, base, started.ID, "")
		if status != http.StatusOK {
			t.Fatal(status)
		}
		seen, _ := take(t, events, func(e event) bool { return e.name == "status" && working(e.job) })
		if seen.id == "" || seen.job.ID != started.ID {
			t.Errorf("%+v", seen)
		}
		take(t, events, func(e event) bool { return e.name == ":" }) // nothing happens, and it is alive
		stop()
		// What was seen does not come again.
		_, events, stop = s.listen(t, base, started.ID, seen.id)
		_, before := take(t, events, func(e event) bool { return e.name == ":" })
		if len(before) != 0 {
			t.Errorf("again: %q", before)
		}
		stop()
	}
	_, events, _ := s.listen(t, proxy.URL, url.PathEscape(started.JobID), "")
	take(t, events, func(e event) bool { return working(e.job) })
	if status, _, body := s.call(t, s.operator, "DELETE", "/jobs/"+started.ID, nil); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	last, _ := take(t, events, func(e event) bool { return e.job.State == job.StateCanceled })
	for e := range events {
		t.Errorf("after the end: %+v", e)
	}
	if status, events, _ := s.listen(t, "", started.ID, last.id); status != http.StatusNoContent {
		t.Errorf("behind the last event: %d %v", status, <-events)
	}
	if status, events, _ := s.listen(t, "", started.ID, "unknown"); status != http.StatusOK {
		t.Errorf("anew: %d", status)
	} else if e := <-events; e.id != last.id {
		t.Errorf("anew: %+v", e)
	}
}

// A stream ends by itself, so that a token that is not good any more is noticed.
func TestStreamsDoNotLastForEver(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *httpapi.Config) { c.StreamFor = time.Second })
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	last := ""
	for range 2 {
		status, events, _ := s.listen(t, "", started.ID, last)
		if status != http.StatusOK {
			t.Fatal(status)
		}
		for e := range events {
			switch {
			case e.name == "problem" || last != "" && e.id == last:
				t.Errorf("%+v behind %q", e, last)
			case e.id != "":
				last = e.id
			}
		}
	}
	if status, _, body := s.call(t, s.operator, "DELETE", "/jobs/"+started.ID, nil); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
}

func TestLongPoll(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	s.until(t, started.ID, working)
	_, header, _ := s.call(t, s.viewer, "GET", "/jobs/"+started.ID, nil)
	tag := header.Get("ETag")
	begin := time.Now()
	status, header, _ := s.call(t, s.viewer, "GET", "/jobs/"+started.ID+"?wait=1s&after="+url.QueryEscape(tag), nil)
	if took := time.Since(begin); status != http.StatusOK || header.Get("ETag") != tag || took < time.Second || took > 10*time.Second {
		t.Errorf("%d %v after %v", status, header, took)
	}
	status, _, body := s.call(t, s.viewer, "GET", "/jobs/"+started.ID+"?wait=200ms", nil, "If-None-Match: "+tag)
	if status != http.StatusNotModified || len(body) != 0 {
		t.Errorf("%d %q", status, body)
	}
	if status, _, _ = s.call(t, s.viewer, "GET", "/jobs/"+started.ID, nil, "If-None-Match: "+tag); status != http.StatusNotModified {
		t.Errorf("without waiting: %d", status)
	}
	changed := make(chan httpapi.Job)
	go func() {
		defer close(changed)
		for state := job.StateRunning; state == job.StateRunning; {
			status, header, body := s.call(t, s.viewer, "GET", "/jobs/"+started.ID+"?wait=60&after="+url.QueryEscape(tag), nil)
			var j httpapi.Job
			if err := json.Unmarshal(body, &j); err != nil || status != http.StatusOK || header.Get("ETag") == tag {
				t.Errorf("%d %v %s", status, header, body)
				return
			}
			tag, state = header.Get("ETag"), j.State
			changed <- j
		}
	}()
	if status, _, body := s.call(t, s.operator, "POST", "/jobs/"+started.ID+"/cancel", nil); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	var last httpapi.Job
	for last = range changed {
	}
	if last.State != job.StateCanceled {
		t.Errorf("%+v", last)
	}
	// Nothing more will come: no need to wait.
	begin = time.Now()
	if status, _, _ = s.call(t, s.viewer, "GET", "/jobs/"+started.ID+"?wait=30s&after="+url.QueryEscape(tag), nil); status != http.StatusOK || time.Since(begin) > 10*time.Second {
		t.Errorf("%d after %v", status, time.Since(begin))
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	_, events, _ := s.listen(t, "", started.ID, "")
	seen, _ := take(t, events, func(e event) bool { return working(e.job) })
	s.api.Close() // as when the program is stopped
	take(t, events, func(e event) bool { return e.name == "problem" })
	for e := range events {
		t.Errorf("after the end: %+v", e)
	}
	s.open(t) // which knows nothing of before
	_, events, _ = s.listen(t, "", started.ID, seen.id)
	if e := <-events; e.name != ":" {
		t.Errorf("what was seen comes again: %+v", e)
	}
	if status, _, body := s.call(t, s.operator, "DELETE", "/jobs/"+started.ID, nil); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	take(t, events, func(e event) bool { return e.job.State == job.StateCanceled })
}
