package platforms

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// MaxSeedBytes is the size of the biggest seed. The tightest carrier is
// XenServer's xenstore with 4 KiB for an encoded value.
const MaxSeedBytes = 2048

// Seed is everything that an agent is told when its CE starts. Whoever may
// look at the CE on its platform can read it: there are no secrets in it.
type Seed struct {
	// Name is the name of the CE.
	Name string `json:"name"`
	// TaskQueue is the only queue that the agent polls.
	TaskQueue string `json:"taskQueue"`
	// Deadline is when the agent ends by itself if nobody ended it before. It
	// bounds what an orphan costs.
	Deadline time.Time `json:"deadline"`
	// Endpoint says how to reach the orchestration. The worker writes it and
	// the agent's connection code reads it; drivers carry it unseen. It is
	// empty where the agent has the worker's surroundings to go by.
	Endpoint json.RawMessage `json:"endpoint,omitempty"`
}

// Encode gives the seed as one JSON object of at most MaxSeedBytes.
func (s Seed) Encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, Errorf(BadRequest, "seed of %s: %w", s.Name, err)
	}
	if len(b) > MaxSeedBytes {
		return nil, Errorf(BadRequest, "seed of %s: %d bytes, the limit is %d", s.Name, len(b), MaxSeedBytes)
	}
	return b, nil
}

// DecodeSeed reads what Encode wrote.
func DecodeSeed(b []byte) (Seed, error) {
	if len(b) > MaxSeedBytes {
		return Seed{}, Errorf(BadRequest, "seed: %d bytes, the limit is %d", len(b), MaxSeedBytes)
	}
	var s Seed
	d := json.NewDecoder(bytes.NewReader(b))
	// A field that this agent does not know may be one that it must obey.
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Seed{}, Errorf(BadRequest, "seed: %w", err)
	}
	if rest := strings.TrimSpace(string(b[d.InputOffset():])); rest != "" {
		return Seed{}, Errorf(BadRequest, "seed: something follows the object at byte %d", d.InputOffset())
	}
	return s, s.validate()
}

func (s Seed) validate() error {
	switch {
	case !ValidName(s.Name):
		return Errorf(BadRequest, "seed: %q is no name for a CE", s.Name)
	case s.TaskQueue == "":
		return Errorf(BadRequest, "seed of %s: no task queue", s.Name)
	case s.Deadline.IsZero():
		return Errorf(BadRequest, "seed of %s: no deadline", s.Name)
	}
	return nil
}
