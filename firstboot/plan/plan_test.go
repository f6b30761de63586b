package plan

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() Plan {
	return Plan{
		Version: Version, Job: "job-1", MaxBoots: 8, DeadlineSeconds: 7200, SettleSeconds: 600, MaxPendingReboots: 2,
		Steps: []Step{
			{
				Name: "PVS target 2311", Command: `"C:\x\setup.exe" /S /v"/qn /norestart"`, File: "setup.exe", SHA256: strings.Repeat("ab", 32),
				Detect: []Detect{{Key: `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, NamePattern: "^Citrix Provisioning( Services)? Target Device", Version: "7.40"}},
				OK:     []int{0}, Reboot: []int{3010, 1641}, Retry: []int{1618}, TimeoutSeconds: 2700, Session: SessionConsole,
			},
			{Name: "repair", Command: "rundll32.exe x", OK: []int{0}, TimeoutSeconds: 60, Optional: true},
		},
	}
}

func sampleState() State {
	code := 3010
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	return State{
		Version: Version, Job: "job-1", Status: Failed, Boots: 2, Started: at, Updated: at.Add(time.Minute), ElapsedSeconds: 60,
		Steps: []StepState{
			{Name: "PVS target 2311", Attempts: 2, Retries: 1, Done: true, ExitCode: &code, Seconds: 12.5},
			{Name: "repair", Attempts: 1, InFlight: true},
		},
		Failure: &Failure{Kind: TooManyTries, Step: "repair", Message: "m"}, Disarmed: true,
	}
}

func TestPlanThereAndBack(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePlan(b)
	if err != nil || !reflect.DeepEqual(p, sample()) {
		t.Fatal(p, err)
	}
}

func TestStateThereAndBack(t *testing.T) {
	b, err := sampleState().Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseState(b)
	if err != nil || !reflect.DeepEqual(s, sampleState()) {
		t.Fatal(s, err)
	}
	if err := s.Of(sample()); err != nil {
		t.Fatal(err)
	}
}

func TestPlansThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		change func(*Plan)
		says   string
	}{
		"version":          {func(p *Plan) { p.Version = 2 }, "version 2, expected 1"},
		"no job":           {func(p *Plan) { p.Job = "" }, "job"},
		"job with lines":   {func(p *Plan) { p.Job = "a\nb" }, "job"},
		"no boots":         {func(p *Plan) { p.MaxBoots = 0 }, "maxBoots 0"},
		"endless boots":    {func(p *Plan) { p.MaxBoots = 1 << 40 }, "maxBoots"},
		"no deadline":      {func(p *Plan) { p.DeadlineSeconds = 0 }, "deadlineSeconds 0"},
		"settles for ever": {func(p *Plan) { p.SettleSeconds = 1 << 40 }, "settleSeconds"},
		"pending for ever": {func(p *Plan) { p.MaxPendingReboots = 99 }, "maxPendingReboots 99"},
		"no steps":         {func(p *Plan) { p.Steps = nil }, "0 steps"},
		"many steps":       {func(p *Plan) { p.Steps = make([]Step, 33) }, "33 steps"},
		"name twice":       {func(p *Plan) { p.Steps[1].Name = p.Steps[0].Name }, "not unique"},
		"no command":       {func(p *Plan) { p.Steps[0].Command = " " }, "command"},
		"command with NUL": {func(p *Plan) { p.Steps[0].Command = "a\x00b" }, "command"},
		"path":             {func(p *Plan) { p.Steps[0].File = `..\setup.exe` }, "file"},
		"device":           {func(p *Plan) { p.Steps[0].File = "nul.exe" }, "file"},
		"device and space": {func(p *Plan) { p.Steps[0].File = "Com1 .msi" }, "file"},
		"console":          {func(p *Plan) { p.Steps[0].File = "CONIN$" }, "file"},
		"stream":           {func(p *Plan) { p.Steps[0].File = `setup.exe:x` }, "file"},
		"dots":             {func(p *Plan) { p.Steps[0].File = ".." }, "file"},
		"file, no hash":    {func(p *Plan) { p.Steps[0].SHA256 = "" }, "both or none"},
		"hash, no file":    {func(p *Plan) { p.Steps[0].File = "" }, "both or none"},
		"short hash":       {func(p *Plan) { p.Steps[0].SHA256 = "abcd" }, "64 hexadecimal"},
		"no time":          {func(p *Plan) { p.Steps[0].TimeoutSeconds = 0 }, "timeoutSeconds 0"},
		"session":          {func(p *Plan) { p.Steps[0].Session = "1" }, "session"},
		"never done":       {func(p *Plan) { p.Steps[1].OK = nil }, "never be done"},
		"code twice":       {func(p *Plan) { p.Steps[0].Retry = []int{0} }, "is there twice"},
		"code twice, signed": {func(p *Plan) { p.Steps[0].OK, p.Steps[0].Retry = []int{-1}, []int{0xFFFFFFFF} },
			"is there twice"},
		"large code":     {func(p *Plan) { p.Steps[0].OK = []int{1 << 40} }, "32 bits"},
		"many codes":     {func(p *Plan) { p.Steps[0].OK = make([]int, 65) }, "exit codes"},
		"no key":         {func(p *Plan) { p.Steps[0].Detect[0].Key = "" }, "key"},
		"no regexp":      {func(p *Plan) { p.Steps[0].Detect[0].NamePattern = "(" }, "namePattern"},
		"no version":     {func(p *Plan) { p.Steps[0].Detect[0].Version = "" }, "version"},
		"other version":  {func(p *Plan) { p.Steps[0].Detect[0].Version = "7.x" }, "version"},
		"many detects":   {func(p *Plan) { p.Steps[0].Detect = make([]Detect, 9) }, "detect"},
		"large patterns": {func(p *Plan) { p.Steps[0].Detect[0].NamePattern = strings.Repeat("a", 513) }, "namePattern"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := sample()
			test.change(&p)
			if _, err := p.Encode(); !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, expected %q", err, test.says)
			}
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParsePlan(b); !errors.Is(err, ErrPlan) {
				t.Errorf("parsed: %v", err)
			}
		})
	}
}

func TestStatesThatAreRefused(t *testing.T) {
	tests := map[string]func(*State){
		"version":              func(s *State) { s.Version = 0 },
		"status":               func(s *State) { s.Status = "done" },
		"boots":                func(s *State) { s.Boots = -1 },
		"elapsed":              func(s *State) { s.ElapsedSeconds = -1 },
		"elapsed for ever":     func(s *State) { s.ElapsedSeconds = 1e300 },
		"failed, no failure":   func(s *State) { s.Failure = nil },
		"running, and failure": func(s *State) { s.Status = Running },
		"kind":                 func(s *State) { s.Failure.Kind = "bad" },
		"succeeded in flight":  func(s *State) { s.Status, s.Failure = Succeeded, nil },
		"in flight, not last":  func(s *State) { s.Steps[0].InFlight, s.Steps[0].Done = true, false },
		"done and in flight":   func(s *State) { s.Steps[0].InFlight = true },
		"attempts":             func(s *State) { s.Steps[0].Attempts = -1 },
		"more retries":         func(s *State) { s.Steps[0].Retries = 3 },
		"seconds":              func(s *State) { s.Steps[0].Seconds = -1 },
		"many steps":           func(s *State) { s.Steps = make([]StepState, 33) },
		"no name":              func(s *State) { s.Steps[0].Name = "" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			s := sampleState()
			change(&s)
			if err := s.Validate(); !errors.Is(err, ErrState) {
				t.Error(err)
			}
		})
	}
	for name, b := range map[string]string{
		"empty": "", "zeros": "\x00\x00\x00", "torn": `{"version":1,"job":"job`, "null": "null", "list": "[]", "number": "1",
		"two": `{"version":1,"status":"running"}{}`, "unknown": `{"version":1,"status":"running","shell":"x"}`,
		"large": strings.Repeat(" ", MaxStateBytes+1), "type": `{"version":"1"}`,
	} {
		if _, err := ParseState([]byte(b)); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStateOfAnotherPlan(t *testing.T) {
	for name, change := range map[string]func(*State){
		"job":        func(s *State) { s.Job = "job-2" },
		"step":       func(s *State) { s.Steps[1].Name = "other" },
		"more steps": func(s *State) { s.Steps = append(s.Steps, s.Steps...) },
		"given up, and not optional": func(s *State) {
			s.Steps[0].Done, s.Steps[0].Failed = false, true
		},
		"succeeded too early": func(s *State) { s.Status, s.Failure, s.Steps = Succeeded, nil, s.Steps[:1] },
	} {
		s := sampleState()
		change(&s)
		if err := s.Of(sample()); !errors.Is(err, ErrOtherPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What people are told may be any text, and the state is written all the same.
func TestTextsAreMadeToFit(t *testing.T) {
	s := sampleState()
	s.Steps = nil
	for range MaxSteps {
		s.Steps = append(s.Steps, StepState{Name: "n", Failed: true, Note: strings.Repeat("\x01", 5000)})
	}
	s.Failure.Message = strings.Repeat("ü", 5000) + "\xff"
	b, err := s.Encode()
	if err != nil || len(b) > MaxStateBytes {
		t.Fatal(len(b), err)
	}
	back, err := ParseState(b)
	if err != nil || !strings.HasSuffix(back.Failure.Message, "ü…") || len(s.Failure.Message) != 10001 {
		t.Fatal(err, back.Failure)
	}
}

func TestDetect(t *testing.T) {
	d := sample().Steps[0].Detect[0]
	for _, test := range []struct {
		name, version, want string
		holds               bool
	}{
		{"Citrix Provisioning Target Device x64", "7.40.0.50", "7.40", true},
		{"Citrix Provisioning Services Target Device x64", "7.40", "7.40", true},
		{"Citrix Provisioning Target Device", " 7.40.1", "7.40", true},
		{"Citrix Provisioning Target Device", "7.40", "7.40.0.0", true},
		{"Citrix Provisioning Target Device", "7.40", "7.40.0.50", false},
		{"Citrix Provisioning Target Device", "7.4", "7.40", false},
		{"Citrix Provisioning Target Device", "7.400", "7.40", false},
		{"Citrix Provisioning Target Device", "7.33.0.100", "7.40", false},
		{"Citrix Provisioning Target Device", "", "7.40", false},
		{"Citrix Provisioning Target Device", "seven", "7.40", false},
		{"Citrix Provisioning Target Device", "7.40.+1", "7.40", false},
		{"Citrix Provisioning Console", "7.40", "7.40", false},
		{"", "7.40", "7.40", false},
	} {
		d.Version = test.want
		if got := d.Holds([]Product{{"Other", "7.40"}, {test.name, test.version}}); got != test.holds {
			t.Errorf("%q %q is %s: %t", test.name, test.version, test.want, got)
		}
	}
	d.NamePattern = "("
	if d.Holds([]Product{{"(", "7.40"}}) {
		t.Error("holds by a pattern that is none")
	}
}

// FuzzPlan: what is a plan stays one when it is written again.
func FuzzPlan(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePlan(b)
		if err != nil {
			if !errors.Is(err, ErrPlan) {
				t.Fatal(err)
			}
			return
		}
		b, err = p.Encode()
		if err != nil {
			// Escapes may make it larger than a plan may be.
			return
		}
		again, err := ParsePlan(b)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := again.Encode(); err != nil || string(c) != string(b) {
			t.Fatalf("%s\n%s\n%v", b, c, err)
		}
		for _, s := range p.Steps {
			for _, d := range s.Detect {
				d.Holds([]Product{{s.Name, d.Version}})
			}
		}
	})
}

// FuzzState: what is a state stays one when it is written again.
func FuzzState(f *testing.F) {
	b, err := sampleState().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	plan := sample()
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseState(b)
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Fatal(err)
			}
			return
		}
		if err := s.Of(plan); err != nil && !errors.Is(err, ErrOtherPlan) {
			t.Fatal(err)
		}
		b, err = s.Encode()
		if err != nil {
			t.Fatalf("%v\n%+v", err, s)
		}
		again, err := ParseState(b)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := again.Encode(); err != nil || string(c) != string(b) {
			t.Fatalf("%s\n%s\n%v", b, c, err)
		}
	})
}
