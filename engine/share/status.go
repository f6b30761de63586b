package share

import (
	"errors"

	cloudsoda "github.com/cloudsoda/go-smb2"
	hirochachacha "github.com/hirochachacha/go-smb2"

	"imageport/job"
)

// refusal is what an NTSTATUS means to us.
type refusal struct {
	code   job.Code
	what   string
	remedy string
}

// refusals by NTSTATUS ([MS-ERREF] 2.3.1). Those of missing and existing files
// and of denied access are not here: both libraries turn them into errors of
// io/fs.
var refusals = map[uint32]refusal{
	0xC000006D: {job.ShareAuthFailed, "wrong user name or password", remedyLogon},                                                                      // STATUS_LOGON_FAILURE
	0xC000006A: {job.ShareAuthFailed, "wrong password", remedyLogon},                                                                                   // STATUS_WRONG_PASSWORD
	0xC0000064: {job.ShareAuthFailed, "there is no such user", remedyLogon},                                                                            // STATUS_NO_SUCH_USER
	0xC000006E: {job.ShareAuthFailed, "the account is restricted", remedyAccount},                                                                      // STATUS_ACCOUNT_RESTRICTION
	0xC000006F: {job.ShareAuthFailed, "the account may not log on at this hour", remedyAccount},                                                        // STATUS_INVALID_LOGON_HOURS
	0xC0000070: {job.ShareAuthFailed, "the account may not log on from here", remedyAccount},                                                           // STATUS_INVALID_WORKSTATION
	0xC0000071: {job.ShareAuthFailed, "the password has expired", remedyAccount},                                                                       // STATUS_PASSWORD_EXPIRED
	0xC0000072: {job.ShareAuthFailed, "the account is disabled", remedyAccount},                                                                        // STATUS_ACCOUNT_DISABLED
	0xC000015B: {job.ShareAuthFailed, "the account may not log on over the network", remedyAccount},                                                    // STATUS_LOGON_TYPE_NOT_GRANTED
	0xC0000193: {job.ShareAuthFailed, "the account has expired", remedyAccount},                                                                        // STATUS_ACCOUNT_EXPIRED
	0xC0000224: {job.ShareAuthFailed, "the password must be changed first", remedyAccount},                                                             // STATUS_PASSWORD_MUST_CHANGE
	0xC0000234: {job.ShareAuthFailed, "the account is locked out", remedyAccount},                                                                      // STATUS_ACCOUNT_LOCKED_OUT
	0xC000018D: {job.ShareAuthFailed, "the server has no trust with the domain", remedyAccount},                                                        // STATUS_TRUSTED_RELATIONSHIP_FAILURE
	0xC000005E: {job.ShareUnreachable, "the file server reaches no domain controller", "Check the domain controllers."},                                // STATUS_NO_LOGON_SERVERS
	0xC0000418: {job.ShareAuthFailed, "the server or domain blocks NTLM", "Allow NTLMv2 to this file server, or use an account of the server itself."}, // STATUS_NTLM_BLOCKED
	0xC00000D0: {job.ShareUnreachable, "the file server takes no more connections", remedyServer},                                                      // STATUS_REQUEST_NOT_ACCEPTED

	// Another time they succeed: a server that has just come up or is
	// overloaded says so, and waiting is what it asks for.
	0xC0000017: {job.ShareUnreachable, "the file server is short of memory", remedyServer},    // STATUS_NO_MEMORY
	0xC000009A: {job.ShareUnreachable, "the file server is short of resources", remedyServer}, // STATUS_INSUFFICIENT_RESOURCES
	0xC0000205: {job.ShareUnreachable, "the file server is short of resources", remedyServer}, // STATUS_INSUFF_SERVER_RESOURCES
	0xC0000466: {job.ShareUnreachable, "the file server is not available now", remedyServer},  // STATUS_SERVER_UNAVAILABLE

	0xC00000CC: {job.ShareNotFound, "there is no such share", remedyShare},                                                    // STATUS_BAD_NETWORK_NAME
	0xC0000257: {job.ShareNotFound, "it is a DFS link", "Give the server and share that the DFS namespace points to."},        // STATUS_PATH_NOT_COVERED
	0xC0000103: {job.ShareNotFound, "part of the path is not a folder", "Check the folder in the request against the share."}, // STATUS_NOT_A_DIRECTORY

	0xC000007F: {job.ShareFull, "no space left on the volume", remedySpace},                     // STATUS_DISK_FULL
	0xC0000044: {job.ShareFull, "the quota is used up", remedySpace},                            // STATUS_QUOTA_EXCEEDED
	0xC00000A2: {job.ShareDenied, "the volume is write-protected", remedyPermit},                // STATUS_MEDIA_WRITE_PROTECTED
	0xC0000043: {job.ShareIO, "another program has the file open", remedyInUse},                 // STATUS_SHARING_VIOLATION
	0xC0000054: {job.ShareIO, "another program has locked the file", remedyInUse},               // STATUS_FILE_LOCK_CONFLICT
	0xC0000056: {job.ShareIO, "the file is being deleted", remedyInUse},                         // STATUS_DELETE_PENDING
	0xC00000BA: {job.ImageNotFound, "it is a folder", remedyFile},                               // STATUS_FILE_IS_A_DIRECTORY
	0xC0000033: {job.BadRequest, "the server does not accept the name", "Choose another name."}, // STATUS_OBJECT_NAME_INVALID
}

// known gives the meaning of what the server answered.
func known(err error) (refusal, bool) {
	r, ok := refusals[ntStatus(err)]
	return r, ok
}

// sessionGone reports whether the server says that it has forgotten the session,
// the share or the handle: the connection is of no more use.
func sessionGone(err error) bool {
	switch ntStatus(err) {
	case 0xC00000C9, // STATUS_NETWORK_NAME_DELETED
		0xC0000203, // STATUS_USER_SESSION_DELETED
		0xC000035C, // STATUS_NETWORK_SESSION_EXPIRED
		0xC0000128: // STATUS_FILE_CLOSED
		return true
	}
	return false
}

// ntStatus gives the server's answer, or 0 if err is not one.
func ntStatus(err error) uint32 {
	if e, ok := errors.AsType[*cloudsoda.ResponseError](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*hirochachacha.ResponseError](err); ok {
		return e.Code
	}
	if errors.Is(err, cloudsoda.ErrRequestNotAccepted) {
		return 0xC00000D0
	}
	return 0
}
