package pid1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/appliance/pid1/kmsg"
)

// The test's program plays three parts: the tests, a first process that runs an
// agent, and the agent.
const partVariable = "PID1_TEST_PART"

func TestMain(m *testing.M) {
	switch part, what, _ := strings.Cut(os.Getenv(partVariable), ":"); part {
	case "":
		os.Exit(m.Run())
	case "first":
		playFirst(what)
	case "agent":
		playAgent(what)
	}
}

// slowStart is the limit of the start for work that takes longer.
const slowStart = 3 * time.Second

// playFirst supervises an agent, with shorter limits, and prints the cause.
func playFirst(what string) {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGTERM)
	w := kmsg.NewWriter(os.Stderr)
	start := time.Minute
	switch what {
	case "never works":
		start = 700 * time.Millisecond
	case "slow work":
		start = slowStart
	}
	s := &supervisor{
		program: "/proc/self/exe", args: []string{"agent"}, env: []string{partVariable + "=agent:" + what},
		limits: limits{start: start, stop: 500 * time.Millisecond, grace: 300 * time.Millisecond, drain: 200 * time.Millisecond},
		log:    slog.New(kmsg.NewHandler(w, slog.LevelInfo)), clean: w.Clean, signals: ends,
	}
	fmt.Printf("cause %q", s.run())
}

func playAgent(what string) {
	pipe := os.NewFile(reportFD, "report")
	say := func(r report) {
		if err := r.send(pipe); err != nil {
			panic(err)
		}
	}
	working := report{Working: true}
	switch what {
	case "done":
		say(report{Deadline: time.Now().Add(time.Hour)})
		say(working)
	case "slow work": // longer than the limit of the start
		say(working)
		time.Sleep(slowStart + 1500*time.Millisecond)
	case "cause":
		say(working)
		say(report{Cause: "the gateway is gone\nsince today"})
	case "noise": // not reports
		fmt.Fprintln(pipe, "hello\n[]\n{}\n{\"cause\":1}")
	case "panic":
		panic("a defect")
	case "status":
		os.Exit(3)
	case "killed":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	case "signal":
		signal.Reset()
		_ = unix.Kill(os.Getpid(), unix.SIGQUIT)
		select {}
	case "never works":
		time.Sleep(time.Hour)
	case "obeys":
		say(working)
		ends := make(chan os.Signal, 1)
		signal.Notify(ends, unix.SIGTERM)
		fmt.Println("ready")
		<-ends
	case "deadline": // and does not listen
		signal.Ignore(unix.SIGTERM)
		say(report{Deadline: time.Now().Add(200 * time.Millisecond)})
		say(working)
		time.Sleep(time.Hour)
	case "orphan": // which keeps the pipes
		orphan := exec.Command("/proc/self/exe")
		orphan.Env, orphan.Stderr, orphan.ExtraFiles = []string{partVariable + "=agent:lingers"}, os.Stderr, []*os.File{pipe}
		if err := orphan.Start(); err != nil {
			panic(err)
		}
		say(report{Cause: "said before"})
	case "lingers":
		time.Sleep(3 * time.Second)
	}
}

func TestSupervisor(t *testing.T) {
	for what, want := range map[string]string{
		"done":        "",
		"slow work":   "",
		"cause":       "the gateway is gone; since today",
		"noise":       "",
		"panic":       "the agent crashed: panic: a defect",
		"status":      "the agent ended with status 3",
		"killed":      "the agent was killed: the machine has too little memory",
		"signal":      "the agent crashed: SIGQUIT: quit",
		"never works": "the agent has not begun its work in 700ms",
		"obeys":       "", // it is told to
		"deadline":    "the deadline ",
		"orphan":      "said before",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			first := exec.Command("/proc/self/exe")
			first.Env = []string{partVariable + "=first:" + what}
			var out, log bytes.Buffer
			first.Stdout, first.Stderr = &out, &log
			if err := first.Start(); err != nil {
				t.Fatal(err)
			}
			if what == "obeys" {
				time.AfterFunc(time.Second, func() { _ = first.Process.Signal(unix.SIGTERM) })
			}
			if err := first.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			got := out.String()
			if want == "" && got != `cause ""` || !strings.HasPrefix(got, fmt.Sprintf("cause %q", want)[:len(want)+7]) {
				t.Errorf("%s, want %q\n%s", got, want, log.String())
			}
		})
	}
}

func FuzzReports(f *testing.F) {
	f.Add([]byte(`{"deadline":"2030-01-02T03:04:05Z"}` + "\n" + `{"working":true}` + "\n" + `{"cause":"x"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		receive(bytes.NewReader(b), func(r report) {
			if _, err := json.Marshal(r); err != nil && r.Deadline.Year() < 10000 {
				t.Errorf("%+v: %v", r, err)
			}
		})
	})
}
