package httpapi_test

import (
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"imageport/starter/startertest"
)

// TestThousandPolls has a thousand clients ask for jobs at the same time, twice
// each, and wait for the end of one.
func TestThousandPolls(t *testing.T) {
	const clients, jobs = 1000, 10
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	var ids []string
	image := s.image
	for i := range jobs {
		s.image = image + "-" + string(rune('a'+i))
		ids = append(ids, s.start(t, startertest.Works).ID)
	}
	for _, id := range ids {
		s.until(t, id, working)
	}
	tag := "unknown"
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	poll := func(path func(client int) string) (took time.Duration) {
		var group sync.WaitGroup
		begin := time.Now()
		for i := range clients {
			r := s.request(t, s.viewer, "GET", path(i), nil)
			group.Go(func() {
				answer, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer answer.Body.Close()
				if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
					t.Errorf("%d %v %s", answer.StatusCode, err, body)
				}
			})
		}
		group.Wait()
		return time.Since(begin)
	}
	for round := range 2 {
		took := poll(func(i int) string { return "/jobs/" + ids[i%jobs] })
		t.Logf("round %d: %d polls of %d jobs at the same time in %v: %.0f/s", round, clients, jobs, took.Round(time.Millisecond), clients/took.Seconds())
	}
	_, header, _ := s.call(t, s.viewer, "GET", "/jobs/"+ids[0], nil)
	tag = header.Get("ETag")
	time.AfterFunc(time.Second, func() {
		r := s.request(t, s.operator, "DELETE", "/jobs/"+ids[0], nil)
		if answer, err := s.Client().Do(r); err != nil {
			t.Error(err)
		} else {
			answer.Body.Close()
		}
	})
	took := poll(func(int) string { return "/jobs/" + ids[0] + "?wait=30s&after=" + tag[1:len(tag)-1] })
	t.Logf("%d long polls of one job, which is canceled after 1 s, have been answered after %v; %d goroutines", clients, took.Round(time.Millisecond), runtime.NumGoroutine())
	for _, id := range ids[1:] {
		s.call(t, s.operator, "DELETE", "/jobs/"+id, nil)
	}
}
