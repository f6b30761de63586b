package bootproof

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/job"
)

const (
	diskPath = `PciRoot(0x0)/Pci(0x1F,0x2)/Sata(0x0,0xFFFF,0x0)`
	loading  = "\x1b[2J\x1b[01;01H" + `BdsDxe: loading Boot0001 "UEFI QEMU HARDDISK QM00001 " from ` + diskPath + "\r\n"
	starting = `BdsDxe: starting Boot0001 "UEFI QEMU HARDDISK QM00001 " from ` + diskPath + "\r\n"
	failed   = `BdsDxe: failed to load Boot0001 "UEFI QEMU HARDDISK QM00001 " from ` + diskPath + ": Not Found\r\n"
	returned = `BdsDxe: failed to start Boot0001 "UEFI QEMU HARDDISK QM00001 " from ` + diskPath + ": Aborted\r\n"
	shell    = `BdsDxe: loading Boot0002 "EFI Internal Shell" from Fv(7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1)/FvFile(7C04A583)` + "\r\n"
)

func listen(t *testing.T, marker, text string) *console {
	t.Helper()
	var m *regexp.Regexp
	if marker != "" {
		m = regexp.MustCompile(marker)
	}
	c := newConsole(func() time.Duration { return 3 * time.Second }, m, newReads(bytes.NewReader(nil), Range{}, nil))
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	return c
}

func TestStory(t *testing.T) {
	opt := Options{Timeout: 100 * time.Second, Quiet: 10 * time.Second, WindowsRange: Range{0, 1}}
	for name, test := range map[string]struct {
		console string
		marker  string
		sight   sight
		opt     Options
		over    bool
		refused bool
		why     string
		reached string
	}{
		"nothing yet":                     {"", "", sight{at: time.Second}, opt, false, false, "", ""},
		"nothing ever":                    {"", "", sight{at: 100 * time.Second}, opt, true, true, "did not start a boot manager within 1m40s", ""},
		"found":                           {loading, "", sight{at: time.Second}, opt, false, false, "", BootManagerFound},
		"started":                         {loading + starting, "", sight{at: 4 * time.Second}, opt, false, false, "", BootManagerStarted},
		"started, has not come back":      {loading + starting, "", sight{at: 9 * time.Second}, opt, false, false, "", BootManagerRuns},
		"runs until the end":              {loading + starting + "x\n", "", sight{at: 100 * time.Second}, opt, true, false, "the time was over", BootManagerRuns},
		"reads":                           {loading + starting, "", sight{at: 4 * time.Second, read: tally{disk: 9}}, opt, false, false, "", BootManagerRuns},
		"reads Windows":                   {loading + starting, "", sight{at: 4 * time.Second, read: tally{disk: 9, windows: 9, loader: 1, loaderSize: 2}}, opt, false, false, "", WindowsRead},
		"reads the loader":                {loading + starting, "", sight{at: 4 * time.Second, read: tally{9, 9, 2, 2}}, opt, false, false, "", LoaderRead},
		"Windows was read, and all still": {loading + starting, "", sight{at: 10 * time.Second, read: tally{disk: 9, windows: 9}}, opt, false, false, "", WindowsRead}, // still since it was seen
		"no boot manager":                 {failed + shell, "", sight{}, opt, true, true, "no boot manager on the disk", FirmwareStarted},
		"no boot manager, not all said":   {failed, "", sight{}, opt, false, false, "", FirmwareStarted},
		"no disk":                         {shell, "", sight{}, opt, true, true, "did not see the disk", FirmwareStarted},
		"firmware without a shell":        {"BdsDxe: No bootable option or device was found.\n", "", sight{}, opt, true, true, "nothing to boot", FirmwareStarted},
		"came back":                       {loading + starting + returned, "", sight{at: time.Minute, read: tally{9, 9, 9, 9}}, opt, true, true, `which says "BdsDxe: failed to start`, BootManagerStarted},
		"came back content":               {loading + starting + shell, "", sight{}, opt, true, true, "goes on with", BootManagerStarted},
		"marker":                          {loading + starting + "abc", "b+", sight{}, opt, true, false, "marker", MarkerSeen},
		"switched off":                    {loading + starting + "abc\n", "", sight{off: "guest-shutdown"}, opt, true, false, "switched off by what it ran", BootManagerRuns},
		"reset too early":                 {"abc\n", "", sight{off: "guest-reset"}, opt, true, true, "before firmware started", FirmwareStarted},
		"panic":                           {loading + starting, "", sight{off: "guest-panic"}, opt, true, false, "stopped (guest-panic)", BootManagerStarted},
		"writes on and on":                {loading + starting, "", sight{written: maxWritten + 1}, opt, true, false, "had written 1024 MiB", BootManagerStarted},
	} {
		t.Run(name, func(t *testing.T) {
			now := test.sight
			now.heard = listen(t, test.marker, test.console).heard()
			s := story{opt: test.opt}
			end, over := s.see(now)
			if over != test.over || end.refused != test.refused || !strings.Contains(end.why, test.why) {
				t.Errorf("%+v, %v", end, over)
			}
			proof := now.proof(end)
			if proof.Reached != test.reached {
				t.Errorf("reached %q of %q", proof.Reached, proof.Stages)
			}
		})
	}
}

