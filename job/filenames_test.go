package job_test

import (
	"fmt"
	"strings"
	"testing"

	"imageport/job"
)

// pathTricks are names that are no plain file names, or not those of one file
// only.
var pathTricks = []string{
	"..", ".", "../win10", `..\win10`, "a/../win10", "/etc/passwd", `\\other\share\win10`, `//other/share/win10`, `C:\win10`, "C:win10",
	"win10.vhdx:stream", "win10.vhdx::$DATA", ":stream", "win10.", "win10 ", " win10", "win10. .", "win10\x00.vhdx", "win10\r\n", "win10\u0085",
	"NUL", "nul.vhdx", "Con", "CON .vhdx", "prn.a.b", "AUX", "COM1", "com9.vhdx", "LPT1.avhdx", "COM¹.vhdx", "LPT0", "CONIN$", "conout$.vhd",
	"win*", "win?", "a|b", "a<b", `a"b`, "",
}

// plainNames look like tricks, and are none.
var plainNames = []string{"win10", "win..10", "..win10", ".win10", "Console", "COM10", "COMx", "NULL", "com", "lpt", "win 10", "win10.v2", "auxiliary.vhdx", "%2e%2e"}

func TestPathTricks(t *testing.T) {
	body := func(folder, image, output string) []byte {
		return fmt.Appendf(nil, `{"platform":"local","resourceLocationId":"r","inputStorageLocation":{"credentialId":"c","host":"h","sharePath":%q},"inputImageFilename":%q,"outputImageFilename":%q,"upgradeOptions":{"installPvs":"2311"}}`,
			folder, image, output)
	}
	parse := func(body []byte) error {
		// Go's quoting of these is JSON's but for \x00.
		body = []byte(strings.ReplaceAll(string(body), `\x00`, `\u0000`))
		_, _, convert := job.Parse[job.ConvertToUEFI](body)
		_, _, upgrade := job.Parse[job.UpgradePVS](body)
		if job.CodeOf(convert) != job.CodeOf(upgrade) {
			t.Errorf("%s: %v, and %v", body, convert, upgrade)
		}
		return convert
	}
	if err := parse(body("pvs/store", "win10", "out")); err != nil {
		t.Fatal(err)
	}
	for _, trick := range pathTricks {
		for where, b := range map[string][]byte{"image": body("pvs", trick, "out"), "output": body("pvs", "win10", trick)} {
			if err := parse(b); job.CodeOf(err) != job.BadRequest {
				t.Errorf("%s %q: %v", where, trick, err)
			}
		}
		if strings.ContainsAny(trick, `/\`) || strings.TrimLeft(trick, " ") != trick || trick == "" {
			continue // several folders, or none
		}
		if err := parse(body("pvs/"+trick, "win10", "out")); job.CodeOf(err) != job.BadRequest {
			t.Errorf("folder %q: %v", trick, err)
		}
	}
	for _, name := range plainNames {
		for where, b := range map[string][]byte{"image": body("pvs", name, "out"), "output": body("pvs", "image", name), "folder": body("pvs/"+name, "win10", "out")} {
			if err := parse(b); err != nil {
				t.Errorf("%s %q: %v", where, name, err)
			}
		}
	}
}
