package deploytest

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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// Load reads docker-compose.yml in the directory root, with these variables.
func Load(ctx context.Context, root string, env ...string) (*types.Project, error) {
	o, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithWorkingDirectory(root), cli.WithEnv(env), cli.WithInterpolation(true), cli.WithConsistency(true), cli.WithResolvedPaths(true))
	if err != nil {
		return nil, err
	}
	return o.LoadProject(ctx)
}

// Host stands in for a container engine. It runs the services of a project as
// processes of this machine.
type Host struct {
	Project *types.Project
	// Dir holds what the containers would hold.
	Dir string
	// Programs are those in the images, by the path or name that is called there.
	Programs map[string]string
	// As is the user to run a service as, by the service's name; else it is ours.
	As map[string]*syscall.Credential

	addresses []string // pairs of what is in the file, and what stands for it here
	files     int
}

// Port has the address in the containers stand for a free port of this machine,
// and gives that: "temporal:7233", or ":7443" for one that is listened to.
func (h *Host) Port(inside ...string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	here := l.Addr().String()
	h.Stand(here, inside...)
	return here, nil
}

// Stand has an address of this machine stand for those in the containers.
func (h *Host) Stand(here string, inside ...string) {
	for _, in := range inside {
		h.addresses = append(h.addresses, in, here)
	}
}

// place gives the texts of a service with paths and addresses of this machine.
func (h *Host) place(s types.ServiceConfig) (*strings.Replacer, error) {
	paths := map[string]string{"/tmp/": filepath.Join(h.Dir, s.Name, "tmp") + "/"}
	for _, v := range s.Volumes {
		switch v.Type {
		case types.VolumeTypeVolume:
			dir := filepath.Join(h.Dir, "volumes", v.Source)
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return nil, err
			}
			paths[v.Target] = dir
		case types.VolumeTypeBind:
			if _, err := os.Stat(v.Source); err != nil {
				return nil, err
			}
			paths[v.Target] = v.Source
		}
	}
	for _, secret := range s.Secrets {
		target := secret.Target
		if target == "" {
			target = "/run/secrets/" + secret.Source
		}
		paths[target] = h.Project.Secrets[secret.Source].File
	}
	// The longest ones first: they are in each other.
	order := make([]string, 0, len(paths))
	for inside := range paths {
		order = append(order, inside)
	}
	slices.SortFunc(order, func(a, b string) int { return len(b) - len(a) })
	pairs := slices.Clone(h.addresses)
	for _, inside := range order {
		pairs = append(pairs, inside, paths[inside])
	}
	plain := strings.NewReplacer(pairs...)
	// Files that are mounted may name paths and addresses of the container, too.
	for _, v := range s.Volumes {
		st, err := os.Stat(v.Source)
		if v.Type != types.VolumeTypeBind || err != nil || st.IsDir() {
			continue
		}
		text, err := os.ReadFile(v.Source)
		if err != nil {
			return nil, err
		}
		h.files++
		here := filepath.Join(h.Dir, fmt.Sprintf("mounted-%d%s", h.files, filepath.Ext(v.Source)))
		if err := os.WriteFile(here, []byte(plain.Replace(string(text))), 0o600); err != nil {
			return nil, err
		}
		pairs = append([]string{v.Target, here}, pairs...)
	}
	return strings.NewReplacer(pairs...), nil
}

// Command gives the process of a service that runs the command line given, or its
// own for none.
func (h *Host) Command(ctx context.Context, service string, line ...string) (*exec.Cmd, error) {
	s, err := h.Project.GetService(service)
	if err != nil {
		return nil, err
	}
	placed, err := h.place(s)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", service, err)
	}
	if len(line) == 0 {
		line = append(slices.Clone(s.Entrypoint), s.Command...)
		if len(s.Entrypoint) == 0 && strings.HasPrefix(s.Image, "imageport:") { // that of deploy/Containerfile
			line = append([]string{"/imageport"}, s.Command...)
		}
	}
	line = slices.Clone(line)
	for i, arg := range line {
		if program, ok := h.Programs[arg]; ok && i == 0 {
			line[i] = program
		} else {
			line[i] = placed.Replace(arg)
		}
	}
	home := filepath.Join(h.Dir, service)
	bin := filepath.Join(home, "bin")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.MkdirAll(filepath.Join(home, "tmp"), 0o777)); err != nil {
		return nil, err
	}
	for name, program := range h.Programs {
		if filepath.IsAbs(name) {
			continue
		}
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + home}
	for key, value := range s.Environment {
		if value != nil {
			cmd.Env = append(cmd.Env, key+"="+placed.Replace(*value))
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: h.As[service]}
	return cmd, nil
}

// Process is a service that runs.
type Process struct {
	host    *Host
	service types.ServiceConfig
	cmd     *exec.Cmd
	exited  chan struct{}
	err     error
	log     *os.File
}

// Up starts a service, and returns when its health check says that it is well.
func (h *Host) Up(ctx context.Context, service string) (*Process, error) {
	cmd, err := h.Command(context.WithoutCancel(ctx), service)
	if err != nil {
		return nil, err
	}
	p := &Process{host: h, service: h.Project.Services[service], cmd: cmd, exited: make(chan struct{})}
	if p.log, err = os.OpenFile(filepath.Join(h.Dir, service+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // whose death the death signal means
		defer close(p.exited)
		err := cmd.Start()
		if started <- err; err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("service %s: %w", service, err)
	}
	for {
		well := p.Healthy(ctx)
		if well == nil {
			return p, nil
		}
		select {
		case <-p.exited:
			return nil, fmt.Errorf("service %s ended: %w\n%s", service, p.err, p.Log())
		case <-ctx.Done():
			p.Down()
			return nil, fmt.Errorf("service %s is not well: %w\n%s", service, well, p.Log())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Healthy runs the health check of the service once.
func (p *Process) Healthy(ctx context.Context) error {
	check := p.service.HealthCheck
	if check == nil || len(check.Test) < 2 || check.Test[0] != "CMD" {
		return fmt.Errorf("service %s has no health check that is a command", p.service.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*check.Timeout))
	defer cancel()
	cmd, err := p.host.Command(ctx, p.service.Name, check.Test[1:]...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Down stops the service as Docker does: it asks, waits, and kills. It gives how
// the process ended.
func (p *Process) Down() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	grace := 10 * time.Second
	if p.service.StopGracePeriod != nil {
		grace = time.Duration(*p.service.StopGracePeriod)
	}
	select {
	case <-p.exited:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("service %s did not end within %v", p.service.Name, grace)
	}
	return p.err
}

// Log is the end of what the service has written.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// Run runs a service that ends by itself.
func (h *Host) Run(ctx context.Context, service string) error {
	cmd, err := h.Command(ctx, service)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("service %s: %w\n%s", service, err, out[max(0, len(out)-4096):])
	}
	return nil
}
