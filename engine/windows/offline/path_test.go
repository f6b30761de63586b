package offline

import (
	"slices"
	"strings"
	"testing"
)

func TestDriverFile(t *testing.T) {
	const want = `\Windows\System32\drivers\x.sys`
	for _, image := range []string{
		`System32\drivers\x.sys`, `\SystemRoot\System32\drivers\x.sys`, `\systemroot\System32\drivers\x.sys`, `%SystemRoot%\System32\drivers\x.sys`,
		`\??\C:\Windows\System32\drivers\x.sys`, `C:\Windows\System32\drivers\x.sys`, `\Windows\System32\drivers\x.sys`,
		`"System32/drivers/x.sys"`, ` \System32\drivers\x.sys`, "",
	} {
		if got := DriverFile("x", image); got != want {
			t.Errorf("%s is %s", image, got)
		}
	}
}

func TestOnVolume(t *testing.T) {
	for path, want := range map[string]string{
		`C:\Program Files\Citrix\a.exe`:       `\Program Files\Citrix\a.exe`,
		`%programfiles%\Citrix\a.exe`:         `\Program Files\Citrix\a.exe`,
		`%ProgramFiles(x86)%/Citrix/a.exe`:    `\Program Files (x86)\Citrix\a.exe`,
		`%SystemRoot%\System32\drivers\a.sys`: `\Windows\System32\drivers\a.sys`,
		`\SystemRoot\System32\drivers\a.sys`:  `\Windows\System32\drivers\a.sys`,
		`\??\C:\Windows\System32\a.sys`:       `\Windows\System32\a.sys`,
		`%SystemDrive%\a.exe`:                 `\a.exe`,
		`\Program Files\a.exe`:                `\Program Files\a.exe`,
		`System32\a.exe`:                      `\Windows\System32\a.exe`,
		`%CommonProgramFiles%\Citrix\x\a.dll`: `\Program Files\Common Files\Citrix\x\a.dll`,
		`%unknown%\a.exe`:                     `\Windows\%unknown%\a.exe`,
		`C:`:                                  `\Windows\C:`,
	} {
		if got := OnVolume(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

func TestPrograms(t *testing.T) {
	for command, want := range map[string][]string{
		`"C:\Program Files\Citrix\PVS\BNDevice.exe" -service`: {`\Program Files\Citrix\PVS\BNDevice.exe`},
		`"C:\Program Files\Citrix\PVS\BNDevice.exe`:           {`\Program Files\Citrix\PVS\BNDevice.exe`},
		`C:\Citrix\BNDevice.exe  -service`:                    {`\Citrix\BNDevice.exe`, `\Citrix\BNDevice.exe  -service`},
		`C:\Program Files\Citrix\a.exe`:                       {`\Program.exe`, `\Program`, `\Program Files\Citrix\a.exe`},
		`%ProgramFiles%\Citrix\a`:                             {`\Program Files\Citrix\a.exe`, `\Program Files\Citrix\a`},
		``:                                                    nil,
		`""`:                                                  nil,
		strings.Repeat("a ", 600):                             nil,
	} {
		if got := Programs(command); !slices.Equal(got, want) {
			t.Errorf("%s may be %q, want %q", command, got, want)
		}
	}
	if n := len(Programs("a" + strings.Repeat(" b", 400))); n > 2*(maxSpaces+1) {
		t.Errorf("%d paths", n)
	}
}
