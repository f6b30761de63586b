package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"imageport/lab/guest"
	"imageport/platforms/cedir"
)

// host is what both kinds of guests run on: a directory for each guest as long
// as it runs, and the logs of all.
type host struct {
	dir   string
	ended func(vm string) // is told of a guest that has ended by itself
	log   *slog.Logger

	mu     sync.Mutex
	guests map[string]*running // by VM
}

// running is a guest that runs.
type running struct {
	process *child
	dir     string
	control *monitor // of a machine
	sealed  bool     // it has the disks that it was switched on with
}

// logs is the directory of what guests say. A VM's name is not its: see room.
const logs = "logs"

func newHost(dir string, ended func(vm string), log *slog.Logger) (*host, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &host{dir: dir, ended: ended, log: log, guests: make(map[string]*running)}, os.MkdirAll(filepath.Join(dir, logs), 0o700)
}

// room makes the directory for a guest that is about to start, with its seed, if
// it has one.
func (h *host) room(vm string, seed []byte) (dir string, err error) {
	// A name may be "..", and on some platforms have slashes.
	if !filepath.IsLocal(vm) || filepath.Base(vm) != vm || vm == "." || vm == logs {
		return "", fmt.Errorf("lab: VM %q: no guest can run in a VM of that name", vm)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.guests[vm] != nil {
		return "", fmt.Errorf("lab: VM %q has a guest already", vm)
	}
	dir = filepath.Join(h.dir, vm)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if len(seed) == 0 {
		return dir, nil
	}
	return dir, os.WriteFile(filepath.Join(dir, cedir.SeedFile), seed, 0o600)
}

// start starts the guest's process, whose words go to the VM's log.
func (h *host) start(vm, dir string, cmd *exec.Cmd) (*running, error) {
	words, err := os.OpenFile(h.logFile(vm), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer words.Close()
	cmd.Stderr = words
	if cmd.Stdout == nil {
		cmd.Stdout = words
	}
	cmd.Env = environment()
	p, err := spawn(cmd)
	if err != nil {
		return nil, err
	}
	return &running{process: p, dir: dir}, nil
}

// watch makes g the VM's guest, until one of both ends the other.
func (h *host) watch(vm string, g *running) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests[vm] = g
	h.log.Info("switched on", "vm", vm)
	go func() {
		<-g.process.exited
		h.mu.Lock()
		itself := h.guests[vm] == g
		if itself {
			h.clear(vm, g)
		}
		h.mu.Unlock()
		if itself {
			h.log.Info("the guest has ended by itself", "vm", vm, "status", outcome(g.process.err), "said", cedir.LastLine(h.logFile(vm)))
			h.ended(vm)
		}
	}()
}

// clear forgets a guest that has ended. The caller holds the lock.
func (h *host) clear(vm string, g *running) {
	delete(h.guests, vm)
	if err := os.RemoveAll(g.dir); err != nil {
		h.log.Warn("the guest's files stay", "vm", vm, "error", err)
	}
}

// runs gives the guest of a VM, if one runs.
func (h *host) runs(vm string) (*running, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, ok := h.guests[vm]
	return g, ok
}

// PowerOff implements guest.Guests.
func (h *host) PowerOff(vm string) {
	h.mu.Lock()
	g, ok := h.guests[vm]
	delete(h.guests, vm) // it does not end by itself
	h.mu.Unlock()
	if !ok {
		return
	}
	g.process.kill()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear(vm, g)
	h.log.Info("switched off", "vm", vm)
}

// stop ends all guests.
func (h *host) stop() {
	h.mu.Lock()
	vms := slices.Collect(maps.Keys(h.guests))
	h.mu.Unlock()
	for _, vm := range vms {
		h.PowerOff(vm)
	}
}

func (h *host) logFile(vm string) string { return filepath.Join(h.dir, logs, vm+".log") }

// environment is what a guest has of our environment: what programs need to run
// at all. Secrets may be in the rest.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func outcome(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// selectorPattern are the selectors that are good for names of files, and have
// no more of a serial number than every kind of device keeps.
var selectorPattern = regexp.MustCompile(`^(serial:[0-9A-Za-z][0-9A-Za-z._-]{0,35}|(lun|xen):(0|[1-9][0-9]{0,9}))$`)

// checkDisk refuses a disk that a guest could not be given.
func checkDisk(vm string, d guest.Disk) error {
	if d.Selector != "" && !selectorPattern.MatchString(d.Selector) {
		return fmt.Errorf("lab: VM %q: disk %s has the selector %q, want serial:, lun: or xen: and what a guest can be given", vm, d.Name, d.Selector)
	}
	st, err := os.Stat(d.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("lab: VM %q: disk %s has no file", vm, d.Name)
	case err != nil:
		return fmt.Errorf("lab: VM %q: disk %s: %w", vm, d.Name, err)
	case st.Size() != d.SizeBytes:
		return fmt.Errorf("lab: VM %q: the file of disk %s has %d bytes, want %d", vm, d.Name, st.Size(), d.SizeBytes)
	}
	return nil
}
