package plan

import (
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what a plan may ask for, and a state may hold.
const (
	MaxMaxBoots    = 32
	MaxSteps       = 32
	MaxCommand     = 8 << 10 // bytes; CreateProcess takes 32,767 UTF-16 units after expansion
	MaxPattern     = 512     // bytes of a NamePattern
	MaxRetries     = 10      // how often a step may ask to be tried again
	MaxText        = 1 << 10 // bytes of a text for people
	MaxDetect      = 8
	maxCodes       = 64
	maxName        = 128
	maxKey         = 512
	maxVersionText = 64
	maxSeconds     = 24 * 60 * 60
)

// Validate reports the first thing that keeps a runner from following the plan.
func (p Plan) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrPlan, fmt.Sprintf(format, args...))
	}
	switch {
	case p.Version != Version:
		return bad("version %d, expected %d", p.Version, Version)
	case !isName(p.Job):
		return bad("job %q: 1 to %d printable characters expected", clip(p.Job), maxName)
	case p.MaxBoots < 1 || p.MaxBoots > MaxMaxBoots:
		return bad("maxBoots %d, expected 1 to %d", p.MaxBoots, MaxMaxBoots)
	case !isSeconds(p.DeadlineSeconds):
		return bad("deadlineSeconds %d, expected 1 to %d", p.DeadlineSeconds, maxSeconds)
	case p.SettleSeconds < 0 || p.SettleSeconds > maxSeconds:
		return bad("settleSeconds %d, expected 0 to %d", p.SettleSeconds, maxSeconds)
	case p.MaxPendingReboots < 0 || p.MaxPendingReboots > MaxMaxBoots:
		return bad("maxPendingReboots %d, expected 0 to %d", p.MaxPendingReboots, MaxMaxBoots)
	case len(p.Steps) < 1 || len(p.Steps) > MaxSteps:
		return bad("%d steps, expected 1 to %d", len(p.Steps), MaxSteps)
	}
	names := map[string]bool{}
	for i, s := range p.Steps {
		if why := s.wrong(); why != "" {
			return bad("steps[%d] %q: %s", i, clip(s.Name), why)
		}
		if names[s.Name] {
			return bad("steps[%d] %q: the name is not unique", i, s.Name)
		}
		names[s.Name] = true
	}
	return nil
}

func (s Step) wrong() string {
	switch {
	case !isName(s.Name):
		return fmt.Sprintf("name: 1 to %d printable characters expected", maxName)
	case strings.TrimSpace(s.Command) == "" || len(s.Command) > MaxCommand || strings.ContainsRune(s.Command, 0) || !utf8.ValidString(s.Command):
		return fmt.Sprintf("command: 1 to %d bytes of text expected", MaxCommand)
	case s.File != "" && !isFileName(s.File):
		return fmt.Sprintf("file %q: the name of a file in %s expected", clip(s.File), FilesDir)
	case s.File == "" && s.SHA256 != "", s.File != "" && s.SHA256 == "":
		return "file and sha256: both or none expected"
	case s.SHA256 != "" && !isSHA256(s.SHA256):
		return fmt.Sprintf("sha256 %q: 64 hexadecimal digits expected", clip(s.SHA256))
	case !isSeconds(s.TimeoutSeconds):
		return fmt.Sprintf("timeoutSeconds %d, expected 1 to %d", s.TimeoutSeconds, maxSeconds)
	case s.Session != "" && s.Session != SessionConsole && s.Session != SessionService:
		return fmt.Sprintf("session %q, expected %q or %q", clip(s.Session), SessionConsole, SessionService)
	case len(s.Detect) > MaxDetect:
		return fmt.Sprintf("%d entries of detect, at most %d expected", len(s.Detect), MaxDetect)
	case len(s.OK)+len(s.Reboot) == 0:
		return "ok and reboot: it could never be done"
	case len(s.OK)+len(s.Reboot)+len(s.Retry) > maxCodes:
		return fmt.Sprintf("%d exit codes, at most %d expected", len(s.OK)+len(s.Reboot)+len(s.Retry), maxCodes)
	}
	seen := map[uint32]bool{}
	for _, code := range slices.Concat(s.OK, s.Reboot, s.Retry) {
		if int64(code) < math.MinInt32 || int64(code) > math.MaxUint32 {
			return fmt.Sprintf("exit code %d: does not fit into 32 bits", code)
		}
		if seen[uint32(code)] {
			return fmt.Sprintf("exit code %d: is there twice", code)
		}
		seen[uint32(code)] = true
	}
	for i, d := range s.Detect {
		if why := d.wrong(); why != "" {
			return fmt.Sprintf("detect[%d]: %s", i, why)
		}
	}
	return ""
}

