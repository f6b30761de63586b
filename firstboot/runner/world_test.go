package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/firstboot/plan"
	"imageport/firstboot/runner"
)

// world is a machine with a Windows that has the runner in it, as its disk and
// the people who look at it see it.
type world struct {
	t    *testing.T
	plan plan.Plan

	// On the disk.
	files    map[string][]byte
	products []plan.Product
	armed    bool
	pending  int // restarts until no reboot is pending
	diskFull bool

	// Of this start of Windows.
	ctx     context.Context
	cancel  context.CancelFunc
	up      time.Time // by true time
	unsaved func()    // what a crash may undo: Windows writes its registry later
	ordered string    // "restart", "off"

	// The world's own book-keeping.
	now      time.Time // true time
	skew     time.Duration
	boots    int
	before   int // boots that the first state.json tells of
	calls    int
	trace    []string
	starts   map[string]int
	told     map[string][]uint32 // exit codes that the runner was given
	detected map[string]bool     // Products showed what the step's Detect wants
	restarts int
	ranIn    map[int]bool // boots in which a program was started
	ran      time.Duration
	failed   int // writes that failed

	// What happens. strike may crash the machine before a call has its effect, or
	// after; program says what one does.
	strike   func(call string, after bool)
	program  func(w *world, name string, limit time.Duration) (took time.Duration, code uint32, err error)
	powerErr func(attempt int) error
	powered  int
	noDisarm bool
}

// crash unwinds the runner, as the loss of power does.
type crash struct{}

var epoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, p plan.Plan) *world {
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, plan: p, files: map[string][]byte{plan.PlanFile: b}, armed: true, now: epoch,
		starts: map[string]int{}, told: map[string][]uint32{}, detected: map[string]bool{}, ranIn: map[int]bool{},
		strike: func(string, bool) {}, program: honest, powerErr: func(int) error { return nil },
	}
}

// upgrade is the plan of an upgrade with a repair after it.
func upgrade() plan.Plan {
	return plan.Plan{
		Version: plan.Version, Job: "job-1", MaxBoots: 8, DeadlineSeconds: 7200, SettleSeconds: 600, MaxPendingReboots: 2,
		Steps: []plan.Step{
			{
				Name: "upgrade", Command: `"%ProgramData%\imageport-firstboot\files\setup.exe" /S`, File: "setup.exe", SHA256: strings.Repeat("ab", 32),
				Detect: []plan.Detect{{Key: uninstall, NamePattern: "^Citrix Provisioning Target Device", Version: "7.40"}},
				OK:     []int{0}, Reboot: []int{3010, 1641}, Retry: []int{1618}, TimeoutSeconds: 2700, Session: plan.SessionConsole,
			},
			{Name: "repair", Command: "rundll32.exe x", OK: []int{0}, TimeoutSeconds: 300, Optional: true},
		},
	}
}

const uninstall = `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`

// honest installs at once, and wants a restart.
func honest(w *world, name string, _ time.Duration) (time.Duration, uint32, error) {
	if name != "upgrade" {
		return time.Second, 0, nil
	}
	w.install()
	return 3 * time.Minute, 3010, nil
}

func (w *world) install() {
	before := w.products
	w.unsaved = func() { w.products = before }
	w.products = append(slices.Clone(before), plan.Product{Name: "Citrix Provisioning Target Device x64", Version: "7.40.0.50"})
}

