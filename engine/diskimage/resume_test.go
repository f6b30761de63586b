package diskimage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/job"
)

// resumable is an output that can be gone on with.
func resumable(t testing.TB, dir string) diskimage.Output {
	t.Helper()
	out := output(t, dir, "out.raw", chain.Raw, "")
	folder, err := diskimage.LocalFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	out.Store, out.Resume, out.SHA256, out.CheckpointEvery = folder, true, true, mib
	return out
}

// source is a chain of 24 MiB with data all over it.
func source(t testing.TB) (dir, name string) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir, "base.raw", append(noise(20*mib, 1), make([]byte, 4*mib)...))
	raw := input(t, dir, "base.raw")
	raw.Raw = true
	if _, err := diskimage.Convert(t.Context(), open(t, raw), output(t, dir, "base.vhdx", chain.VHDX, ""), silent); err != nil {
		t.Fatal(err)
	}
	return dir, "base.vhdx"
}

// envKilled has TestKilled play the process that is killed.
const envKilled = "IMAGEPORT_TEST_KILLED"

// TestKilled kills a process in the middle of a copy, again and again, until
// one gets through.
func TestKilled(t *testing.T) {
	if where := os.Getenv(envKilled); where != "" {
		convertUntilKilled(t, where)
		return
	}
	dir, name := source(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for try := range 3 {
		cmd := exec.Command(self, "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", envKilled, dir, name, (try+1)*6*mib))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		if _, err := os.Stat(filepath.Join(dir, "out.raw")); err == nil {
			t.Fatal("incomplete, and has its name")
		}
		var state struct {
			Copy struct {
				Done string `json:"done"`
			} `json:"copy"`
		}
		data, err := os.ReadFile(filepath.Join(dir, "out.raw.resume.json"))
		if errors.Is(err, os.ErrNotExist) { // killed in the moment between two
			data, err = os.ReadFile(filepath.Join(dir, "out.raw.resume.new"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &state); err != nil || state.Copy.Done == "" {
			t.Errorf("%s, %v", data, err)
		}
	}
	c := open(t, input(t, dir, name))
	made, err := diskimage.Convert(t.Context(), c, resumable(t, dir), silent)
	if err != nil {
		t.Fatal(err)
	}
	if resumed := made.ResumedBytes; resumed < mib || made.ReadBytes > c.Size()-resumed {
		t.Errorf("%+v", made)
	}
	want := read(t, filepath.Join(dir, "base.raw"))
	if !bytes.Equal(read(t, filepath.Join(dir, "out.raw")), want) {
		t.Error("the copy differs")
	}
	if sum := sha256.Sum256(want); made.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("SHA-256 %s, want %x", made.SHA256, sum)
	}
	plain, err := diskimage.Convert(t.Context(), c, output(t, dir, "plain.raw", chain.Raw, ""), silent)
	if err != nil || plain.CRC32C != made.CRC32C {
		t.Errorf("%+v, %v", plain, err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"base.raw", "base.vhdx", "out.raw", "plain.raw"}) {
		t.Errorf("left %q", got)
	}
}

// convertUntilKilled converts until so many bytes are done, says so, and waits
// for its end.
func convertUntilKilled(t *testing.T, where string) {
	var dir, name string
	var enough int64
	if _, err := fmt.Sscan(where, &dir, &name, &enough); err != nil {
		t.Fatal(err)
	}
	_, err := diskimage.Convert(t.Context(), open(t, input(t, dir, name)), resumable(t, dir), func(done, _ int64) {
		time.Sleep(time.Millisecond)
		if done >= enough {
			waitForCheckpoint(dir)
			fmt.Println("killed here")
			select {}
		}
	})
	t.Error("not killed", err)
}

// waitForCheckpoint returns when the state has something that is done.
func waitForCheckpoint(dir string) {
	for {
		state, err := os.ReadFile(filepath.Join(dir, "out.raw.resume.json"))
		if err == nil && !bytes.Contains(state, []byte(`"done":""`)) && bytes.Contains(state, []byte(`"done"`)) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// interrupt begins a conversion and cancels it in the middle.
func interrupt(t *testing.T, dir, name string, out diskimage.Output) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := diskimage.Convert(ctx, open(t, input(t, dir, name)), out, func(done, _ int64) {
		if done > 10*mib {
			waitForCheckpoint(dir)
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "out.raw.resume.partial has what is done") {
		t.Errorf("%v", err)
	}
}

func TestResumeRefusals(t *testing.T) {
	image, name := source(t)
	for _, x := range []struct {
		what   string
		code   job.Code
		says   string
		change func(dir string, out *diskimage.Output)
	}{
		{"changed", job.SourceChanged, "base.vhdx", func(dir string, _ *diskimage.Output) {
			_ = os.Chtimes(filepath.Join(dir, name), created, created)
		}},
		{"other options", job.OutputExists, "other options", func(_ string, out *diskimage.Output) { out.SHA256 = false }},
		{"used only", job.OutputExists, "other options", func(_ string, out *diskimage.Output) { out.UsedOnly = true }},
		{"state lost", job.OutputExists, "its state out.raw.resume.json is not beside it", func(dir string, _ *diskimage.Output) {
			_ = os.Remove(filepath.Join(dir, "out.raw.resume.json"))
		}},
		{"state damaged", job.OutputExists, "its state", func(dir string, _ *diskimage.Output) {
			write(t, dir, "out.raw.resume.json", []byte(`{"version":1,`))
		}},
		{"state of another version", job.OutputExists, "another version", func(dir string, _ *diskimage.Output) {
			write(t, dir, "out.raw.resume.json", []byte(`{"version":99}`))
		}},
		{"truncated", job.OutputExists, "it has 1000 bytes", func(dir string, _ *diskimage.Output) {
			_ = os.Truncate(filepath.Join(dir, "out.raw.resume.partial"), 1000)
		}},
		{"not raw", job.BadRequest, "cannot be resumed", func(_ string, out *diskimage.Output) {
			out.Name, out.Format.Container = "out.vhdx", chain.VHDX
		}},
		{"folder that cannot", job.BadRequest, "cannot be resumed", func(_ string, out *diskimage.Output) {
			out.Store = struct{ share.Store }{out.Store}
		}},
	} {
		t.Run(x.what, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, name, read(t, filepath.Join(image, name)))
			out := resumable(t, dir)
			interrupt(t, dir, name, out)
			x.change(dir, &out)
			before := names(t, dir)
			_, err := diskimage.Convert(t.Context(), open(t, input(t, dir, name)), out, silent)
			if job.CodeOf(err) != x.code || !strings.Contains(err.Error(), x.says) {
				t.Error(err)
			}
			if got := names(t, dir); !slices.Equal(got, before) {
				t.Errorf("left %q of %q", got, before)
			}
		})
	}
}

// TestResumeStates goes on from what the moments between two steps leave.
func TestResumeStates(t *testing.T) {
	image, name := source(t)
	want := read(t, filepath.Join(image, "base.raw"))
	for what, change := range map[string]func(dir string){
		"nothing": func(string) {},
		"state about to be replaced": func(dir string) {
			_ = os.Rename(filepath.Join(dir, "out.raw.resume.json"), filepath.Join(dir, "out.raw.resume.new"))
		},
		"new state half written": func(dir string) { write(t, dir, "out.raw.resume.new", []byte(`{"ver`)) },
		"partial output gone":    func(dir string) { _ = os.Remove(filepath.Join(dir, "out.raw.resume.partial")) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Link(filepath.Join(image, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			out := resumable(t, dir)
			interrupt(t, dir, name, out)
			change(dir)
			write(t, dir, "out.raw", []byte("old"))
			out.Replace = true
			made, err := diskimage.Convert(t.Context(), open(t, input(t, dir, name)), out, silent)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, filepath.Join(dir, "out.raw")), want) {
				t.Error("the copy differs")
			}
			if again := what == "partial output gone"; again != (made.ResumedBytes == 0) {
				t.Errorf("%+v", made)
			}
			if got := names(t, dir); !slices.Equal(got, []string{name, "out.raw"}) {
				t.Errorf("left %q", got)
			}
		})
	}
}

// TestResumedTwice: a partial output has one writer at a time, and it ends
// with its source.
func TestResumedTwice(t *testing.T) {
	dir, name := source(t)
	c := open(t, input(t, dir, name))
	var second error
	once := false
	_, err := diskimage.Convert(t.Context(), c, resumable(t, dir), func(int64, int64) {
		if !once {
			once = true
			_, second = diskimage.Convert(t.Context(), c, resumable(t, dir), silent)
			_ = os.Chtimes(filepath.Join(dir, name), created, created)
		}
	})
	if job.CodeOf(second) != job.OutputInUse {
		t.Errorf("the second one: %v", second)
	}
	if job.CodeOf(err) != job.SourceChanged {
		t.Errorf("the first one: %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"base.raw", "base.vhdx"}) {
		t.Errorf("left %q", got)
	}
}
