package pvstarget

import (
	"strings"

	"imageport/job"
)

// oldestBuild is that of Windows Server 2016, and of the Windows 10 beside it: the
// oldest that a program made by Go's compiler runs on.
const oldestBuild = 14393

// Refuse says, as a job.Error, why the software in an image cannot be upgraded;
// nil if nothing speaks against it. A version is not judged.
func Refuse(f Facts) error {
	here := f.Product
	if here == "" {
		here = "the Windows"
	}
	switch {
	case f.Arch == "":
		return job.Errorf(job.NotX64, "Check that this is the vDisk of a complete Windows", "what processor %s on partition %d is for cannot be told: there is no program %s", here, f.Partition, pathKernel)
	case f.Arch != "x64":
		return job.Errorf(job.NotX64, "Only a Windows for x64 can be upgraded: use reverseImage, and upgrade it by hand", "%s on partition %d is for %s", here, f.Partition, f.Arch)
	case f.Build == 0:
		return job.Errorf(job.OSTooOld, "Check the image in a maintenance version", "which build of Windows %s is cannot be told, and it must be %d or later", here, oldestBuild)
	case f.Build < oldestBuild:
		return job.Errorf(job.OSTooOld, "Upgrade it to Windows 10 version 1607, Windows Server 2016 or later", "%s is build %d, older than %d", here, f.Build, oldestBuild)
	case f.SetupPending != "":
		return job.Errorf(job.SetupPending, "Start the vDisk in a maintenance version, let the set-up of Windows end, and shut it down", "the set-up of %s goes on at its next start: %s", here, f.SetupPending)
	case f.Broken != "":
		return job.Errorf(job.PVSRegistrationBroken, "Uninstall the PVS target software on a machine that starts from a local disk (see reverseImage), and install it anew", "what is registered of the PVS target software contradicts itself: %s", f.Broken)
	case f.DisplayName != "":
		return nil
	}
	var left []string
	for _, s := range f.Services {
		if s.works() {
			left = append(left, s.Name)
		}
	}
	if len(left) > 0 {
		return job.Errorf(job.PVSRegistrationBroken, "Remove what is left of the PVS target software on a machine that starts from a local disk (see reverseImage), and install it anew", "the PVS target software is not in the list of installed programs, but its services are there: %s", strings.Join(left, ", "))
	}
	return job.Errorf(job.PVSNotInstalled, "Check that this is the right vDisk; what is not installed cannot be upgraded", "the PVS target software is not installed in %s", here)
}