// live starts the machine until it is off, or on without anybody who would switch
// it off; it reports which.
func (w *world) live(maxBoots int) (off bool) {
	for {
		if w.boots++; w.boots > maxBoots {
			w.t.Fatalf("started %d times\n%s", w.boots, w.told4people())
		}
		w.now = w.now.Add(20 * time.Second)
		w.up = w.now
		w.unsaved, w.ordered = nil, ""
		if !w.armed {
			return false
		}
		w.ctx, w.cancel = context.WithCancel(context.Background())
		w.now = w.now.Add(20 * time.Second)
		err, crashed := w.boot()
		w.cancel()
		w.now = w.now.Add(10 * time.Second)
		switch {
		case crashed:
			w.log("crash")
		case err != nil && !errors.Is(err, runner.ErrStopped):
			w.log("end: %v", err)
			return false
		case w.ordered == "":
			w.t.Fatalf("the runner has ended, and nobody has ordered anything: %v\n%s", err, w.told4people())
		case w.ordered == "off":
			return true
		}
		if !crashed {
			w.pending = max(w.pending-1, 0)
		}
	}
}

func (w *world) boot() (err error, crashed bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crash); !ok {
				panic(p)
			}
			crashed = true
		}
	}()
	w.log("boot %d", w.boots)
	return runner.Run(w.ctx, w, slog.New(slog.NewTextHandler(logTo{w}, nil))), false
}

// down is an order to Windows that is not the runner's.
func (w *world) down(order string) {
	if w.ordered == "" {
		w.ordered = order
	}
	w.cancel()
}

// call is one of the runner to the machine.
func (w *world) call(name string, do func()) {
	w.calls++
	w.log("%s", name)
	w.now = w.now.Add(10 * time.Millisecond)
	w.strike(name, false)
	do()
	w.strike(name, true)
}

func (w *world) crash(undo bool) {
	if undo && w.unsaved != nil {
		w.unsaved()
	}
	panic(crash{})
}

func (w *world) Now() time.Time        { return w.now.Add(w.skew) }
func (w *world) Uptime() time.Duration { return w.now.Sub(w.up) }

func (w *world) Sleep(ctx context.Context, d time.Duration) (err error) {
	w.call("sleep", func() {
		if err = ctx.Err(); err == nil {
			w.now = w.now.Add(d)
		}
	})
	return err
}

func (w *world) ReadFile(name string, maxBytes int) (b []byte, err error) {
	w.call("read "+name, func() {
		var there bool
		if b, there = w.files[name]; !there {
			err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
	})
	return b, err
}

func (w *world) WriteState(b []byte) (err error) {
	w.call("write", func() {
		if w.diskFull {
			w.failed++
			err = errors.New("disk full")
			return
		}
		w.files[plan.StateFile] = slices.Clone(b)
	})
	return err
}

func (w *world) Settle(ctx context.Context, limit time.Duration) (err error) {
	w.call("settle", func() {
		w.now = w.now.Add(min(limit, 15*time.Second))
		err = ctx.Err()
	})
	return err
}

func (w *world) PendingReboot() (what string, err error) {
	w.call("pending", func() {
		if w.pending > 0 {
			what = "PendingFileRenameOperations"
		}
	})
	return what, nil
}

func (w *world) Products(key string) (products []plan.Product, err error) {
	w.call("products", func() {
		products = w.products
		for _, step := range w.plan.Steps {
			for _, d := range step.Detect {
				w.detected[step.Name] = w.detected[step.Name] || d.Key == key && d.Holds(products)
			}
		}
	})
	return products, nil
}

func (w *world) Hash(context.Context, string) (hash string, err error) {
	w.call("hash", func() { hash = strings.Repeat("AB", 32) })
	return hash, nil
}

func (w *world) Run(ctx context.Context, p runner.Program) (code uint32, err error) {
	w.call("run "+p.Name, func() {
		w.starts[p.Name]++
		w.ranIn[w.boots] = true
		var took time.Duration
		if took, code, err = w.program(w, p.Name, p.Limit); took > p.Limit {
			took, code, err = p.Limit, 0, runner.ErrTimedOut
		}
		w.now = w.now.Add(took)
		w.ran += took
	})
	if err == nil {
		w.told[p.Name] = append(w.told[p.Name], code)
	}
	return code, err
}

func (w *world) Disarm() (err error) {
	w.call("disarm", func() {
		if w.noDisarm {
			err = errors.New("the registry is read-only")
			return
		}
		w.armed = false
	})
	return err
}

func (w *world) Restart(ctx context.Context) error  { return w.power(ctx, "restart") }
func (w *world) PowerOff(ctx context.Context) error { return w.power(ctx, "off") }

func (w *world) power(ctx context.Context, order string) (err error) {
	w.call(order, func() {
		if w.ordered != "" {
			return
		}
		w.powered++
		if err = w.powerErr(w.powered); err != nil {
			return
		}
		w.ordered = order
		if order == "restart" {
			w.restarts++
		}
		w.cancel()
	})
	return err
}

// state is what is on the disk.
func (w *world) state() plan.State {
	w.t.Helper()
	s, err := plan.ParseState(w.files[plan.StateFile])
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.told4people())
	}
	return s
}

