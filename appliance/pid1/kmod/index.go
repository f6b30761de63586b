package kmod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// ErrIndex says that an index of modules is damaged.
var ErrIndex = errors.New("kmod: damaged index of modules")

const (
	// maxIndex bounds the index. All modules of a distribution's kernel have
	// 2 MiB of aliases, an appliance's some 200 KiB.
	maxIndex = 8 << 20
	// maxDepth bounds the chain of dependencies. The longest of Linux 6.12 has 9.
	maxDepth = 32
)

// namePattern is that of the kernel's build (KBUILD_MODNAME) with hyphens made
// underscores. It is also a safe file name.
var namePattern = regexp.MustCompile(`^[0-9A-Za-z_]{1,56}$`)

// Index knows the modules of the appliance.
type Index struct {
	deps map[string][]string
	// byBus has the patterns by what comes before their first colon, which is
	// the bus of the device that asks: few of the patterns are looked at.
	byBus map[string][]pattern
}

type pattern struct{ glob, module string }

// ReadIndex reads /lib/modules/index: a line a module, its name, its
// dependencies with commas between, its aliases with spaces between; a tab
// between the three. Errors wrap ErrIndex.
func ReadIndex(r io.Reader) (*Index, error) {
	x := &Index{deps: map[string][]string{}, byBus: map[string][]pattern{}}
	limited := &io.LimitedReader{R: r, N: maxIndex + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxIndex)
	for n := 1; lines.Scan(); n++ {
		if err := x.add(lines.Text()); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrIndex, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrIndex, maxIndex)
	}
	for name, deps := range x.deps {
		for _, d := range deps {
			if _, ok := x.deps[d]; !ok {
				return nil, fmt.Errorf("%w: %s needs %q, which is not in it", ErrIndex, name, d)
			}
		}
	}
	return x, nil
}

func (x *Index) add(line string) error {
	fields := strings.Split(line, "\t")
	if len(fields) != 3 {
		return fmt.Errorf("%d fields, want name, dependencies and aliases", len(fields))
	}
	name := normal(fields[0])
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%.60q is no name of a module", fields[0])
	}
	if _, twice := x.deps[name]; twice {
		return fmt.Errorf("%s a second time", name)
	}
	var deps []string
	if fields[1] != "" {
		deps = strings.Split(normal(fields[1]), ",")
	}
	x.deps[name] = deps
	for _, alias := range strings.Fields(fields[2]) {
		bus, _, ok := strings.Cut(alias, ":")
		switch {
		case !ok:
			// Not of a device: fs-ntfs3, net-pf-17. Hyphens are as underscores.
			alias = normal(alias)
			bus = ""
		case strings.ContainsAny(bus, "*?["):
			bus = "*"
		}
		x.byBus[bus] = append(x.byBus[bus], pattern{alias, name})
	}
	return nil
}

// Has reports whether there is a module of that name.
func (x *Index) Has(name string) bool {
	_, ok := x.deps[normal(name)]
	return ok
}

// Match gives the modules that the alias asks for, and the module of that name,
// each once, in the order of the index. It is nil when there are none: what is
// built into the kernel is not in the index.
func (x *Index) Match(alias string) []string {
	var names []string
	found := func(patterns []pattern, alias string) {
		for _, p := range patterns {
			if match(p.glob, alias) && !slices.Contains(names, p.module) {
				names = append(names, p.module)
			}
		}
	}
	bus, _, ok := strings.Cut(alias, ":")
	if !ok {
		name := normal(alias)
		if x.Has(name) {
			names = append(names, name)
		}
		found(x.byBus[""], name)
		return names
	}
	found(x.byBus[bus], alias)
	found(x.byBus["*"], alias)
	return names
}

func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }
