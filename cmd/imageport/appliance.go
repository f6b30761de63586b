package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"imageport/appliance"
	"imageport/appliance/archive"
	"imageport/appliance/lock"
	"imageport/job"
)

func (a *app) applianceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "appliance",
		Short: "Build the virtual machine that a job runs in",
		Long: `Build the appliance: the virtual machine of a Compositing Engine, as one UEFI program and
as the files that platforms import it from. It is made of Debian packages, which a lock
pins, and of the agent. Nothing is installed, and no rights are needed.

Packages come from this machine's mirror of Debian, as apt is configured, or from --mirror.
Whatever a mirror gives is verified: a package by its hash in the lock, a list by Debian's
signature.`,
		Example: `  imageport appliance build --out appliance
  imageport appliance build --out appliance --formats ova,vhd
  imageport appliance lock --out packages.lock`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.applianceBuildCommand(), a.applianceFetchCommand(), a.applianceLockCommand())
	return cmd
}

const (
	aptFolder      = "/etc/apt"
	debianKeyring  = "/usr/share/keyrings/debian-archive-keyring.gpg"
	refreshAdvice  = "Refresh the lock: imageport appliance lock --out packages.lock, and build with --lock packages.lock; or give --refresh"
	downloadAdvice = "Name another mirror with --mirror; behind a proxy, set HTTP_PROXY and HTTPS_PROXY; or run imageport appliance fetch where there is a network, and bring its folder along for --cache"
	keyringAdvice  = "Install Debian's package debian-archive-keyring, or name a keyring with --keyring"
	mirrorAdvice   = "Give one with --mirror, such as http://mirror.example.com/debian"
	maxFileAllowed = 16 << 20 // bytes, of a lock or a keyring
)

// mirrorFlags say where Debian is.
type mirrorFlags struct {
	mirror, security, keyring string
}

func (f *mirrorFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mirror, "mirror", "", "`URL` of a mirror of Debian's archive; security updates are beside it, as debian-security is (default apt's)")
	cmd.Flags().StringVar(&f.security, "security-mirror", "", "`URL` of a mirror of Debian's security updates, where they are not there")
	cmd.Flags().StringVar(&f.keyring, "keyring", debianKeyring, "`file` of the keys that Debian signs its lists with")
}

// find gives the mirror.
func (f *mirrorFlags) find() (lock.Mirror, error) {
	if f.mirror == "" && f.security != "" {
		return nil, job.Errorf(job.BadRequest, "Give --mirror, too", "--security-mirror has a meaning with --mirror only")
	}
	m, err := lock.AptMirror(os.DirFS(aptFolder))
	if f.mirror != "" {
		m, err = lock.MirrorAt(f.mirror)
	}
	if err == nil && f.security != "" {
		var security lock.Mirror
		if security, err = lock.MirrorAt(f.security); err == nil {
			m[lock.Security] = security[lock.Debian]
		}
	}
	if errors.Is(err, lock.ErrNoMirror) {
		return nil, job.Errorf(job.BadRequest, mirrorAdvice, "%w", err)
	}
	return m, err
}

// refreshed makes a new lock of the mirror's lists.
func (f *mirrorFlags) refreshed(ctx context.Context, m lock.Mirror) (lock.Lock, error) {
	raw, err := readSmall(f.keyring)
	if err != nil {
		return lock.Lock{}, job.Errorf(job.BadRequest, keyringAdvice, "the keys of Debian: %w", err)
	}
	keys, err := archive.ReadKeyring(raw)
	if err != nil {
		return lock.Lock{}, job.Errorf(job.BadRequest, keyringAdvice, "%s: %w", f.keyring, err)
	}
	archives := archive.Archives{Mirror: m, Keyring: keys, Now: time.Now(), Client: http.DefaultClient}
	l, err := archives.Lock(ctx, appliance.Suite, appliance.Packages())
	return l, advise(err)
}

// packageFlags say which packages an appliance is made of.
type packageFlags struct {
	mirrorFlags
	lock, cache, refresh string
}

