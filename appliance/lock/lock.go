package lock

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrFormat: the bytes are not a lock.
var ErrFormat = errors.New("not a valid package lock")

// The archives that packages are pinned in.
const (
	Debian   = "debian"
	Security = "debian-security"
)

// Lock is a set of pinned packages of one release of Debian, for amd64.
type Lock struct {
	Suite    string    // the release's code name, such as trixie
	Date     time.Time // of the newest list that it was made of
	Packages []Package // by name
}

// Package is one pinned package.
type Package struct {
	Name    string
	Version string
	Archive string // Debian or Security
	SHA256  string // 64 hexadecimal digits
	Size    int64  // bytes
	Path    string // in the archive: pool/….deb
	Source  string // the source package, name=version, that its licence entitles to
}

// Want is a package that a lock is to pin.
type Want struct {
	Name string
	// Follow means not the package, which is an empty one that names the newest
	// of its kind, but the one that it depends on in exactly one version.
	Follow bool
}

// String gives name and version.
func (p Package) String() string { return p.Name + " " + p.Version }

const (
	maxPackages    = 256
	maxPackageSize = 512 << 20 // bytes
	maxLine        = 4096      // bytes
	header         = "imageport-lock-1"
)

var (
	// Debian Policy 5.6.1 and 5.6.12.
	validName    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	validVersion = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~-]*$`)
	validSHA256  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	validPath    = regexp.MustCompile(`^pool/[A-Za-z0-9/.:+~_-]+\.deb$`)
)

// Parse reads a lock: a line "imageport-lock-1 suite date", and a line for each
// package of its fields in the order of Package, parted by spaces. Empty lines
// and those that begin with # do not count. Errors wrap ErrFormat.
func Parse(raw []byte) (Lock, error) {
	var l Lock
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() {
		number++
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var err error
		if l.Suite == "" {
			err = l.parseHeader(words)
		} else {
			err = l.parsePackage(words)
		}
		if err != nil {
			return Lock{}, fmt.Errorf("%w: line %d: %w", ErrFormat, number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Lock{}, fmt.Errorf("%w: line %d: %w", ErrFormat, number+1, err)
	}
	if len(l.Packages) == 0 {
		return Lock{}, fmt.Errorf("%w: there is no package in it", ErrFormat)
	}
	return l, nil
}

func (l *Lock) parseHeader(words []string) error {
	if len(words) != 3 || words[0] != header || !validName.MatchString(words[1]) {
		return fmt.Errorf("%q, want %q", strings.Join(words, " "), header+" suite date")
	}
	date, err := time.Parse(time.RFC3339, words[2])
	if err != nil {
		return err
	}
	l.Suite, l.Date = words[1], date.UTC()
	return nil
}

func (l *Lock) parsePackage(words []string) error {
	if len(words) != 7 {
		return fmt.Errorf("%d fields, want 7", len(words))
	}
	size, err := strconv.ParseInt(words[4], 10, 64)
	p := Package{Name: words[0], Version: words[1], Archive: words[2], SHA256: words[3], Size: size, Path: words[5], Source: words[6]}
	if err != nil {
		return fmt.Errorf("the size of %s: %w", p.Name, err)
	}
	if err := p.Check(); err != nil {
		return err
	}
	if len(l.Packages) == maxPackages {
		return fmt.Errorf("over %d packages", maxPackages)
	}
	if n := len(l.Packages); n > 0 && l.Packages[n-1].Name >= p.Name {
		return fmt.Errorf("%s follows %s, want each name once and in order", p.Name, l.Packages[n-1].Name)
	}
	l.Packages = append(l.Packages, p)
	return nil
}

// Check says what of a package cannot be so.
func (p Package) Check() error {
	source, sourceVersion, _ := strings.Cut(p.Source, "=")
	switch {
	case !validName.MatchString(p.Name):
		return fmt.Errorf("%q is no name of a package", p.Name)
	case !validVersion.MatchString(p.Version):
		return fmt.Errorf("%s: %q is no version", p.Name, p.Version)
	case p.Archive != Debian && p.Archive != Security:
		return fmt.Errorf("%s: there is no archive %q, but %s and %s", p.Name, p.Archive, Debian, Security)
	case !validSHA256.MatchString(p.SHA256):
		return fmt.Errorf("%s: %q is no SHA-256", p.Name, p.SHA256)
	case p.Size < 1 || p.Size > maxPackageSize:
		return fmt.Errorf("%s: %d bytes, want 1 to %d", p.Name, p.Size, maxPackageSize)
	case !validPath.MatchString(p.Path) || !fs.ValidPath(p.Path):
		return fmt.Errorf("%s: %q is no path in a pool", p.Name, p.Path)
	case !validName.MatchString(source) || !validVersion.MatchString(sourceVersion):
		return fmt.Errorf("%s: %q is no source package, name=version", p.Name, p.Source)
	}
	return nil
}

// Encode writes a lock as Parse reads it.
func (l Lock) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\n", header, l.Suite, l.Date.UTC().Format(time.RFC3339))
	packages := slices.SortedFunc(slices.Values(l.Packages), func(a, b Package) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range packages {
		fmt.Fprintln(&b, p.Name, p.Version, p.Archive, p.SHA256, p.Size, p.Path, p.Source)
	}
	return b.Bytes()
}

// SHA256 names the lock: what its comments say does not count.
func (l Lock) SHA256() string {
	sum := sha256.Sum256(l.Encode())
	return hex.EncodeToString(sum[:])
}
