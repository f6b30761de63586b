// Package trust decides by what a platform's TLS certificate is accepted: the
// very certificate's fingerprint, a CA that the request gives, both, or the
// system's roots; with the host's name in it, or without.
//
// It guarantees that some certificate check is always made: there is no way to
// accept any certificate, and no proxy connects in our place. It knows nothing of
// clients' certificates, nor of revocation.
package trust