func (f *packageFlags) add(cmd *cobra.Command) {
	f.mirrorFlags.add(cmd)
	cmd.Flags().StringVar(&f.lock, "lock", "", "`file` that pins the packages (default that of this release)")
	cmd.Flags().StringVar(&f.cache, "cache", "", "`folder` that keeps packages (default ~/.cache/imageport/debs)")
	cmd.Flags().StringVar(&f.refresh, "refresh", "", "where the mirror does not have a pinned package any more, write a refreshed lock to this `file` and go on with it")
}

// packages gives the packages of the lock, and the lock that was used.
func (a *app) packages(ctx context.Context, f packageFlags) (lock.Lock, [][]byte, error) {
	l, err := f.pinned()
	if err != nil {
		return l, nil, err
	}
	m, noMirror := f.find()
	if noMirror != nil && !errors.Is(noMirror, lock.ErrNoMirror) {
		return l, nil, noMirror
	}
	cache := f.cache
	if cache == "" {
		folder, err := os.UserCacheDir()
		if err != nil {
			return l, nil, job.Errorf(job.BadRequest, "Name a folder with --cache", "no place to keep packages: %w", err)
		}
		cache = filepath.Join(folder, "imageport", "debs")
	}
	store := &lock.Store{Dir: cache, Mirror: m, Downloading: func(p lock.Package) {
		fmt.Fprintf(a.err, "download %s (%s)\n", p, sizeText(p.Size))
	}}
	packages, err := store.Get(ctx, l)
	if noMirror != nil && errors.Is(err, lock.ErrNoMirror) {
		return l, nil, noMirror // only now, as all may have been kept
	}
	if !errors.Is(err, lock.ErrGone) {
		return l, packages, advise(err)
	}
	if f.refresh == "" {
		return l, nil, job.Errorf(job.BadRequest, refreshAdvice, "%w", err)
	}
	fmt.Fprintf(a.err, "warning: %s: going on with other versions, see %s\n", err, f.refresh)
	return a.otherPackages(ctx, f, m, store)
}

// otherPackages gives the packages of a lock that was refreshed earlier, if
// they are still there, or else of one that is refreshed now.
func (a *app) otherPackages(ctx context.Context, f packageFlags, m lock.Mirror, store *lock.Store) (lock.Lock, [][]byte, error) {
	if l, err := readLock(f.refresh); err == nil {
		packages, err := store.Get(ctx, l)
		if !errors.Is(err, lock.ErrGone) {
			return l, packages, advise(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return l, nil, err
	}
	l, err := f.refreshed(ctx, m)
	if err != nil {
		return l, nil, err
	}
	if err := writeLock(f.refresh, l); err != nil {
		return l, nil, err
	}
	packages, err := store.Get(ctx, l)
	return l, packages, advise(err)
}

// advise says what to do when a mirror is out of reach.
func advise(err error) error {
	if errors.Is(err, lock.ErrDownload) {
		return fmt.Errorf("%w. %s", err, downloadAdvice)
	}
	return err
}

// pinned gives the lock that is asked for.
func (f packageFlags) pinned() (lock.Lock, error) {
	if f.lock == "" {
		return appliance.Pinned()
	}
	return readLock(f.lock)
}

func readLock(path string) (lock.Lock, error) {
	raw, err := readSmall(path)
	if err != nil {
		return lock.Lock{}, err
	}
	l, err := lock.Parse(raw)
	if err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileAllowed {
		return nil, fmt.Errorf("%s has %d bytes, want at most %d", path, info.Size(), maxFileAllowed)
	}
	return os.ReadFile(path)
}

// writeLock writes a lock, with how it came about.
func writeLock(path string, l lock.Lock) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	const comment = "# The Debian packages that the Compositing Engine is built from. To refresh it: imageport appliance lock --out FILE\n"
	return os.WriteFile(path, append([]byte(comment), l.Encode()...), 0o644)
}