// Stillness is of everything together, and counts only when there is nothing to
// wait for.
func TestStill(t *testing.T) {
	opt := Options{Timeout: time.Hour, Quiet: 10 * time.Second, WindowsRange: Range{0, 1}}
	s := story{opt: opt}
	now := sight{heard: listen(t, "", loading+starting).heard()}
	for i, step := range []struct {
		at     int
		change func()
		over   bool
	}{
		{1, func() {}, false},
		{50, func() {}, false}, // nothing was read
		{51, func() { now.read.windows = 1 }, false},
		{60, func() { now.screen++ }, false},
		{69, func() { now.heard.bytes++ }, false},
		{78, func() { now.read.disk++ }, false},
		{87, func() { now.written++ }, false},
		{96, func() {}, false},
		{97, func() {}, true},
	} {
		step.change()
		now.at = time.Duration(step.at) * time.Second
		if _, over := s.see(now); over != step.over {
			t.Errorf("step %d: %v", i, over)
		}
	}
	// Who does not say where Windows lies waits for nothing.
	s = story{opt: Options{Timeout: time.Hour, Quiet: 10 * time.Second}}
	now.at = 0
	s.see(now)
	now.at = 10 * time.Second
	if _, over := s.see(now); !over {
		t.Error("without a range")
	}
}

func TestConsoleText(t *testing.T) {
	for in, want := range map[string]string{
		"a\x1b[2J\x1b[01;01Hb":         "ab",
		"\x1b]0;title\x07x":            "x",
		"\x1bPdata\x1b\\x":             "x",
		"\x1b(Bx":                      "x",
		"a\r\n\x00b\x7f\tc":            "a\nb\tc",
		"\x1b[31\x18x":                 "x",
		"gr\xc3\xbc\xc3\x9fe \xff\xfe": "grüße",
		"\x1b":                         "",
		strings.Repeat("é", 5000):      strings.Repeat("é", consoleKept/2),
	} {
		if got := listen(t, "", in).end(consoleKept); got != want {
			t.Errorf("%.40q: %.60q, want %.60q", in, got, want)
		}
	}
}

func FuzzConsole(f *testing.F) {
	f.Add([]byte(loading+starting+"hello\r\n"+returned+shell), 3)
	f.Add([]byte("\x1b]0;x\x1b\\y\x1bP\x18"), 1)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		whole, pieces := listen(t, "e.l", string(text)), listen(t, "e.l", "")
		step = max(1, step%100)
		for rest := text; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if _, err := pieces.Write(rest[:min(step, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		a, b := whole.heard(), pieces.heard()
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("in one piece %+v, in pieces of %d %+v", a, step, b)
		}
		if len(a.reports) > maxReports || len(pieces.tail) > 2*consoleKept || len(pieces.line) > maxLine {
			t.Error("too much is kept")
		}
		end := pieces.end(consoleKept)
		if len(end) > consoleKept || strings.IndexFunc(end, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' || r == 0x7f }) >= 0 {
			t.Errorf("%q", end)
		}
		s := story{}
		now := sight{heard: a}
		e, _ := s.see(now)
		now.proof(e)
	})
}

