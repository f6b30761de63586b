package bootproof_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imageport/engine/bootproof"
	"imageport/engine/fusefile"
	"imageport/job"
)

// withQEMU puts a program of that text in the place of QEMU.
func withQEMU(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	if text == "" {
		t.Setenv("PATH", dir)
	}
}

func TestQEMUFails(t *testing.T) {
	disk := newImage(t, "", 512)
	for name, test := range map[string]struct {
		qemu string
		code job.Code
		says string
	}{
		"missing":            {"", job.ToolMissing, "apt install qemu-system-x86 ovmf"},
		"complains":          {"echo 'cannot set up guest memory' >&2; exit 1", job.ToolFailed, `exit status 1: it said "cannot set up guest memory"`},
		"complains a lot":    {"head -c 100000 /dev/zero | tr '\\0' x >&2; exit 2", job.ToolFailed, "exit status 2"},
		"ends":               {"exit 0", job.ToolFailed, "exit status 0: it said nothing"},
		"ends after a start": {"printf hello; printf '{\"QMP\": {}}\\n' >&3; exit 3", job.ToolFailed, "exit status 3"},
		"babbles":            {"printf hello; printf '{\"QMP\": {}}\\nbabble\\n' >&3; exec sleep 60", job.ToolFailed, "QEMU's monitor"},
		"says nothing to us": {"printf hello; exec 3>&-; sleep 2; kill -9 $$", job.ToolFailed, "killed"},
	} {
		t.Run(name, func(t *testing.T) {
			withQEMU(t, test.qemu)
			dir := t.TempDir()
			_, err := bootproof.Prove(t.Context(), disk, bootproof.Options{Dir: dir})
			if job.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) || len(err.Error()) > 2000 {
				t.Errorf("%v", err)
			}
			wantNothing(t, dir)
		})
	}
}

// A QEMU that never answers is ended with the context.
func TestQEMUHangs(t *testing.T) {
	disk := newImage(t, "", 512)
	withQEMU(t, "exec sleep 60")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := bootproof.Prove(ctx, disk, bootproof.Options{Dir: dir}); err != context.DeadlineExceeded {
		t.Error(err)
	}
	wantNothing(t, dir)
}

// A QEMU that somebody else kills is not the disk's fault.
func TestQEMUKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var once atomic.Bool
	disk := interrupted{newImage(t, "", 512), func() error {
		if machinesOf(t, dir) == 1 && !once.Swap(true) {
			go killMachine(t, dir)
		}
		return nil
	}}
	_, err := bootproof.Prove(t.Context(), disk, bootproof.Options{Dir: dir})
	if job.CodeOf(err) != job.ToolFailed || !strings.Contains(err.Error(), "signal: killed") {
		t.Error(err)
	}
	wantNothing(t, dir)
}

// killMachine kills the one that was started with a disk below dir, once its
// firmware runs.
func killMachine(t *testing.T, dir string) {
	time.Sleep(2 * time.Second)
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("file="+dir)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// workerVariable makes this test binary a worker that boots the disk that it
// names, in the directory that follows.
const workerVariable = "BOOTPROOF_TEST_WORKER"

func TestMain(m *testing.M) {
	path, dir, is := strings.Cut(os.Getenv(workerVariable), " ")
	if !is {
		os.Exit(m.Run())
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	info, err := f.Stat()
	if err != nil {
		panic(err)
	}
	_, err = bootproof.Prove(context.Background(), fileDisk{f, info.Size(), 512}, bootproof.Options{Dir: dir})
	panic(err)
}

// A worker that is killed takes QEMU along, and leaves nothing else but what is
// cleaned up by the next one.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	disk := newImage(t, "", 512)
	dir := t.TempDir()
	worker := exec.Command("/proc/self/exe")
	worker.Env = append(os.Environ(), workerVariable+"="+disk.Name()+" "+dir)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a machine, with its files opened", func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 1 && machinesOf(t, dir) == 1
	})
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	eventually(t, "no machine", func() bool { return machinesOf(t, dir) == 0 })
	if err := fusefile.CleanStale(dir); err != nil {
		t.Error(err)
	}
	wantNothing(t, dir)
}
