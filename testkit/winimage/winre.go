package winimage

import (
	"fmt"
	"strings"
)

// recoveryFiles are Windows RE.
func recoveryFiles(t *tree, spec Spec) {
	t.add("Recovery/WindowsRE/Winre.wim", []byte("MSWIM\x00\x00\x00"), spec.BootFiles.sizes().winRE)
	t.add("Recovery/WindowsRE/boot.sdi", append([]byte("$SDI0001"), make([]byte, 3170304-8)...), 0)
}

// reAgent is Windows' note of where Windows RE is; an MBR partition is named by
// the disk's signature, as a decimal number, and its place on the disk.
func reAgent(spec Spec, d disk) []byte {
	const none = `path="" id="0" offset="0" guid="{00000000-0000-0000-0000-000000000000}"`
	where := fmt.Sprintf(`path="%s" id="%d" offset="%d" guid="{00000000-0000-0000-0000-000000000000}"`,
		recoveryFolder, spec.Signature, d.recovery.StartBytes)
	if spec.ReAgentResident {
		return []byte(`<?xml version='1.0' encoding='utf-8'?><WindowsRE version="2.0"><WinreBCD id="` + objRecoveryLoader +
			`"/><WinreLocation ` + where + `/><InstallState state="1"/></WindowsRE>`)
	}
	return []byte(strings.ReplaceAll(`<?xml version='1.0' encoding='utf-8'?>

<WindowsRE version="2.0">
  <WinreBCD id="`+objRecoveryLoader+`"/>
  <WinreLocation `+where+`/>
  <ImageLocation `+none+`/>
  <PBRImageLocation `+none+`/>
  <PBRCustomImageLocation `+none+` index="0"/>
  <InstallState state="1"/>
  <OsInstallAvailable state="0"/>
  <CustomImageAvailable state="0"/>
  <IsAutoRepairOn state="1"/>
  <WinREStaged state="0"/>
  <OperationParam path=""/>
  <OperationPermanent state="0"/>
  <OsBuildVersion path="19041.1.amd64fre.vb_release.191206-1406"/>
  <OemTool state="0"/>
  <IsServer state="0"/>
  <DownlevelWinreLocation `+none+`/>
  <IsWimBoot state="0"/>
  <NarratorScheduled/>
  <ScheduledOperation state="4"/>
</WindowsRE>
`, "\n", "\r\n"))
}
