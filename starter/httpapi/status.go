package httpapi

import (
	"net/http"

	"imageport/job"
)

// statusOf gives the HTTP status of a code.
func statusOf(code job.Code) int {
	for _, row := range statuses {
		for _, c := range row.codes {
			if c == code {
				return row.status
			}
		}
	}
	return http.StatusInternalServerError
}

// statuses are the HTTP statuses of all codes.
var statuses = []struct {
	status int
	codes  []job.Code
}{
	{http.StatusBadRequest, []job.Code{job.BadRequest}},
	{http.StatusUnauthorized, []job.Code{job.Unauthenticated}},
	{http.StatusForbidden, []job.Code{job.Forbidden}},
	{http.StatusNotFound, []job.Code{job.JobNotFound, job.NoSuchRoute}},
	{http.StatusConflict, []job.Code{
		job.AlreadyRunning, job.JobRunning, job.JobEnded, job.JobCanceled, job.JobTerminated,
		job.OutputExists, job.OutputInUse, job.ImageLocked, job.NotLatestVersion, job.SourceChanged,
	}},
	// The request is well formed, and the image, the share or the site is not
	// such that it can be done.
	{http.StatusUnprocessableEntity, []job.Code{
		job.UnsupportedOperation, job.UnknownPlatform, job.WrongResourceLocation, job.UnknownCredential, job.CredentialNotForHost,
		job.ShareAuthFailed, job.ShareNotFound, job.ShareDenied, job.ImageNotFound, job.OutputTooSmall, job.ManifestInvalid,
		job.WrongFormat, job.DiskCorrupt, job.DiskDirtyLog, job.UnsupportedDisk, job.UnsupportedLayout,
		job.AlreadyGPT, job.NoMBR, job.BadPartitionTable, job.DynamicDisk, job.UnknownPartitionType, job.NoActivePartition,
		job.MultipleActive, job.NoSpaceForESP, job.NoRoomForGPT, job.ShrinkBlocked, job.BitLocker, job.NTFSDirty,
		job.NTFSCorrupt, job.Hibernated, job.NoWindows, job.MultipleWindows, job.NotX64, job.OSTooOld, job.MissingBootFile,
		job.CompressedBootFile, job.BootFilesTooBig, job.NoBCD, job.BCDCorrupt, job.NoDefaultEntry, job.DefaultOnOtherDisk,
		job.HiveDirty, job.HiveCorrupt, job.HiveNoSpace, job.FileNotEditableInPlace, job.NativeDriversMissing,
		job.SetupPending, job.WindowsFull,
		job.CatalogueInvalid, job.InstallerNotFound, job.InstallerHashMismatch, job.LeftoverRunner, job.PVSNotInstalled,
		job.PVSDowngrade, job.PVSTooOld, job.PVSRegistrationBroken,
		job.GuestNotStarted, job.GuestTimeout, job.InstallerFailed, job.InstallerHung, job.TooManyBoots, job.UpgradeNotVerified,
		job.VerifyFailed, job.BootFailed, job.PlatformRefused,
	}},
	{http.StatusTooManyRequests, []job.Code{job.TooManyRequests}},
	{http.StatusInternalServerError, []job.Code{job.Internal, job.CleanupFailed, job.ToolFailed, job.ToolMissing}},
	{http.StatusBadGateway, []job.Code{job.ShareIO, job.PlatformError, job.CENeverCame, job.CELost}},
	{http.StatusServiceUnavailable, []job.Code{job.WalletUnavailable, job.ShareUnreachable, job.TemporalUnreachable}},
	{http.StatusInsufficientStorage, []job.Code{job.ShareFull, job.PlatformFull}},
}
