package workflows

import (
	"compress/gzip"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"
)

// Jobs that an earlier release has begun go on with this one: its workflows
// replay the recorded histories of every release. testkit/e2e records them.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/replay/*/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 4 {
		t.Fatalf("only %d recorded histories", len(files))
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			r := worker.NewWorkflowReplayer()
			Register(r)
			if err := r.ReplayWorkflowHistory(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), readHistory(t, file)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A replay that cannot fail would prove nothing: with an activity taken out of
// the history, or another one in its place, it does.
func TestReplayNoticesAChange(t *testing.T) {
	files, err := filepath.Glob("testdata/replay/*/completed.json.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no recorded history of a completed job: ", err)
	}
	h := readHistory(t, files[0])
	for _, e := range h.Events {
		if a := e.GetActivityTaskScheduledEventAttributes(); a.GetActivityType().GetName() == "Publish" {
			a.ActivityType.Name = "Compose"
		}
	}
	r := worker.NewWorkflowReplayer()
	Register(r)
	if err := r.ReplayWorkflowHistory(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), h); err == nil {
		t.Error("a history with another activity was replayed")
	}
}

func readHistory(t *testing.T, file string) *historypb.History {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	h := new(historypb.History)
	if err := protojson.Unmarshal(b, h); err != nil {
		t.Fatal(err)
	}
	return h
}
