package pvs

import (
	"slices"
	"strings"
	"testing"
)

const unc = `\\files.example.com\vdisks\win10`

func TestSteps(t *testing.T) {
	head := []string{
		`# Run on a PVS server, with the PVS console installed. The store is the one with the folder \\files.example.com\vdisks\win10`,
		"$site = '<SITE>'",
		"$store = '<STORE>'",
		"$server = '<PVS SERVER>'",
	}
	add := func(disk, number string) []string {
		on := " -Name " + disk + " -SiteName $site -StoreName $store"
		return []string{
			`Import-Module "$env:ProgramFiles\Citrix\Provisioning Services Console\Citrix.PVS.SnapIn.dll"`,
			"# Status 0 is good; 1: the properties file is missing, 4: the disk file is invalid, 5: the manifest is",
			"Get-PvsNewDiskVersion -ServerName $server -StoreName $store",
			"Add-PvsDiskVersion" + on,
			"Invoke-PvsPromoteDiskVersion" + on + " -Test",
			"# Access 7 is test",
			"Get-PvsDiskVersion" + on,
			"# After the test: Invoke-PvsPromoteDiskVersion" + on + " -TestVersion " + number,
		}
	}
	tests := []struct {
		name string
		out  Output
		want []string
	}{
		{"version", Output{unc, "win10.3.avhdx", 4, "win10.4.avhdx", []string{"win10.4.pvp", "win10.xml"}}, add("'win10'", "4")},
		{"version of a dotted name", Output{unc, "win10.1.vhdx", 1, "win10.1.1.avhdx", nil}, add("'win10.1'", "1")},
		{"differencing disk", Output{unc + `\`, "win10.3.avhdx", 0, "win10-uefi.avhdx", nil}, append([]string{
			`# win10-uefi.avhdx is a differencing disk, which PVS takes only as a version of its vDisk. With "pvsVersion": "next" in place of outputImageFilename the job makes it one.`,
			`# Or make a whole disk of it, and a new vDisk of that: imageport disk convert 'win10-uefi.avhdx' 'win10-uefi-whole.vhdx', then New-PvsDiskLocator -Name 'win10-uefi-whole' -SiteName $site -StoreName $store -VHDX`,
			`# Or go on here, to make it a version by hand. <N> is the number after the vDisk's highest.`,
			`Rename-Item -LiteralPath '\\files.example.com\vdisks\win10\win10-uefi.avhdx' -NewName 'win10.<N>.avhdx'`,
			`Copy-Item -LiteralPath '\\files.example.com\vdisks\win10\win10.3.pvp' -Destination '\\files.example.com\vdisks\win10\win10.<N>.pvp'`,
			`# Add the version to the manifest, \\files.example.com\vdisks\win10\win10.xml: type 1, access 1, with the file's size and its lastWriteTime in UTC`,
		}, add("'win10'", "<N>")...)},
		{"differencing VHD with a version's name", Output{unc, "Bob's.vhd", 0, "bob's.1.avhd", nil}, append([]string{
			`# bob's.1.avhd is a differencing disk, which PVS takes only as a version of its vDisk. With "pvsVersion": "next" in place of outputImageFilename the job makes it one.`,
			`# Or make a whole disk of it, and a new vDisk of that: imageport disk convert 'bob''s.1.avhd' 'bob''s.1-whole.vhd', then New-PvsDiskLocator -Name 'bob''s.1-whole' -SiteName $site -StoreName $store`,
			`# Or go on here, to make it a version by hand. <N> is the number after the vDisk's highest.`,
			`Copy-Item -LiteralPath '\\files.example.com\vdisks\win10\Bob''s.pvp' -Destination '\\files.example.com\vdisks\win10\bob''s.1.pvp'`,
			`# Add the version to the manifest, \\files.example.com\vdisks\win10\bob's.xml: type 1, access 1, with the file's size and its lastWriteTime in UTC`,
		}, add("'bob''s'", "1")...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Steps(tt.out)
			want := slices.Concat(head, tt.want)
			want[0] = strings.Replace(want[0], unc, tt.out.Folder, 1)
			if !slices.Equal(got.PowerShell, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got.PowerShell, "\n"), strings.Join(want, "\n"))
			}
			if got.Version != tt.out.Version || !slices.Equal(got.Files, tt.out.Files) {
				t.Errorf("%+v", got)
			}
			targets := strings.Join(got.Targets, "\n")
			for _, what := range []string{"EFI", "pvsnbpx64.efi instead of ardbp32.bin", "option 67", "BOOTX64.efi", "Secure Boot"} {
				if !strings.Contains(targets, what) {
					t.Errorf("the targets' steps do not mention %s", what)
				}
			}
		})
	}
}

// No name can end its string or comment and become a command.
func TestStepsQuote(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"win10", "'win10'"},
		{"Bob's $(x) `n", "'Bob''s $(x) `n'"},
		{"\u2018\u2019\u201A\u201B", "'\u2018\u2018\u2019\u2019\u201A\u201A\u201B\u201B'"},
	} {
		if got := quote(tt.in); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	got := Steps(Output{Folder: "\\\\h\\s\r\nStop-Computer", Input: "a.vhdx", File: "b\u2028c\nStop-Computer.avhdx"})
	for _, line := range got.PowerShell {
		if strings.HasPrefix(line, "#") && strings.ContainsAny(line, "\r\n\u2028") {
			t.Errorf("%q ends as a command", line)
		}
	}
}
