package job

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// SweepRequest asks for the removal of the Compositing Engines (CEs) of a
// resource location whose jobs run no more, with everything that belongs to
// them. The zero value is what the schedule asks for.
type SweepRequest struct {
	// DryRun removes nothing, and tells what would be removed.
	DryRun bool `json:"dryRun,omitempty"`
	// MinAge is the age below which a CE is left alone, by default
	// DefaultSweepMinAge.
	MinAge *Period `json:"minAge,omitempty"`
	// Settle is the time between the two looks that have to find the same, by
	// default DefaultSweepSettle.
	Settle *Period `json:"settle,omitempty"`
}

// What a SweepRequest means that does not say.
const (
	DefaultSweepMinAge = 30 * time.Minute
	DefaultSweepSettle = 2 * time.Minute
)

// SweepResult is what a sweep found and did. The next sweep goes on from it.
type SweepResult struct {
	DryRun  bool      `json:"dryRun,omitempty"`
	Started time.Time `json:"started"`
	// Targets are the places that were looked at.
	Targets []SweepTarget `json:"targets"`
	// Removed are the CEs that are gone now or, of a dry run, would be.
	Removed []SweptCE `json:"removed,omitempty"`
	// Kept are those of the resource location that were left, and those that
	// nobody has put a mark on.
	Kept []SweptCE `json:"kept,omitempty"`
	// Failed could not be removed. The next sweep tries again.
	Failed []SweptCE `json:"failed,omitempty"`
}

// SweepTarget is a place where CEs of the resource location may be.
type SweepTarget struct {
	Target
	// LastUsed is when a job was last known to use it. It is zero for a platform
	// that the worker's configuration places.
	LastUsed time.Time `json:"lastUsed,omitzero"`
	// CEs is how many CEs of the resource location are there, and Others how
	// many of other ones.
	CEs    int `json:"ces"`
	Others int `json:"others,omitempty"`
	// Error is why it could not be looked at.
	Error string `json:"error,omitempty"`
}

// SweptCE is a CE as a sweep saw it.
type SweptCE struct {
	Platform string `json:"platform"` // Target.Label
	CE       string `json:"ce"`
	Job      string `json:"job,omitempty"` // workflow id, "" if nobody has put it on the CE
	Age      Period `json:"age"`
	// Why says what the sweep went by, or what kept the CE from being removed.
	Why string `json:"why"`
}

// Period is a length of time. In JSON it is a string such as "1h30m".
type Period time.Duration

// String gives it in full seconds, without what is zero at the end.
func (p Period) String() string {
	s := time.Duration(p).Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalJSON writes all of it, also below a second.
func (p Period) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(p).String()) }

// UnmarshalJSON reads a string as time.ParseDuration does. Less than nothing is
// refused.
func (p *Period) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%.40s is not a length of time: want a string such as \"30m\"", b)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%.40q is not a length of time: want one such as \"30m\"", text)
	}
	*p = Period(d)
	return nil
}
