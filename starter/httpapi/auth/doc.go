// Package auth tells who sent a request to the HTTP API, and what he may do: by
// API keys, of which only hashes are kept, or by tokens of an OpenID Connect
// issuer.
//
// A token that is not known gives an error with job.Unauthenticated, which does
// not say what is wrong with it. Whether the issuer can be asked is another
// matter: that is ErrUnavailable. The package reads and writes no files, and
// logs nothing.
package auth
