package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"imageport/appliance/deb"
	"imageport/appliance/lock"
)

// ErrUnknownPackage: the release of Debian has no such package.
var ErrUnknownPackage = errors.New("no such package")

// Lock pins the newest versions of packages in a release of Debian: those of
// the release, its updates and its security updates.
func (a Archives) Lock(ctx context.Context, suite string, want []lock.Want) (lock.Lock, error) {
	l := lock.Lock{Suite: suite}
	newest := map[string]candidate{}
	for _, from := range []struct{ archive, suite string }{{lock.Debian, suite}, {lock.Debian, suite + "-updates"}, {lock.Security, suite + "-security"}} {
		r, text, err := a.list(ctx, from.archive, from.suite)
		if err != nil {
			return lock.Lock{}, fmt.Errorf("%s %s: %w", from.archive, from.suite, err)
		}
		err = readList(text, from.archive, interesting(want), newest)
		text.Close()
		if err != nil {
			return lock.Lock{}, fmt.Errorf("%s %s: %s: %w", from.archive, from.suite, r.packages.path, err)
		}
		if r.date.After(l.Date) {
			l.Date = r.date
		}
	}
	for _, w := range want {
		p, err := choose(w, newest)
		if err != nil {
			return lock.Lock{}, err
		}
		l.Packages = append(l.Packages, p)
	}
	slices.SortFunc(l.Packages, func(a, b lock.Package) int { return cmp.Compare(a.Name, b.Name) })
	return lock.Parse(l.Encode()) // what is written can be read
}

// candidate is a package of a list, with what it depends on.
type candidate struct {
	lock.Package
	depends string
}

// key tells the versions of a package apart, as exact dependencies do.
func key(name, version string) string { return name + "=" + version }

// interesting tells the packages that a lock may need from the 70,000 others.
// What a package that is followed depends on has its name, with a version in
// it: linux-image-6.12.107+deb13-cloud-amd64 for linux-image-cloud-amd64.
func interesting(want []lock.Want) func(name string) bool {
	var names []string
	for _, w := range want {
		name := regexp.QuoteMeta(w.Name)
		if w.Follow {
			name = strings.ReplaceAll(name, "-", `-([0-9][0-9a-z.+~-]*-)?`)
		}
		names = append(names, name)
	}
	return regexp.MustCompile(`^(` + strings.Join(names, "|") + `)$`).MatchString
}

// readList keeps the newest version of each interesting package by its name,
// and each version by name and version.
func readList(text io.Reader, archive string, interesting func(string) bool, newest map[string]candidate) error {
	for fields, err := range deb.Stanzas(io.LimitReader(text, maxList)) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		name := fields["package"]
		if !interesting(name) {
			continue
		}
		size, err := strconv.ParseInt(fields["size"], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: the size of %s: %w", ErrUntrusted, name, err)
		}
		c := candidate{lock.Package{Name: name, Version: fields["version"], Archive: archive, SHA256: fields["sha256"], Size: size, Path: fields["filename"], Source: sourceOf(fields)}, fields["depends"]}
		if err := c.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		newest[key(name, c.Version)] = c
		if old, ok := newest[name]; !ok || deb.CompareVersions(old.Version, c.Version) < 0 {
			newest[name] = c
		}
	}
	return nil
}

// sourceOf is the source of a package, whose field Source is left out or has no
// version where that is the same as the package's.
func sourceOf(fields map[string]string) string {
	name, version, ok := strings.Cut(strings.TrimSuffix(fields["source"], ")"), " (")
	if !ok {
		version = fields["version"]
	}
	return cmp.Or(name, fields["package"]) + "=" + version
}

// One dependency on one version of a package, Debian Policy 7.1.
var exactly = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]+) \(= ([^ ()]+)\)$`)

func choose(w lock.Want, newest map[string]candidate) (lock.Package, error) {
	c, ok := newest[w.Name]
	if !ok {
		return lock.Package{}, fmt.Errorf("%w: %s", ErrUnknownPackage, w.Name)
	}
	if !w.Follow {
		return c.Package, nil
	}
	m := exactly.FindStringSubmatch(c.depends)
	if m == nil {
		return lock.Package{}, fmt.Errorf("%w: %s depends on %q, want one version of one package", ErrUnknownPackage, c.Package, c.depends)
	}
	followed, ok := newest[key(m[1], m[2])]
	if !ok {
		return lock.Package{}, fmt.Errorf("%w: %s, which %s depends on", ErrUnknownPackage, c.depends, c.Package)
	}
	return followed.Package, nil
}
