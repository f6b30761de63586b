package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imageport/appliance/pid1/kmod"
	"imageport/appliance/pid1/kmsg"
	"imageport/appliance/pid1/network"
	"imageport/appliance/seedsource"
	"imageport/appliance/xenbus"
	"imageport/engine/blockdev/uevent"
	"imageport/job/seed"
)

// Serve is the agent's work: engine/agent.Serve.
type Serve func(ctx context.Context, s seed.Seed, log *slog.Logger) error

// Modules is where the appliance has its kernel modules.
const Modules = "/lib/modules"

// unannounced are modules that no device asks for.
var unannounced = []string{"qemu_fw_cfg", "dmi_sysfs"}

// waitParameter is the word on the kernel's command line that changes how long
// the machine waits for an address: "imageport.network=120s" for a network that
// is slow to let a machine in.
const waitParameter = "imageport.network"

// Agent is the agent's life: it makes the machine work, finds out what it is
// for, and does that. What keeps it from it goes to the first process, as the
// cause of the machine's end. The error is for where the agent must not run.
func Agent(serve Serve) error {
	pipe, err := reports()
	if err != nil {
		return err
	}
	kernelLog, err := kmsg.Open()
	if err != nil {
		return err
	}
	w := kmsg.NewWriter(kernelLog)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	m := &machine{
		sources: systemSources{seedsource.System()},
		up:      network.Up,
		wait:    network.Wait,
		resolv:  "/etc/resolv.conf",
		ready:   func(ctx context.Context) error { return xenbus.AnnounceHotplug(ctx, "/dev") },
		serve:   serve,
		log:     slog.New(kmsg.NewHandler(w, slog.LevelInfo)),
		hide:    w.Hide,
		named:   func(name string) error { return unix.Sethostname([]byte(name)) },
		tell:    func(r report) error { return r.send(pipe) },
		built:   built(),
	}
	m.drivers = m.loadDrivers
	if limit, ok := parameter("/proc/cmdline", waitParameter); ok {
		if m.wait, err = time.ParseDuration(limit); err != nil || m.wait <= 0 {
			return m.tell(report{Cause: fmt.Sprintf("%s=%.20q on the kernel's command line is no time, such as 60s", waitParameter, limit)})
		}
	}
	if err := m.run(ctx); err != nil {
		return m.tell(report{Cause: w.Clean(err.Error())})
	}
	return nil
}

// parameter gives what the kernel's command line says of name.
func parameter(cmdline, name string) (value string, ok bool) {
	b, err := os.ReadFile(cmdline)
	if err != nil {
		return "", false
	}
	for _, word := range strings.Fields(string(b)) {
		if v, is := strings.CutPrefix(word, name+"="); is {
			value, ok = v, true // the last one counts
		}
	}
	return value, ok
}

// sources are where the seed may be (package seedsource).
type sources interface {
	Local(ctx context.Context) (raw []byte, source string, err error)
	Network(ctx context.Context) (raw []byte, source string, err error)
	OnNetwork() bool
}

type systemSources struct{ env seedsource.Env }

func (s systemSources) Local(ctx context.Context) ([]byte, string, error) {
	return seedsource.Local(ctx, s.env)
}
func (s systemSources) Network(ctx context.Context) ([]byte, string, error) {
	return seedsource.Network(ctx, s.env)
}
func (s systemSources) OnNetwork() bool { return seedsource.OnNetwork(s.env) }

// machine is what the agent makes work. The functions are the parts of it that
// need a kernel.
type machine struct {
	sources sources
	drivers func(ctx context.Context) error
	up      func(ctx context.Context, cfg network.Config) (<-chan error, error)
	wait    time.Duration // for an address
	resolv  string
	ready   func(ctx context.Context) error // says to the platform that disks may come
	serve   Serve
	log     *slog.Logger
	hide    func(secret string)
	named   func(name string) error
	tell    func(report) error
	built   time.Time
}

