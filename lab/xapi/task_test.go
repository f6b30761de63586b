package xapi_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/lab/xapi"
)

func (s *site) named(name string) int {
	s.t.Helper()
	return len(s.refs("VM.get_by_name_label", name))
}

func TestCancelledClone(t *testing.T) {
	for name, c := range map[string]struct {
		lands  bool
		clones int
	}{"is not made": {false, 0}, "lands late": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, xapi.Config{})
			vm, _ := s.machine("x")
			s.Delay("VM.clone", 300*time.Millisecond)
			if c.lands {
				s.LandCancelled("VM.clone")
			}
			task := s.ref("Async.VM.clone", vm, "late")
			if ops := s.refs("task.get_allowed_operations", task); !slices.Equal(ops, []string{"cancel"}) {
				t.Errorf("allowed: %v", ops)
			}
			s.must(nil, "task.cancel", task)
			if got := s.await(task); got.Status != "cancelled" || got.Error[0] != "TASK_CANCELLED" {
				t.Errorf("%+v", got)
			}
			s.must(nil, "task.cancel", s.ref("task.create", "x", "")) // the other one is gone
			time.Sleep(600 * time.Millisecond)
			if n := s.named("late"); n != c.clones || len(s.VDIs()) != 1+c.clones {
				t.Errorf("%d clones, %d disks", n, len(s.VDIs()))
			}
		})
	}
}

func TestTasksThatCannotBeCancelled(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, _ := s.machine("x")
	s.must(nil, "VM.start", vm, false, false)
	s.Delay("VM.hard_shutdown", 100*time.Millisecond)
	task := s.ref("Async.VM.hard_shutdown", vm)
	s.must(nil, "task.cancel", task)
	if got := s.await(task); got.Status != "success" || got.Result != "" {
		t.Errorf("%+v", got)
	}
	s.refuses([]string{"HANDLE_INVALID", "task", task}, "task.cancel", task)
}

// A task that is destroyed does its work, and is gone then.
func TestDestroyedTask(t *testing.T) {
	s := start(t, xapi.Config{})
	vm, _ := s.machine("x")
	s.Delay("VM.clone", 100*time.Millisecond)
	task := s.ref("Async.VM.clone", vm, "copy")
	s.must(nil, "task.destroy", task)
	for end := time.Now().Add(10 * time.Second); len(s.Records("task")) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it stays")
		}
	}
	if s.named("copy") != 1 {
		t.Error("no copy")
	}
}

// imported is what an import is to be told.
func (s *site) imported(vdi string) (url.Values, string) {
	s.t.Helper()
	task := s.ref("task.create", "import", "")
	return url.Values{"session_id": {s.session}, "task_id": {task}, "vdi": {vdi}, "format": {"raw"}}, task
}

func TestImport(t *testing.T) {
	s := start(t, xapi.Config{})
	disk := s.vdi("a", 4*mib)
	s.write(disk, []byte("what was there"), 3*mib+100)
	image := append(pattern(2*mib), make([]byte, 2*mib)...)
	for name, by := range map[string]string{"by reference": disk, "by uuid": s.ref("VDI.get_uuid", disk)} {
		t.Run(name, func(t *testing.T) {
			q, task := s.imported(by)
			if status, _ := s.put(s.URL(), bytes.NewReader(image), q); status != http.StatusOK {
				t.Errorf("HTTP %d", status)
			}
			if got := s.await(task); got.Status != "success" || got.Result != "<value>"+disk+"</value>" {
				t.Errorf("%+v", got)
			}
			if !bytes.Equal(s.read(disk), image) {
				t.Error("another content")
			}
		})
	}
}

