// Package devserver runs a Temporal dev server for tests and the demo: the
// pinned CLI's real server with SQLite, built by "make tools".
//
// It guarantees that the server ends with the process that started it, however
// that ends, and that the search attributes of package durable are registered.
// The server listens on 127.0.0.1 only. It never downloads anything: without
// the program, tests fail. Linux only.
package devserver