func (d Detect) wrong() string {
	switch {
	case d.Key == "" || len(d.Key) > maxKey || strings.ContainsRune(d.Key, 0) || strings.HasPrefix(d.Key, `\`):
		return fmt.Sprintf("key %q: a path below HKEY_LOCAL_MACHINE expected", clip(d.Key))
	case len(d.NamePattern) > MaxPattern:
		return fmt.Sprintf("namePattern: %d bytes, at most %d expected", len(d.NamePattern), MaxPattern)
	case len(d.Version) > maxVersionText:
		return fmt.Sprintf("version: %d bytes, at most %d expected", len(d.Version), maxVersionText)
	}
	if _, err := regexp.Compile(d.NamePattern); err != nil {
		return fmt.Sprintf("namePattern: %v", err)
	}
	if _, ok := numbers(d.Version); !ok {
		return fmt.Sprintf("version %q: numbers with dots between them expected", clip(d.Version))
	}
	return ""
}

// Validate reports the first thing by which this is not what a runner writes.
func (s State) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrState, fmt.Sprintf(format, args...))
	}
	switch {
	case s.Version != Version:
		return bad("version %d, expected %d", s.Version, Version)
	case s.Job != "" && !isName(s.Job):
		return bad("job %q: at most %d printable characters expected", clip(s.Job), maxName)
	case s.Status != Running && s.Status != Succeeded && s.Status != Failed:
		return bad("status %q", clip(string(s.Status)))
	case s.Boots < 0, s.PendingReboots < 0:
		return bad("boots %d, pendingReboots %d: negative", s.Boots, s.PendingReboots)
	case !(s.ElapsedSeconds >= 0) || s.ElapsedSeconds > math.MaxInt32:
		return bad("elapsedSeconds %g, expected 0 to %d", s.ElapsedSeconds, math.MaxInt32)
	case len(s.Steps) > MaxSteps:
		return bad("%d steps, at most %d expected", len(s.Steps), MaxSteps)
	case (s.Status == Failed) != (s.Failure != nil):
		return bad("status %q, and failure is %t", s.Status, s.Failure != nil)
	}
	for i, step := range s.Steps {
		if why := step.wrong(); why != "" {
			return bad("steps[%d] %q: %s", i, clip(step.Name), why)
		}
		// Only the last one can still be on its way.
		if !step.Done && !step.Failed && (i < len(s.Steps)-1 || s.Status == Succeeded) {
			return bad("steps[%d] %q: has not ended", i, step.Name)
		}
	}
	if f := s.Failure; f != nil {
		if !f.Kind.known() || f.Step != "" && !isName(f.Step) || !isText(f.Message) {
			return bad("failure: kind %q, step %q and a message of %d bytes", clip(string(f.Kind)), clip(f.Step), len(f.Message))
		}
	}
	return nil
}

func (s StepState) wrong() string {
	ways := 0
	for _, way := range []bool{s.InFlight, s.Reboot, s.Done, s.Failed} {
		if way {
			ways++
		}
	}
	switch {
	case !isName(s.Name):
		return fmt.Sprintf("name: 1 to %d printable characters expected", maxName)
	case s.Attempts < 0, s.Retries < 0, s.Retries > s.Attempts:
		return fmt.Sprintf("%d attempts, %d of them retries", s.Attempts, s.Retries)
	case ways > 1:
		return fmt.Sprintf("inFlight %t, reboot %t, done %t, failed %t: one expected", s.InFlight, s.Reboot, s.Done, s.Failed)
	case !(s.Seconds >= 0) || s.Seconds > math.MaxInt32:
		return fmt.Sprintf("seconds %g", s.Seconds)
	case !isText(s.Note):
		return fmt.Sprintf("note: %d bytes, at most %d of text expected", len(s.Note), MaxText)
	}
	return ""
}

func (k FailureKind) known() bool {
	switch k {
	case BadPlan, BadHash, ExitCode, TimedOut, NotStarted, TooManyTries, TooManyBoots, Deadline, PendingReboot, Internal:
		return true
	}
	return false
}

// Of reports whether the state is one of the plan: its job, and its steps as far
// as they were begun. The error wraps ErrOtherPlan.
func (s State) Of(p Plan) error {
	if s.Job != p.Job {
		return fmt.Errorf("%w: job %q, expected %q", ErrOtherPlan, s.Job, p.Job)
	}
	if len(s.Steps) > len(p.Steps) {
		return fmt.Errorf("%w: %d steps, expected at most %d", ErrOtherPlan, len(s.Steps), len(p.Steps))
	}
	for i, step := range s.Steps {
		if step.Name != p.Steps[i].Name {
			return fmt.Errorf("%w: steps[%d] %q, expected %q", ErrOtherPlan, i, step.Name, p.Steps[i].Name)
		}
		if step.Failed && !p.Steps[i].Optional {
			return fmt.Errorf("%w: steps[%d] %q failed as an optional one, which it is not", ErrOtherPlan, i, step.Name)
		}
	}
	if s.Status == Succeeded && len(s.Steps) < len(p.Steps) {
		return fmt.Errorf("%w: succeeded with %d of %d steps", ErrOtherPlan, len(s.Steps), len(p.Steps))
	}
	return nil
}

func isSeconds(n int) bool { return n >= 1 && n <= maxSeconds }

func isText(s string) bool { return len(s) <= MaxText && utf8.ValidString(s) }

func isName(s string) bool {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F })
}

// device is a name that Windows takes for a device in any folder.
var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)`)

// isFileName takes what is a plain name in Windows: no path, stream, device or
// wildcard, and none whose end Windows would drop.
func isFileName(s string) bool {
	return isName(s) && !strings.ContainsAny(s, `\/:*?"<>|`) && !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, " ") && !device.MatchString(s)
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// clip makes what was found fit into a message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// shorten makes a text for people one that fits.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxText {
		return s
	}
	cut := MaxText - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
