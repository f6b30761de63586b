// Package proxy is a TCP proxy for tests that need a network to misbehave: it
// delays, stalls, resumes and cuts connections, at once or after an exact
// number of bytes, and counts the bytes each way.
//
// It forwards bytes in order and unchanged, and not one more than it was told.
// It does not know what it carries, and listens on 127.0.0.1 only.
package proxy
