package samba

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"imageport/testkit/port"
)

// DefaultShare is the share that a server has if none are given.
const DefaultShare = "disks"

// Options say how to run a server. The zero value gives one share on a free port.
type Options struct {
	// Dir is for what the server keeps. It is created, and must be short: the
	// server puts Unix sockets there. Empty is a temporary directory, removed by
	// Stop.
	Dir string
	// Shares are the directories to serve, by share name. Nil is one,
	// DefaultShare, at Dir/disks.
	Shares map[string]string
	// ReadOnly names the shares that refuse writes.
	ReadOnly []string
	// Closed names the shares that let nobody in.
	Closed []string
	// As says, by share name, as which user of the machine to serve the files
	// instead of the one that runs this process.
	As map[string]string
	// Protocol is the only dialect to speak, by smbd's name for it: "SMB2_10".
	// Empty is what smbd speaks by default.
	Protocol string
	// Signing is smbd's "server signing": "mandatory", or empty for its default.
	Signing string
	// Encrypt refuses clients that do not encrypt.
	Encrypt bool
	// Port is the TCP port. 0 is a free one.
	Port int
	// Log gets the server's log when it has stopped. Nil drops it.
	Log io.Writer
}

// Domain is a domain as a client may name it. The server knows the user by
// itself, with any domain apart from it, and as user@Domain.
const Domain = "testkit.example"

// Server is a running smbd.
type Server struct {
	Host     string // 127.0.0.1
	Port     int
	Username string
	Password string
	Shares   map[string]string // directories by share name

	dir       string
	temporary bool
	log       io.Writer
	port      *port.Port
	cmd       *exec.Cmd
	leash     io.Closer // smbd ends when this does
	exited    chan struct{}
	stop      sync.Once
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// New runs a server for a test. Only the first of opts counts.
func New(t testing.TB, opts ...Options) *Server {
	t.Helper()
	var opt Options
	if len(opts) > 0 {
		opt = opts[0]
	}
	s, err := Start(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Start runs a server until Stop. The context is for starting only.
func Start(ctx context.Context, opt Options) (*Server, error) {
	s := &Server{
		Host:     "127.0.0.1",
		Username: "imageport",
		Password: rand.Text(),
		Shares:   maps.Clone(opt.Shares),
		dir:      opt.Dir,
		log:      opt.Log,
	}
	if err := s.start(ctx, opt); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start samba: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, opt Options) error {
	var err error
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "smbd"); err != nil {
			return err
		}
		s.temporary = true
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if s.Shares == nil {
		s.Shares = map[string]string{DefaultShare: filepath.Join(s.dir, DefaultShare)}
		if err := os.MkdirAll(s.Shares[DefaultShare], 0o755); err != nil {
			return err
		}
	}
	if s.port, err = port.Reserve(s.Host, opt.Port); err != nil {
		return err
	}
	s.Port = s.port.Number
	if err := s.prepare(ctx, opt); err != nil {
		return err
	}
	return s.run(ctx)
}

// prepare makes the directories and the one user. The user of the protocol is
// mapped to the user of this process, so that no account needs to be made.
func (s *Server) prepare(ctx context.Context, opt Options) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	for _, d := range []string{"private", "lock", "state", "cache"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.file("users"), fmt.Appendf(nil, "%s = %s %[2]s@%s\n", me.Username, s.Username, Domain), 0o600); err != nil {
		return err
	}
	if err := s.configure(opt); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "smbpasswd", "-c", s.file("smb.conf"), "-a", "-s", me.Username)
	cmd.Stdin = strings.NewReader(s.Password + "\n" + s.Password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("smbpasswd: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// Stop ends the server. It may be called more than once.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.kill()
		if s.port != nil {
			s.port.Release()
		}
		if s.log != nil {
			if log, err := os.ReadFile(s.file("smbd.log")); err == nil {
				_, _ = s.log.Write(log)
			}
		}
		if s.temporary {
			_ = os.RemoveAll(s.dir)
		}
	})
}

// lastLog is the end of the log, for errors.
func (s *Server) lastLog() string {
	log, err := os.ReadFile(s.file("smbd.log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