func TestImportsThatFail(t *testing.T) {
	s := start(t, xapi.Config{SupporterListen: "127.0.0.2:0"})
	used, busy := s.machine("x")
	s.must(nil, "VM.start", used, false, false)
	small := s.vdi("small", 2*mib)
	for name, c := range map[string]struct {
		vdi    string
		body   io.Reader
		change func(url.Values)
		status int
		code   []string
	}{
		// A reader whose length nobody knows is sent in chunks.
		"chunked": {small, io.MultiReader(bytes.NewReader(pattern(mib))), nil, http.StatusNotFound, []string{"INTERNAL_ERROR", "Cannot handle encoding: chunked"}},
		// It has said 200 by the time that it sees it.
		"too large":  {small, bytes.NewReader(pattern(3 * mib)), nil, http.StatusOK, []string{"VDI_IO_ERROR"}},
		"in use":     {busy, bytes.NewReader(pattern(mib)), nil, http.StatusOK, []string{"VDI_IN_USE"}},
		"no disk":    {"OpaqueRef:none", bytes.NewReader(pattern(mib)), nil, http.StatusBadRequest, []string{"INTERNAL_ERROR"}},
		"format":     {small, bytes.NewReader(pattern(mib)), func(q url.Values) { q.Set("format", "vhd") }, http.StatusNotFound, []string{"INTERNAL_ERROR"}},
		"own chunks": {small, bytes.NewReader(pattern(mib)), func(q url.Values) { q.Set("chunked", "true") }, http.StatusNotFound, []string{"INTERNAL_ERROR"}},
	} {
		t.Run(name, func(t *testing.T) {
			q, task := s.imported(c.vdi)
			if c.change != nil {
				c.change(q)
			}
			if status, _ := s.put(s.URL(), c.body, q); status != c.status && (status != 0 || c.status != http.StatusOK) {
				t.Errorf("HTTP %d, want %d", status, c.status)
			}
			if got := s.await(task); got.Status != "failure" || !slices.Equal(got.Error[:len(c.code)], c.code) {
				t.Errorf("%+v", got)
			}
		})
	}
	q, task := s.imported(small)
	q.Set("session_id", "OpaqueRef:none")
	if got, _ := s.put(s.URL(), bytes.NewReader(pattern(mib)), q); got != http.StatusUnauthorized {
		t.Errorf("HTTP %d without a session", got)
	}
	q.Set("session_id", s.session)
	s.Revoke(xapi.Import)
	if got, _ := s.put(s.URL(), bytes.NewReader(pattern(mib)), q); got != http.StatusForbidden {
		t.Errorf("HTTP %d without permission", got)
	}
	s.Grant(xapi.Import)
	status, location := s.put(supporter(s), bytes.NewReader(pattern(mib)), q)
	if status != http.StatusFound || !strings.HasPrefix(location, s.URL()+"/import_raw_vdi?") {
		t.Errorf("HTTP %d to %q", status, location)
	}
	if got := s.ref("task.get_status", task); got != "pending" {
		t.Errorf("the task is %s", got)
	}
	s.Inject(xapi.Import, 1, "SR_FULL", "1", "0")
	s.put(s.URL(), bytes.NewReader(pattern(mib)), q)
	if got := s.await(task); got.Error[0] != "SR_FULL" {
		t.Errorf("%+v", got)
	}
}

func TestImportWithPassword(t *testing.T) {
	s := start(t, xapi.Config{})
	disk := s.vdi("a", 4*mib)
	before := len(s.Records("session"))
	for password, status := range map[string]int{s.Password(): http.StatusOK, "guess": http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL()+"/import_raw_vdi?vdi="+url.QueryEscape(disk), bytes.NewReader(pattern(mib)))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(s.Username(), password)
		res, err := s.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != status {
			t.Errorf("HTTP %d, %v", res.StatusCode, err)
		}
		_ = res.Body.Close()
	}
	if !bytes.Equal(s.read(disk)[:mib], pattern(mib)) {
		t.Error("another content")
	}
	if n := len(s.Records("session")); n != before {
		t.Errorf("%d sessions, %d before", n, before)
	}
	s.Hook(func(c xapi.Call) bool { return c.Method != xapi.Import })
	if status, _ := s.put(s.URL(), bytes.NewReader(pattern(mib)), url.Values{"session_id": {s.session}, "vdi": {disk}}); status != 0 {
		t.Errorf("HTTP %d of one that was cut off", status)
	}
}

// slow is an upload that goes on only when it is told to.
func (s *site) slow(vdi string, size int64) (w *io.PipeWriter, task string, ended chan struct{}) {
	s.t.Helper()
	q, task := s.imported(vdi)
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.URL()+"/import_raw_vdi?"+q.Encode(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	req.ContentLength = size
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		if res, err := s.http.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}()
	if _, err := w.Write(pattern(mib)); err != nil {
		s.t.Fatal(err)
	}
	return w, task, ended
}

func TestImportThatIsCutOff(t *testing.T) {
	s := start(t, xapi.Config{})
	disk := s.vdi("a", 4*mib)
	w, task, ended := s.slow(disk, 4*mib)
	for progress := 0.0; progress == 0; time.Sleep(time.Millisecond) {
		s.must(&progress, "task.get_progress", task)
	}
	s.refuses([]string{"VDI_IN_USE", disk, "destroy"}, "VDI.destroy", disk)
	_ = w.CloseWithError(io.ErrUnexpectedEOF)
	<-ended
	if got := s.await(task); got.Status != "failure" || got.Error[0] != "VDI_IO_ERROR" {
		t.Errorf("%+v", got)
	}
	s.must(nil, "VDI.destroy", disk)
}

func TestImportThatIsCancelled(t *testing.T) {
	s := start(t, xapi.Config{})
	w, task, ended := s.slow(s.vdi("a", 64*mib), 64*mib)
	s.must(nil, "task.cancel", task)
	for range 63 {
		if _, err := w.Write(pattern(mib)); err != nil {
			break // it has hung up
		}
	}
	_ = w.Close()
	<-ended
	if got := s.await(task); got.Status != "cancelled" {
		t.Errorf("%+v", got)
	}
}

func TestCloseDuringImport(t *testing.T) {
	s := start(t, xapi.Config{})
	w, _, ended := s.slow(s.vdi("a", 4*mib), 4*mib)
	s.Close()
	_ = w.Close()
	<-ended
}
