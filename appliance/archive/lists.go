package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"imageport/appliance/deb"
	"imageport/appliance/lock"
)

// ErrUntrusted: a list has no valid signature, is another one than it should
// be, or out of date.
var ErrUntrusted = errors.New("the mirror's list of packages cannot be trusted")

const (
	maxRelease = 4 << 20   // bytes
	maxIndex   = 64 << 20  // bytes, compressed
	maxList    = 512 << 20 // bytes, of the list itself
)

// ReadKeyring reads the keys of a keyring file, armored or not.
func ReadKeyring(raw []byte) (openpgp.EntityList, error) {
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(raw, []byte("-----BEGIN")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("not a keyring: %w", err)
	}
	return keys, nil
}

// Archives is where packages are looked up, and what is trusted of it.
type Archives struct {
	Mirror  lock.Mirror
	Keyring openpgp.EntityList // of Debian's archives
	Now     time.Time          // when lists and signatures have to be valid
	Client  *http.Client       // nil means http.DefaultClient
}

// release is what a suite's InRelease file says of it.
type release struct {
	date     time.Time
	byHash   bool
	packages indexFile
}

// indexFile is one of the files that a release lists.
type indexFile struct {
	path   string // in the suite's folder
	sha256 string
	size   int64
}

// openRelease verifies an InRelease file, and reads it. The suite is the code
// name that it has to have.
func openRelease(raw []byte, keys openpgp.EntityList, suite string, now time.Time) (release, error) {
	block, rest := clearsign.Decode(raw)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(raw, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return release{}, fmt.Errorf("%w: it is not one clear-signed message", ErrUntrusted)
	}
	at := func() time.Time { return now }
	if _, err := openpgp.CheckDetachedSignature(keys, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, &packet.Config{Time: at}); err != nil {
		return release{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return parseRelease(block.Plaintext, suite, now)
}

var sha256Line = regexp.MustCompile(`^([0-9a-f]{64}) +([0-9]+) +(\S+)$`)

func parseRelease(text []byte, suite string, now time.Time) (release, error) {
	var r release
	for fields, err := range deb.Stanzas(bytes.NewReader(text)) {
		if err != nil {
			return release{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
		}
		if r.date.IsZero() {
			if r, err = newRelease(fields, suite, now); err != nil {
				return release{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
			}
		}
	}
	if r.date.IsZero() {
		return release{}, fmt.Errorf("%w: it is empty", ErrUntrusted)
	}
	return r, nil
}

func newRelease(fields map[string]string, suite string, now time.Time) (release, error) {
	if got := fields["codename"]; got != suite {
		return release{}, fmt.Errorf("it is that of %q, want %s", got, suite)
	}
	date, err := time.Parse(time.RFC1123, fields["date"])
	if err != nil {
		return release{}, err
	}
	if until := fields["valid-until"]; until != "" {
		end, err := time.Parse(time.RFC1123, until)
		if err != nil {
			return release{}, err
		}
		if now.After(end) {
			return release{}, fmt.Errorf("it was valid until %s: the mirror is out of date, or this machine's clock is wrong", until)
		}
	}
	r := release{date: date.UTC(), byHash: fields["acquire-by-hash"] == "yes"}
	const want = "main/binary-amd64/Packages.xz"
	for line := range strings.Lines(fields["sha256"]) {
		m := sha256Line.FindStringSubmatch(strings.TrimSpace(line))
		// The security archive's components are named updates/main, its folders main.
		if m == nil || m[3] != want && m[3] != "updates/"+want {
			continue
		}
		size, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil || size > maxIndex {
			return release{}, fmt.Errorf("%s has %s bytes, want at most %d", m[3], m[2], maxIndex)
		}
		r.packages = indexFile{m[3], m[1], size}
		return r, nil
	}
	return release{}, fmt.Errorf("it lists no %s", want)
}

func (f indexFile) verify(body []byte) error {
	sum := sha256.Sum256(body)
	if got := hex.EncodeToString(sum[:]); got != f.sha256 {
		return fmt.Errorf("%w: %s has the SHA-256 %s, want %s: if the mirror is just being updated, try again", ErrUntrusted, f.path, got, f.sha256)
	}
	return nil
}

// list downloads the list of the packages of a suite.
func (a Archives) list(ctx context.Context, archive, suite string) (release, io.ReadCloser, error) {
	folder := "dists/" + suite + "/"
	var r release
	_, err := a.Mirror.Download(ctx, a.Client, archive, folder+"InRelease", maxRelease, func(body []byte) error {
		var err error
		r, err = openRelease(body, a.Keyring, suite, a.Now)
		return err
	})
	if err != nil {
		return release{}, nil, err
	}
	places := []string{r.packages.path}
	if r.byHash {
		slash := strings.LastIndexByte(r.packages.path, '/')
		places = []string{r.packages.path[:slash] + "/by-hash/SHA256/" + r.packages.sha256, r.packages.path}
	}
	for _, place := range places {
		var body []byte
		if body, err = a.Mirror.Download(ctx, a.Client, archive, folder+place, r.packages.size, r.packages.verify); err == nil {
			text, err := deb.Decompress(".xz", body)
			return r, text, err
		}
		if !errors.Is(err, lock.ErrGone) {
			break
		}
	}
	return release{}, nil, err
}
