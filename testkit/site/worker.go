package site

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Worker is a worker of the site: a process.
type Worker struct {
	cmd    *exec.Cmd
	exited chan struct{}
	log    *os.File
}

// StartWorker runs `imageport worker` until Stop or Kill, and waits until it
// serves. Its log goes to worker.log.
func (s *Site) StartWorker(ctx context.Context) (*Worker, error) {
	log, err := os.OpenFile(filepath.Join(s.Dir, "worker.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Worker{cmd: s.Command(context.Background(), "worker"), exited: make(chan struct{}), log: log}
	// In a group of its own: ^C of a terminal ends it by Stop, after its jobs.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	w.cmd.Stdout = log
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		log.Close()
		return nil, err
	}
	started, serving := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig means the death of the thread that started the process.
		runtime.LockOSThread()
		defer close(w.exited)
		defer log.Close()
		err := w.cmd.Start()
		if started <- err; err != nil {
			return
		}
		lines := bufio.NewReader(stderr)
		for told := false; ; {
			line, err := lines.ReadString('\n')
			io.WriteString(log, line)
			if !told && strings.Contains(line, "Started Worker") {
				told = true
				close(serving)
			}
			if err != nil {
				break
			}
		}
		_ = w.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	select {
	case <-serving:
		return w, nil
	case <-w.exited:
		return nil, fmt.Errorf("the worker ended (%s): see %s", w.cmd.ProcessState, log.Name())
	case <-ctx.Done():
		w.Kill()
		return nil, ctx.Err()
	}
}

// Kill ends the worker at once, as a crash would.
func (w *Worker) Kill() {
	_ = w.cmd.Process.Kill() // it may be gone
	<-w.exited
}

// Stop ends the worker in order, or after a while by force.
func (w *Worker) Stop() {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.exited:
	case <-time.After(20 * time.Second):
		w.Kill()
	}
}
