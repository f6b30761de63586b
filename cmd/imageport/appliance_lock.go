package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imageport/appliance/lock"
)

func (a *app) applianceFetchCommand() *cobra.Command {
	var from packageFlags
	cmd := &cobra.Command{
		Use:   "fetch",
		Short: "Download the packages of the appliance, so that it can be built off line",
		Example: `  imageport appliance fetch
  imageport appliance fetch --refresh build/packages.lock`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			l, _, err := a.packages(ctx, from)
			if err != nil {
				return err
			}
			return a.printLock(l, lock.Lock{})
		}),
	}
	from.add(cmd)
	return cmd
}

func (a *app) applianceLockCommand() *cobra.Command {
	var from mirrorFlags
	var out string
	cmd := &cobra.Command{
		Use:   "lock --out file",
		Short: "Pin the newest versions of the appliance's packages",
		Long: `Write a lock that pins the newest versions of the packages: those of the mirror's lists,
whose signature by Debian and whose date are verified. What changes is printed.`,
		Example: `  imageport appliance lock --out packages.lock
  imageport appliance build --lock packages.lock --out appliance`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			m, err := from.find()
			if err != nil {
				return err
			}
			old, err := packageFlags{}.pinned()
			if err != nil {
				return err
			}
			if there, err := readLock(out); err == nil {
				old = there
			}
			l, err := from.refreshed(ctx, m)
			if err != nil {
				return err
			}
			if err := writeLock(out, l); err != nil {
				return err
			}
			return a.printLock(l, old)
		}),
	}
	from.add(cmd)
	cmd.Flags().StringVar(&out, "out", "", "`file` to write the lock to")
	_ = cmd.MarkFlagRequired("out") // it fails for a flag that is not there
	return cmd
}

// pinnedPackage is a package of a lock for programs to read.
type pinnedPackage struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Source    string `json:"source"`
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"sizeBytes"`
}

// printLock prints a lock, and in what it differs from an old one that has
// packages.
func (a *app) printLock(l, old lock.Lock) error {
	if a.output == outputJSON {
		packages := make([]pinnedPackage, len(l.Packages))
		for i, p := range l.Packages {
			packages[i] = pinnedPackage{p.Name, p.Version, p.Source, p.SHA256, p.Size}
		}
		return a.printJSON(struct {
			Suite    string          `json:"suite"`
			SHA256   string          `json:"sha256"`
			Packages []pinnedPackage `json:"packages"`
		}{l.Suite, l.SHA256(), packages})
	}
	p := printer{w: a.out}
	p.line("%d packages of %s, lists of %s", len(l.Packages), l.Suite, l.Date.Format("2006-01-02"))
	p.field("lock", l.SHA256())
	for _, pkg := range l.Packages {
		p.line("  %s (%s)", pkg, sizeText(pkg.Size))
	}
	if len(old.Packages) > 0 {
		p.line("%s", changes(old, l))
	}
	return p.err
}

// changes says in what versions a lock differs from an old one.
func changes(old, l lock.Lock) string {
	was, is := versions(old), versions(l)
	var said []string
	for _, name := range slices.Sorted(maps.Keys(is)) {
		switch before, ok := was[name]; {
		case !ok:
			said = append(said, "new "+name)
		case before != is[name]:
			said = append(said, fmt.Sprintf("%s from %s", name, before))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[name]; !ok {
			said = append(said, "no longer "+name)
		}
	}
	if len(said) == 0 {
		return "nothing has changed"
	}
	return "changed: " + strings.Join(said, ", ")
}

func versions(l lock.Lock) map[string]string {
	all := map[string]string{}
	for _, p := range l.Packages {
		all[p.Name] = p.Version
	}
	return all
}