func (w *world) log(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) told4people() string {
	return strings.Join(w.trace, "\n") + "\n" + string(w.files[plan.StateFile])
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

type logTo struct{ *world }

func (l logTo) Write(p []byte) (int, error) {
	l.log("    %s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// check holds what is so whatever has happened.
func (w *world) check(off bool) {
	w.t.Helper()
	bad := func(format string, args ...any) {
		w.t.Helper()
		w.t.Fatalf(format+"\n%s", append(args, w.told4people())...)
	}
	if w.restarts > w.plan.MaxBoots-1 {
		bad("%d restarts were ordered, at most %d boots were allowed", w.restarts, w.plan.MaxBoots)
	}
	if len(w.ranIn) > w.plan.MaxBoots {
		bad("programs ran in %d boots, %d were allowed", len(w.ranIn), w.plan.MaxBoots)
	}
	for name, n := range w.starts {
		for _, code := range w.told[name] {
			if code == 1618 {
				n--
			}
		}
		if n > 2 {
			bad("%q was started %d times", name, n)
		}
	}
	deadline := time.Duration(w.plan.DeadlineSeconds) * time.Second
	if w.skew == 0 && w.ran > deadline {
		bad("programs ran for %s, %s were allowed", w.ran, deadline)
	}
	if w.ran > time.Duration(w.plan.MaxBoots)*deadline {
		bad("programs ran for %s in all, with %d boots of %s", w.ran, w.plan.MaxBoots, deadline)
	}
	b, there := w.files[plan.StateFile]
	if !there && w.failed > 0 {
		return
	}
	s, err := plan.ParseState(b)
	if err != nil {
		bad("%v", err)
	}
	if s.Status == plan.Running && w.failed == 0 {
		bad("it has ended, and state.json says that it runs")
	}
	if s.Disarmed && w.armed {
		bad("it is armed, and state.json says that it is not")
	}
	if off && w.armed && !w.noDisarm {
		bad("it is off, and still armed")
	}
	if s.Boots > w.before+w.boots {
		bad("state.json tells of %d boots, there were %d", s.Boots, w.before+w.boots)
	}
	for i, step := range s.Steps {
		if !step.Done {
			continue
		}
		told := slices.ContainsFunc(w.told[step.Name], func(code uint32) bool {
			is := func(c int) bool { return uint32(c) == code }
			return slices.ContainsFunc(w.plan.Steps[i].OK, is) || slices.ContainsFunc(w.plan.Steps[i].Reboot, is) && w.boots > 1
		})
		if !told && !w.detected[step.Name] {
			bad("%q is said to be done, and nobody said so", step.Name)
		}
	}
	if s.Status == plan.Succeeded {
		if err := s.Of(w.plan); err != nil && !errors.Is(err, plan.ErrOtherPlan) || len(s.Steps) != len(w.plan.Steps) {
			bad("it is said to have succeeded: %v", err)
		}
		for i, step := range s.Steps {
			if !step.Done && !w.plan.Steps[i].Optional {
				bad("it is said to have succeeded without %q", step.Name)
			}
		}
	}
}