func TestReads(t *testing.T) {
	disk := bytes.NewReader(make([]byte, 1<<20))
	r := newReads(disk, Range{100000, 100000}, []Range{{150000, 1000}, {120000, 700}})
	read := func(off, n int) {
		t.Helper()
		if _, err := r.ReadAt(make([]byte, n), int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(w tally) {
		t.Helper()
		if got := r.tally(); got != w {
			t.Errorf("%+v, want %+v", got, w)
		}
	}
	read(99000, 2000) // firmware looks at the first pages
	read(0, 512)
	want(tally{0, 0, 0, 1700})
	r.turn()
	read(99000, 2000) // and again
	want(tally{0, 0, 0, 1700})
	r.start()
	read(99000, 5000) // to 104000: 1600 bytes are in another page than 98304 to 102400
	want(tally{5000, 104000 - 102400, 0, 1700})
	read(199000, 5000) // beyond the end
	want(tally{10000, 1600 + 1000, 0, 1700})
	read(150000, 512) // the first piece
	read(150513, 400) // none as a whole
	want(tally{10912, 2600 + 912, 512, 1700})
	read(120000, 700)
	read(150512, 488)
	read(150000, 1000) // again
	want(tally{10912 + 2188, 3512 + 2188, 1700, 1700})
	if _, err := r.ReadAt(make([]byte, 9), 1<<20); err != io.EOF { // nothing
		t.Error(err)
	}
	want(tally{10912 + 2188, 3512 + 2188, 1700, 1700})
}

func ppm(width, height int, pixels []byte) []byte {
	return append(fmt.Appendf(nil, "P6\n%d %d\n255\n", width, height), pixels...)
}

func TestScreenshot(t *testing.T) {
	noise := make([]byte, 3*300*201)
	rand.NewChaCha8([32]byte{}).Read(noise)
	text := bytes.Repeat([]byte{0, 0, 0, 170, 170, 170}, 150*201)
	for name, test := range map[string]struct {
		pixels []byte
		limit  int
		width  int
		exact  bool
	}{
		"text":                 {text, 5000, 300, true},
		"noise":                {noise, 1 << 20, 300, true},
		"noise in few colours": {noise, 100000, 300, false},
		"smaller":              {noise, 20000, 150, false},
		"very small":           {noise, 100, 4, false},
	} {
		picture, err := parsePPM(ppm(300, 201, test.pixels))
		if err != nil {
			t.Fatal(err)
		}
		data, err := screenshot(picture, test.limit)
		if err != nil || len(data) > test.limit {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
			continue
		}
		got, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if w := got.Bounds().Dx(); w > test.width || w < test.width/2 {
			t.Errorf("%s: %v", name, got.Bounds())
		}
		for i := range 300 * 201 {
			if !test.exact {
				break
			}
			p := test.pixels[3*i:]
			if c := color.RGBAModel.Convert(got.At(i%300, i/300)); c != (color.RGBA{p[0], p[1], p[2], 255}) {
				t.Fatalf("%s: pixel %d is %v", name, i, c)
			}
		}
	}
	if _, err := screenshot(image.NewRGBA(image.Rect(0, 0, 9, 9)), 10); !errors.Is(err, errScreen) {
		t.Error(err)
	}
	// All colours are opaque, and the nearest.
	for c := range 256 {
		picture, _ := parsePPM(ppm(1, 1, []byte{byte(c), 0, 0}))
		if r, _, _, _ := coarse(picture).At(0, 0).RGBA(); r>>8 > uint32(c)+25 || r>>8+25 < uint32(c) {
			t.Errorf("%d becomes %d", c, r>>8)
		}
	}
}

func FuzzPPM(f *testing.F) {
	f.Add(ppm(3, 2, make([]byte, 18)))
	f.Add(ppm(4096, 4096, nil))
	f.Add([]byte("P6\n1 1\n255\n   "))
	f.Fuzz(func(t *testing.T, data []byte) {
		picture, err := parsePPM(data)
		if err != nil {
			return
		}
		if shot, err := screenshot(picture, 1000); err != nil || len(shot) > 1000 {
			t.Error(len(shot), err)
		}
	})
}

func FuzzMonitor(f *testing.F) {
	f.Add([]byte(`{"QMP": {}}` + "\n" + `{"return": {}, "id": 1}` + "\n" + `{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}` + "\n" + `{"return": {"status": "internal-error"}, "id": 2}` + "\n"))
	f.Add([]byte(`{"error": {"desc": "no"}, "id": 1}` + "\n"))
	f.Add([]byte(`{"QMP": {}}{"QMP": {}}` + "\n\n[]\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		go func() {
			go io.Copy(io.Discard, theirs)
			theirs.Write(said)
			theirs.Close()
		}()
		m := newMonitor(ours)
		if _, err := m.internalError(); err != nil && !errors.Is(err, errMonitor) {
			t.Error(err)
		}
		if n, err := m.written(); err == nil && n != 0 && len(said) < 20 {
			t.Error(n)
		}
		m.close()
	})
}

// TestWithoutRights is a worker that could open /dev/fuse, but not mount: that
// is said before the work.
func TestWithoutRights(t *testing.T) {
	runtime.LockOSThread() // rights are a thread's
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	fewer := sets
	fewer[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	if err := unix.Capset(&header, &fewer[0]); err != nil {
		t.Fatal(err)
	}
	err := Available()
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	if job.CodeOf(err) != job.ToolMissing || !strings.Contains(err.Error(), "CAP_SYS_ADMIN. Run the worker as root") {
		t.Error(err)
	}
}

func TestFindAmong(t *testing.T) {
	dir := t.TempDir()
	if _, err := findAmong([]firmware{{dir + "/none", dir + "/none"}}); job.CodeOf(err) != job.ToolMissing || !strings.Contains(err.Error(), "ovmf") {
		t.Error(err)
	}
	f := firmware{dir + "/code", dir + "/vars"}
	for _, path := range []string{f.code, f.vars} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := findAmong([]firmware{{dir + "/none", f.vars}, f}); err != nil || got.firmware != f {
		t.Error(got, err)
	}
	if err := Available(); err != nil {
		t.Error(err)
	}
	if want := "file=a,,b"; !strings.Contains(strings.Join(arguments(f, tcg, hardware{"a,b", 512}), " "), want) {
		t.Errorf("no %s", want)
	}
}
