// Package xapi is a client of XAPI, the interface of XenServer pools, by JSON-RPC
// 2.0 over TLS ("XenAPI wire protocol").
//
// It logs in when it needs to, and again when the pool has forgotten the session;
// goes to the pool's coordinator when it is sent there; polls the tasks that it
// starts, and cancels them when its context ends; and sends a disk's bytes. Calls
// that change something are not torn in the middle when their context ends, but
// given some seconds, so that their outcome is known.
//
// It guarantees that nothing is called twice but what a lost session has kept
// from being done at all. It knows neither classes nor their fields; how
// certificates are checked is for the function that it connects by.
package xapi
