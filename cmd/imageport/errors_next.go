package main

import (
	"context"
	"errors"
	"io/fs"
	"net/url"

	"imageport/job"
)

// nextSteps say what to do where an error itself does not: one for each code.
var nextSteps = map[job.Code]string{
	job.BadRequest:            "Correct what is said, and start it again",
	job.UnsupportedOperation:  "Use another operation or platform: imageport start --help lists them",
	job.UnknownPlatform:       "Use a platform that the worker's configuration has",
	job.WrongResourceLocation: "Start it with the resource location of the worker that reaches the image",
	job.UnknownCredential:     "See imageport credentials list on the worker's machine, and add what is missing",
	job.CredentialNotForHost:  "Use a credential that is for this host, or let its owner add the host to it",
	job.WalletUnavailable:     "Look at the worker's wallet; the job goes on when it answers",
	job.AlreadyRunning:        "Wait for the running job (imageport jobs watch), or cancel it",

	job.ShareUnreachable: "Check that the SMB server is on and reached from the worker and the CE's network, TCP port 445",
	job.ShareAuthFailed:  "Put the credential right: imageport credentials add --replace",
	job.ShareNotFound:    "Check the name of the share and the folder",
	job.ShareDenied:      "Let the credential's user read and write the folder",
	job.ShareIO:          "Look at the SMB server's log, then start the job again",
	job.ShareFull:        "Make room on the share, then start the job again",
	job.ImageNotFound:    "Check the name of the image and its folder",
	job.OutputExists:     "Choose another output, or remove the one that is there",
	job.OutputTooSmall:   "Leave outputSizeMb out, or give at least the image's size",
	job.OutputInUse:      "Wait for the other job, or choose another output",
	job.ImageLocked:      "Shut the target devices down that use the image, or set ignoreLock",
	job.NotLatestVersion: "Use the last version of the vDisk",
	job.ManifestInvalid:  "Export the vDisk's manifest from PVS anew",

	job.WrongFormat:       "Give the inputImageFormat that the image has",
	job.DiskCorrupt:       "Restore the image from a backup; imageport disk check says more",
	job.DiskDirtyLog:      "Mount the VHDX once on a Windows, which completes it",
	job.UnsupportedDisk:   "Convert the image to a VHDX with sectors of 512 bytes",
	job.UnsupportedLayout: "Bring the image to one disk with a plain partition table",
	job.SourceChanged:     "See that nothing writes to the image, then start the job again",

	job.AlreadyGPT:             "Use the image as it is",
	job.NoMBR:                  "Check that it is the image of a Windows",
	job.BadPartitionTable:      "Repair the partition table in a running Windows",
	job.DynamicDisk:            "Convert the disk to a basic one in Windows",
	job.UnknownPartitionType:   "Say what the partition is: uefiOptions.partitionTypes",
	job.NoActivePartition:      "Mark the system partition active in Windows",
	job.MultipleActive:         "Leave one partition active",
	job.NoSpaceForESP:          "Make room on the disk: shrink a volume in Windows",
	job.NoRoomForGPT:           "Make the disk a little larger",
	job.ShrinkBlocked:          "Defragment the volume in Windows, and turn page and hibernation files off",
	job.BitLocker:              "Turn BitLocker off in Windows and wait until the volume is decrypted",
	job.NTFSDirty:              "Start Windows once and shut it down, or run chkdsk",
	job.NTFSCorrupt:            "Run chkdsk /f in Windows",
	job.Hibernated:             "Run powercfg /h off in Windows, and shut it down",
	job.NoWindows:              "Check that it is the image of a Windows",
	job.MultipleWindows:        "Leave one Windows on the disk",
	job.NotX64:                 "Use an image of a 64-bit Windows (x64)",
	job.OSTooOld:               "Upgrade the Windows in the image first",
	job.MissingBootFile:        "Repair Windows: sfc /scannow",
	job.CompressedBootFile:     "Decompress the Windows folder: compact /u",
	job.BootFilesTooBig:        "Remove languages of the boot files that nobody needs",
	job.NoBCD:                  "Rebuild the boot configuration: bcdboot",
	job.BCDCorrupt:             "Rebuild the boot configuration: bcdboot",
	job.NoDefaultEntry:         "Set a default in the boot configuration: bcdedit /default",
	job.DefaultOnOtherDisk:     "Set a default on the image's own disk: bcdedit /default",
	job.HiveDirty:              "Start Windows once and shut it down",
	job.HiveCorrupt:            "Restore the image from a backup",
	job.HiveNoSpace:            "Start Windows once and shut it down, which makes the registry compact",
	job.FileNotEditableInPlace: "Decompress or decrypt the file in Windows",
	job.NativeDriversMissing:   "Install the platform's drivers in the image first",
	job.SetupPending:           "Let the set-up of Windows end, then shut it down",
	job.WindowsFull:            "Make room on the volume of Windows",

	job.CatalogueInvalid:      "See imageport catalogue check, and correct catalogue.json",
	job.InstallerNotFound:     "See imageport catalogue list; add the installer with imageport catalogue add",
	job.InstallerHashMismatch: "Put the right file into the catalogue, or add it anew",
	job.LeftoverRunner:        "Use an image that no upgrade was cut off in",
	job.PVSNotInstalled:       "Install the PVS target software in the image by hand, once",
	job.PVSDowngrade:          "Choose a newer version, or an image with an older one",
	job.PVSTooOld:             "Upgrade the image to a version in between first",
	job.PVSRegistrationBroken: "Repair or reinstall the PVS target software in the image",

	job.GuestNotStarted:    "Look at the picture of its screen: imageport jobs show --screenshot",
	job.GuestTimeout:       "Look at imageport jobs logs --source guest; raise upgradeOptions.timeoutMinutes if it was slow",
	job.InstallerFailed:    "Look at the installer's log: imageport jobs logs --source guest",
	job.InstallerHung:      "Look at the installer's log: imageport jobs logs --source guest",
	job.TooManyBoots:       "Look at the runner's log: imageport jobs logs --source guest",
	job.UpgradeNotVerified: "Look at the installer's log: imageport jobs logs --source guest",

	job.VerifyFailed:    "Start the job again; if it fails again, send the bundle: imageport jobs bundle",
	job.BootFailed:      "Look at the picture of its screen, and at the boot files of the image",
	job.ToolFailed:      "Look at imageport jobs logs",
	job.ToolMissing:     "Install the program on the worker's machine",
	job.CENeverCame:     "Look at the CE's console; check that its network reaches the worker's gateway",
	job.CELost:          "Look at imageport jobs logs and the platform's events, then start the job again",
	job.PlatformError:   "Look at the platform's events, then start the job again",
	job.PlatformFull:    "Make room on the platform, then start the job again",
	job.PlatformRefused: "Give the platform's credential the rights that the documentation lists",
	job.CleanupFailed:   "Remove what is named by hand, or run imageport sweep",
	job.Internal:        "Send the job's bundle to us: imageport jobs bundle",

	job.JobNotFound:         "See imageport jobs list",
	job.JobRunning:          "Wait until it has ended: imageport jobs watch",
	job.JobEnded:            "See how it ended: imageport jobs show",
	job.JobCanceled:         "Start it again if the result is wanted",
	job.JobTerminated:       "Run imageport sweep, and remove partial files beside the output",
	job.TemporalUnreachable: "Check --address, TEMPORAL_ADDRESS or the profile, and that the server runs",

	job.Unauthenticated: "Give a valid token or API key",
	job.Forbidden:       "Ask for a token or API key that may do that",
	job.NoSuchRoute:     "See the server's /openapi.json",
	job.TooManyRequests: "Try it again in a moment",
}

// nextStep is what to do about an error that does not say it itself; command is
// the one that failed.
func nextStep(err error, command string) string {
	if e, ok := errors.AsType[*job.Error](err); ok {
		if e.Remedy != "" {
			return ""
		}
		if step, ok := nextSteps[e.Code]; ok {
			return step
		}
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return "Check that what is asked runs, and listens there"
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "Check the path"
	case errors.Is(err, fs.ErrExist):
		return "Give the name of a new file"
	case errors.Is(err, fs.ErrPermission):
		return "Ask for the right to do that, or run it as a user who has it"
	case errors.Is(err, context.DeadlineExceeded):
		return "Try it again"
	}
	return "See " + command + " --help"
}
