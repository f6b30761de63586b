package devserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"imageport/job/durable"
)

// Namespace is the namespace that the server comes with.
const Namespace = "default"

// EnvProgram names the environment variable that holds the path of the
// Temporal CLI, where it is not bin/temporal of the module.
const EnvProgram = "IMAGEPORT_TEMPORAL"

// Options say how to run a server. The zero value is an in-memory server on a
// free port without a Web UI.
type Options struct {
	Port   int    // 0 is a free one
	UIPort int    // 0 is no Web UI, AnyPort a free one
	DBFile string // "" keeps everything in memory
	// Bare leaves out the search attributes of package durable, as a new
	// namespace does.
	Bare bool
	// Program is the Temporal CLI, by default what Program finds.
	Program string
}

// AnyPort stands for a free port where 0 means none.
const AnyPort = -1

// Server is a running dev server.
type Server struct {
	// Address is the host:port of its gRPC frontend.
	Address string
	// UI is the address of the Web UI, "" where there is none.
	UI string

	client  client.Client
	process *os.Process
	exited  chan struct{} // closed when the process is gone
	exitErr error         // why; valid once exited is closed
	output  *tail
}

// stopGrace is how long the server may take to end on its own.
const stopGrace = 5 * time.Second

// quicker lifts the dev server's default pace, which makes every step of a
// workflow wait for a 50 ms tick.
var quicker = []string{
	"history.transferProcessorMaxPollRPS=1000",
	"history.timerProcessorMaxPollRPS=1000",
	"system.enableActivityEagerExecution=true",
}

// tries is how often a server is started that finds one of its ports taken:
// between a look for a free port and its use, here and in the server's choice
// of ports for its own services, another process may be given it.
const tries = 4

// Run starts a server and waits until it answers. The context bounds the
// start only; Stop ends the server.
func Run(ctx context.Context, o Options) (*Server, error) {
	if o.Program == "" {
		program, err := Program()
		if err != nil {
			return nil, err
		}
		o.Program = program
	}
	for try := 1; ; try++ {
		s, err := run(ctx, o)
		if errors.Is(err, errPortTaken) && try < tries {
			continue
		}
		return s, err
	}
}

var errPortTaken = errors.New("a port is taken")

func run(ctx context.Context, o Options) (*Server, error) {
	if o.Port == 0 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		o.Port = port
	}
	if o.UIPort == AnyPort {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		o.UIPort = port
	}
	s := &Server{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)),
		exited:  make(chan struct{}),
		output:  new(tail),
	}
	if o.UIPort != 0 {
		s.UI = fmt.Sprintf("http://127.0.0.1:%d", o.UIPort)
	}
	if err := s.start(o); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Program, err)
	}
	if err := s.ready(ctx); err != nil {
		_ = s.Stop() // it failed to start: how it ends is of no interest
		output := s.output.String()
		if strings.Contains(output, syscall.EADDRINUSE.Error()) {
			err = fmt.Errorf("%w: %w", errPortTaken, err)
		}
		return nil, fmt.Errorf("dev server at %s: %w\n%s", s.Address, err, output)
	}
	return s, nil
}

func arguments(o Options) []string {
	args := []string{"server", "start-dev",
		"--ip", "127.0.0.1", "--port", strconv.Itoa(o.Port),
		"--namespace", Namespace, "--log-level", "error"}
	if o.UIPort == 0 {
		args = append(args, "--headless")
	} else {
		args = append(args, "--ui-port", strconv.Itoa(o.UIPort))
	}
	if o.DBFile != "" {
		args = append(args, "--db-filename", o.DBFile)
	}
	for _, setting := range quicker {
		args = append(args, "--dynamic-config-value", setting)
	}
	if !o.Bare {
		for _, name := range durable.SearchAttributes() {
			args = append(args, "--search-attribute", name+"=Keyword")
		}
	}
	return args
}

// start starts the process.
func (s *Server) start(o Options) error {
	cmd := exec.Command(o.Program, arguments(o)...)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // ^C is for whoever stops it
		Pdeathsig: syscall.SIGKILL,
	}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread that forked ends, and threads
		// end before their process does. So this one is kept for as long.
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			s.process = cmd.Process
		}
		started <- err
		if err != nil {
			return
		}
		s.exitErr = cmd.Wait()
		close(s.exited)
	}()
	return <-started
}

// ready connects to the server as soon as it answers.
func (s *Server) ready(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		c, err := client.DialContext(attempt, client.Options{HostPort: s.Address, Namespace: Namespace, Logger: quiet{}})
		if err == nil {
			_, err = c.WorkflowService().DescribeNamespace(attempt, describeNamespace)
			if err != nil {
				c.Close()
			}
		}
		cancel()
		if err == nil {
			s.client = c
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended at once: %w", errors.Join(s.exitErr, err))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Client gives a client of the server. It ends with the server.
func (s *Server) Client() client.Client { return s.client }

// Exited is closed when the server has ended, for whatever reason.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Kill ends the server as a power cut would. Its client stays, and goes on with a
// server that is run at the same port.
func (s *Server) Kill() error {
	if err := s.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the Temporal dev server: %w", err)
	}
	<-s.exited
	return nil
}

// Stop ends the server and returns when its process is gone. It may be called
// again.
func (s *Server) Stop() error {
	if s.client != nil {
		s.client.Close()
	}
	if err := s.process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the Temporal dev server: %w", err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopGrace):
	}
	if err := s.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the Temporal dev server: %w", err)
	}
	<-s.exited
	return nil
}

// Program finds the Temporal CLI: the value of EnvProgram, or bin/temporal in
// the module that the working directory belongs to.
func Program() (string, error) {
	if path := os.Getenv(EnvProgram); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", EnvProgram, err)
		}
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			path := filepath.Join(dir, "bin", "temporal")
			if _, err := os.Stat(path); err != nil {
				return "", fmt.Errorf("no Temporal CLI (%w): run make tools", err)
			}
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no Temporal CLI: set %s, or run inside the module", EnvProgram)
		}
		dir = parent
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if over := len(t.last) - tailBytes; over > 0 {
		t.last = t.last[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}

// quiet is the log of the server's own client: its failures are returned.
type quiet struct{}

var _ log.Logger = quiet{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
