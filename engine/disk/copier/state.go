package copier

import (
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"fmt"
	"hash"
)

// State is what of a copy is durable in its target. It is a value: it does not
// change while the copy goes on. As JSON it is some hundred bytes for a copy
// in order, and at most a few hundred KiB for the most scattered image.
type State struct {
	// Source is Options.Source of the copy.
	Source string
	// SizeBytes and UnitBytes are the size of the disk and of its units.
	SizeBytes, UnitBytes int64

	done runs
	// crc says that the runs carry CRCs.
	crc bool
	// hash is the state of the SHA-256 behind the only run, which then begins
	// at 0; nil without SHA-256.
	hash []byte
}

// stateJSON is the form of a State in JSON.
type stateJSON struct {
	Version   int    `json:"version"`
	Source    string `json:"source"`
	SizeBytes int64  `json:"sizeBytes"`
	UnitBytes int64  `json:"unitBytes"`
	CRC32C    bool   `json:"crc32c,omitempty"`
	// Done are the synced units: "first-last[:crc]", ascending.
	Done   string `json:"done"`
	SHA256 []byte `json:"sha256,omitempty"`
}

const stateVersion = 1

// DoneBytes is how much of the disk is done.
func (s State) DoneBytes() int64 { return s.done.bytes(s.geometry()) }

// Done is what of the disk is done: ascending, and no two ranges touch.
func (s State) Done() []Range {
	all := make([]Range, 0, len(s.done))
	for _, r := range s.done {
		all = append(all, Range{s.geometry().offset(r.first), s.geometry().bytes(r.first, r.end)})
	}
	return all
}

func (s State) geometry() geometry { return geometry{s.SizeBytes, s.UnitBytes} }

// MarshalJSON implements json.Marshaler.
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{stateVersion, s.Source, s.SizeBytes, s.UnitBytes, s.crc, s.done.format(s.crc), s.hash})
}

// UnmarshalJSON implements json.Unmarshaler. What it accepts is consistent in
// itself; that it belongs to a copy is for Copy to say.
func (s *State) UnmarshalJSON(b []byte) error {
	var in stateJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("copier: %w: %w", ErrState, err)
	}
	if in.Version != stateVersion {
		return fmt.Errorf("copier: state of version %d, expected %d: %w", in.Version, stateVersion, ErrState)
	}
	if in.SizeBytes < 0 || !validUnitSize(in.UnitBytes) {
		return fmt.Errorf("copier: state of %d bytes in units of %d: %w", in.SizeBytes, in.UnitBytes, ErrState)
	}
	geo := geometry{in.SizeBytes, in.UnitBytes}
	done, err := parseRuns(in.Done, geo.units(), in.CRC32C)
	if err != nil {
		return err
	}
	if in.SHA256 != nil {
		if len(done) != 1 || done[0].first != 0 {
			return fmt.Errorf("copier: state with SHA-256 has %d runs, expected one from unit 0 on: %w", len(done), ErrState)
		}
		if _, err := restoreHash(in.SHA256); err != nil {
			return err
		}
	}
	*s = State{in.Source, in.SizeBytes, in.UnitBytes, done, in.CRC32C, in.SHA256}
	return nil
}

// fits tells whether a copy can go on from the state.
func (s State) fits(geo geometry, opt Options) error {
	mismatch := func(what string, found, expected any) error {
		return fmt.Errorf("copier: the state has %s %v, this copy %v: %w", what, found, expected, ErrState)
	}
	switch {
	case s.Source != opt.Source:
		return mismatch("source", s.Source, opt.Source)
	case s.SizeBytes != geo.size:
		return mismatch("size", s.SizeBytes, geo.size)
	case s.UnitBytes != geo.unitSize:
		return mismatch("unit size", s.UnitBytes, geo.unitSize)
	case s.crc != opt.CRC:
		return mismatch("CRC", s.crc, opt.CRC)
	case (s.hash != nil) != opt.SHA256 && len(s.done) > 0:
		return mismatch("SHA-256", s.hash != nil, opt.SHA256)
	}
	return nil
}

// saveHash is the state of a SHA-256 that restoreHash continues.
func saveHash(h hash.Hash) ([]byte, error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("copier: the state of %T cannot be saved", h)
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("copier: saving the state of the SHA-256: %w", err)
	}
	return b, nil
}

func restoreHash(b []byte) (hash.Hash, error) {
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("copier: the state of %T cannot be restored", h)
	}
	if err := u.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("copier: SHA-256 of a state: %w: %w", ErrState, err)
	}
	return h, nil
}