// run is the agent's way from drivers to work. No error is a good end.
func (m *machine) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if now := time.Now(); now.Before(m.built) {
		m.log.Warn("the clock of this machine is wrong", "clock", now.UTC().Format(time.RFC3339), "built", m.built.UTC().Format(time.RFC3339))
	}
	if err := m.drivers(ctx); err != nil {
		// The drivers that there are may do, and a machine that can call home
		// can be asked.
		m.log.Error("drivers", "error", err)
	}
	s, err := m.start(ctx, cancel)
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if err != nil {
		return err
	}
	if err := m.ready(ctx); err != nil {
		// Only a job with an output disk needs it, and says what is missing.
		m.log.Error("announce that disks can be attached", "error", err)
	}
	m.log.Info("working", "ce", s.Name, "gateway", s.Gateway.Address, "deadline", s.Deadline.UTC().Format(time.RFC3339), "after", uptime().Round(10*time.Millisecond))
	if err := m.tell(report{Working: true}); err != nil {
		return err
	}
	work, done := context.WithDeadlineCause(ctx, s.Deadline, errors.New(deadlinePassed(s.Deadline)))
	defer done()
	err = m.serve(work, s, m.log)
	if work.Err() != nil {
		return ended(work)
	}
	return err
}

// ended says why a context has: being told to is no error.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// start finds the seed and sets up the network, in the order that the seed's
// place demands. A network that is lost later ends the work through cancel.
func (m *machine) start(ctx context.Context, cancel context.CancelCauseFunc) (seed.Seed, error) {
	raw, source, err := m.sources.Local(ctx)
	if _, none := errors.AsType[*seedsource.NotFoundError](err); none && m.sources.OnNetwork() {
		m.log.Info("no seed yet", "error", err)
		if err := m.network(ctx, nil, cancel); err != nil {
			return seed.Seed{}, err
		}
		raw, source, err = m.sources.Network(ctx)
		if err != nil {
			return seed.Seed{}, err
		}
		return m.decode(raw, source)
	}
	if err != nil {
		return seed.Seed{}, err
	}
	s, err := m.decode(raw, source)
	if err != nil {
		return seed.Seed{}, err
	}
	return s, m.network(ctx, s.Network, cancel)
}

// decode reads the seed, and lets the first process know the deadline.
func (m *machine) decode(raw []byte, source string) (seed.Seed, error) {
	s, err := seed.Decode(raw)
	if err != nil {
		return seed.Seed{}, fmt.Errorf("%s: %w", source, err)
	}
	m.hide(s.Gateway.Token)
	if err := m.named(s.Name); err != nil {
		m.log.Warn("host name", "error", err)
	}
	m.log.Info("seed", "from", source, "ce", s.Name)
	if !time.Now().Before(s.Deadline) {
		return seed.Seed{}, fmt.Errorf("%s, says the clock of this machine: it is %s", deadlinePassed(s.Deadline), time.Now().UTC().Format(time.RFC3339))
	}
	return s, m.tell(report{Deadline: s.Deadline})
}

func (m *machine) network(ctx context.Context, static *seed.Network, cancel context.CancelCauseFunc) error {
	lost, err := m.up(ctx, network.Config{Static: static, Wait: m.wait, ResolvConf: m.resolv, Log: m.log})
	if err != nil {
		return err
	}
	go func() {
		select {
		case err := <-lost:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	return nil
}

// loadDrivers loads the drivers of all devices, and goes on with those that
// come later.
func (m *machine) loadDrivers(ctx context.Context) error {
	// Before looking, or a device might come in between.
	events, listening := uevent.Listen(ctx)
	loader, err := kmod.Open(Modules)
	if err != nil {
		return err
	}
	for _, name := range unannounced {
		if !loader.Index().Has(name) {
			continue // built in
		}
		if err := loader.Load(name); err != nil && !kmod.Absent(err) {
			m.log.Warn("driver", "error", err)
		}
	}
	d := &kmod.Devices{Loader: loader, Sys: "/sys", Workers: runtime.NumCPU(), Log: m.log}
	err = d.Coldplug(ctx)
	loaded := loader.Loaded()
	m.log.Info("drivers", "modules", len(loaded), "after", uptime().Round(10*time.Millisecond), "secure_boot", secureBoot())
	if listening == nil {
		go d.Follow(ctx, events)
	}
	return errors.Join(err, listening)
}
