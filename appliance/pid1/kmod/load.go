package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrUnknown says that no module has that name or alias.
var ErrUnknown = errors.New("kmod: no such module")

// Loader loads modules, each at most once. It is safe for concurrent use.
type Loader struct {
	index *Index
	dir   string
	load  func(path string) error

	mu      sync.Mutex
	modules map[string]func() error // what waits for the load of one, or gives its result
}

// Open makes a Loader of the modules in a directory, NAME.ko each beside the
// file "index".
func Open(dir string) (*Loader, error) {
	f, err := os.Open(filepath.Join(dir, "index"))
	if err != nil {
		return nil, fmt.Errorf("kmod: %w", err)
	}
	defer f.Close()
	x, err := ReadIndex(f)
	if err != nil {
		return nil, err
	}
	return newLoader(x, dir, insert), nil
}

func newLoader(x *Index, dir string, load func(path string) error) *Loader {
	return &Loader{index: x, dir: dir, load: load, modules: map[string]func() error{}}
}

// Index is what the Loader knows.
func (l *Loader) Index() *Index { return l.index }

// Loaded lists the modules that the kernel took, sorted.
func (l *Loader) Loaded() []string {
	l.mu.Lock()
	waits := make(map[string]func() error, len(l.modules))
	for name, wait := range l.modules {
		waits[name] = wait
	}
	l.mu.Unlock()
	var names []string
	for name, wait := range waits {
		if wait() == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Load loads a module after those that it depends on. That the kernel has it
// already is no error; the error of a module that failed stays the same.
func (l *Loader) Load(name string) error {
	name = normal(name)
	if !l.index.Has(name) {
		return fmt.Errorf("%w: %.60q", ErrUnknown, name)
	}
	return l.loadAt(name, 0)
}

func (l *Loader) loadAt(name string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: %s is %d dependencies deep", ErrIndex, name, depth)
	}
	// A circle of dependencies would wait for itself, so those come first: it
	// ends at maxDepth.
	for _, dep := range l.index.deps[name] {
		if l.done(dep) {
			continue
		}
		if err := l.loadAt(dep, depth+1); err != nil {
			return fmt.Errorf("%s needs %w", name, err)
		}
	}
	l.mu.Lock()
	wait, ok := l.modules[name]
	if !ok {
		wait = sync.OnceValue(func() error {
			if err := l.load(filepath.Join(l.dir, name+".ko")); err != nil {
				return fmt.Errorf("load module %s: %w", name, err)
			}
			return nil
		})
		l.modules[name] = wait
	}
	l.mu.Unlock()
	return wait()
}

// done reports whether nothing is left to be done for a module.
func (l *Loader) done(name string) bool {
	l.mu.Lock()
	wait, ok := l.modules[name]
	l.mu.Unlock()
	return ok && wait() == nil
}

// LoadAlias loads all modules that an alias asks for. The error joins those of
// the modules that failed; ErrUnknown if there are none.
func (l *Loader) LoadAlias(alias string) error {
	names := l.index.Match(alias)
	if len(names) == 0 {
		return fmt.Errorf("%w: %.80q", ErrUnknown, alias)
	}
	var failed []error
	for _, name := range names {
		if err := l.loadAt(name, 0); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Absent reports whether a driver did not load for want of its hardware: a
// hypervisor's bus on another hypervisor, for one. That is no fault.
func Absent(err error) bool { return errors.Is(err, unix.ENODEV) }

// insert gives a module to the kernel (finit_module(2)), which checks its
// signature.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// Modprobe is the kernel's helper: "modprobe -q -- ALIAS". Options are ignored.
func Modprobe(dir string, args []string) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	for _, alias := range args {
		if strings.HasPrefix(alias, "-") {
			continue
		}
		if err := l.LoadAlias(alias); err != nil {
			return err
		}
	}
	return nil
}
