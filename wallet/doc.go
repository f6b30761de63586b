// Package wallet turns the credential ids of a request into credentials, on
// the worker, at the moment they are used. Requests, workflow histories and
// logs carry only the ids.
//
// Secrets hide themselves: no way of printing, logging or encoding a
// Credential shows its secret, and no error of this package quotes the content
// of a secret's file. What cannot be told now, but may be later, is told apart
// from what is not there. The package rotates no passwords, and uses none.
//
// # Credentials
//
// A credential is a JSON object with the keys of the Credential Wallet API.
// Common to all are id and type; createdAt and updatedAt (RFC 3339) are shown.
// A UsernamePassword may have hosts, a list of strings or a string with commas:
// the hosts that it is for (job.Hosts). Requests name both a credential and a
// host, and whoever writes one could have the password, or what NTLM makes of
// it, sent to a host of his own.
//
//	UsernamePassword  username, password, domain (may be left out)
//	Azure             tenantId, clientId, clientSecret (or: secret)
//	Gcp               serviceAccountKey (or: key): the key file, as an object or
//	                  a string
//
// A key file of the Google Cloud by itself is a credential of type Gcp.
//
// # Providers
//
// Config chooses one of three: File, Dir and Vault.
//
// The file of File is encrypted with age (age-encryption.org/v1, binary) for
// the first identity in its key file. That is a text file as age-keygen makes
// it: X25519 identities (AGE-SECRET-KEY-1…), one a line, "#" starts a comment.
// Further identities can read, so that keys can be exchanged. Decrypted, as by
//
//	age --decrypt -i wallet.key wallet.age
//
// it is a JSON object with the version of the format, 1, and the credentials,
// sorted by id, each id once:
//
//	{"version":1,"credentials":[
//	{"id":"files","type":"UsernamePassword","createdAt":"2026-01-31T10:00:00Z",…},
//	…
//	]}
//
// Changes keep the objects of other credentials as they are. Whoever has the
// key can read the wallet, and whoever may write the file can put another in
// its place: age does not say who has encrypted something. So the key must be
// its owner's alone, and the file must not be writable by others.
package wallet
