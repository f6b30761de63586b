package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// KillPatience is how long the output of a program that was killed is waited for:
// what it has started may hold that open.
const KillPatience = 5 * time.Second

// Environment is that of the programs: what they say is understood in English.
func Environment() []string { return []string{"LC_ALL=C"} }

// Find gives the path of a program: the one of the PATH, or of the first of the
// directories that has it. The error is that of the last place.
func Find(name string, dirs ...string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range dirs {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// Running is a program at work.
type Running struct {
	process *os.Process
	ended   chan struct{}
	err     error
}

// Start starts a program, whose end is then waited for. If this process ends
// first, the kernel sends it the signal.
func Start(cmd *exec.Cmd, last syscall.Signal) (*Running, error) {
	r := &Running{ended: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: last}
	started := make(chan error)
	// The kernel takes the end of the thread that has started the program for that
	// of the process: one has to stay.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		r.process = cmd.Process
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return r, nil
}

// Ended is closed when the program has ended.
func (r *Running) Ended() <-chan struct{} { return r.ended }

// Wait waits for the end, and gives what exec.Cmd.Wait does.
func (r *Running) Wait() error {
	<-r.ended
	return r.err
}

// Signal sends the program a signal. That it has ended is no error.
func (r *Running) Signal(s os.Signal) {
	_ = r.process.Signal(s) // which fails only for one that has ended
}

// Tail keeps the last bytes that are written to it. It serves several writers.
type Tail struct {
	// Max is how many bytes it keeps.
	Max int

	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer. It takes everything.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p[max(0, len(p)-t.Max):]...)
	t.kept = t.kept[max(0, len(t.kept)-t.Max):]
	return len(p), nil
}

func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
