package seed

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"imageport/job"
)

const (
	// MaxBytes is the size of the biggest encoded seed. The tightest carrier is
	// XenServer's xenstore with 4 KiB for a value in base64.
	MaxBytes = 2048
	// Key is what a platform calls the seed wherever it has a name for what it
	// carries: guestinfo.imageport-ce, vm-data/imageport-ce, opt/imageport-ce.
	Key = "imageport-ce"
	// Failed begins the last line on the console of a CE that gives up; the
	// cause follows.
	Failed = "imageport-ce cannot go on: "
)

// Seed is everything that a CE is told when it starts.
type Seed struct {
	// Name is the name of the CE.
	Name string `json:"name"`
	// Deadline is when the CE ends by itself if nobody ended it before. It
	// bounds what an orphan costs.
	Deadline time.Time `json:"deadline"`
	// Gateway is how the CE reaches the rest of imageport.
	Gateway Gateway `json:"gateway"`
	// Network are the CE's addresses. Without, it asks by DHCP.
	Network *Network `json:"network,omitempty"`
}

// Gateway is the worker's door for CEs.
type Gateway struct {
	// Address is the gateway's "host:port" as the CE is to dial it.
	Address string `json:"address"`
	// CA is the SHA-256 of the certificate that vouches for the gateway, in
	// hexadecimal.
	CA string `json:"ca"`
	// Patience is for how many seconds the CE tries to enrol.
	Patience int `json:"patience"`
	// Token lets the CE enrol, once and with one key. It is worth nothing
	// afterwards.
	Token string `json:"token"`
}

// Network are static addresses, as the job's request names them.
type Network = job.CENetwork

// Encode gives the seed as one JSON object of at most MaxBytes.
func (s Seed) Encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("seed of %s: %w", s.Name, err)
	}
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("seed of %s: %d bytes, the limit is %d", s.Name, len(b), MaxBytes)
	}
	return b, nil
}

// Decode reads what Encode wrote. Its errors do not quote the content, which
// may hold a token that is still good.
func Decode(b []byte) (Seed, error) {
	if len(b) > MaxBytes {
		return Seed{}, fmt.Errorf("seed: %d bytes, the limit is %d", len(b), MaxBytes)
	}
	var s Seed
	d := json.NewDecoder(bytes.NewReader(b))
	// A field that this CE does not know may be one that it must obey.
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Seed{}, fmt.Errorf("seed: it is not a JSON object with the keys of this release, at byte %d", d.InputOffset())
	}
	if rest := strings.TrimSpace(string(b[d.InputOffset():])); rest != "" {
		return Seed{}, fmt.Errorf("seed: something follows the object at byte %d", d.InputOffset())
	}
	return s, s.validate()
}

func (s Seed) validate() error {
	if !ValidName(s.Name) {
		return fmt.Errorf("seed: %q is no name for a Compositing Engine", s.Name)
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("seed of %s: %s", s.Name, fmt.Sprintf(format, args...))
	}
	if s.Deadline.IsZero() {
		return wrong("no deadline")
	}
	if host, port, err := net.SplitHostPort(s.Gateway.Address); err != nil || host == "" || port == "" {
		return wrong("%q is no address of a gateway: want host:port", s.Gateway.Address)
	}
	if ca, err := hex.DecodeString(s.Gateway.CA); err != nil || len(ca) != 32 {
		return wrong("the gateway's CA is not a SHA-256 in hexadecimal")
	}
	if s.Gateway.Patience <= 0 {
		return wrong("no patience to enrol")
	}
	if s.Gateway.Token == "" {
		return wrong("no token")
	}
	if s.Network != nil {
		if err := s.Network.Validate(); err != nil {
			return wrong("network: %s", err)
		}
	}
	return nil
}

var namePattern = regexp.MustCompile(`^ce-[0-9a-f]{12}$`)

// ValidName reports whether name is that of a CE: "ce-" and 12 hexadecimal
// digits. Platforms touch nothing that is called otherwise.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// Name is the name of the CE with that id of 12 hexadecimal digits.
func Name(id string) string { return "ce-" + id }

// Queue is the task queue of the CE of that name, the only one that it polls.
func Queue(name string) string { return "ce/" + strings.TrimPrefix(name, "ce-") }
