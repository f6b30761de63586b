// Package xapi is a XenServer pool without Xen, for the lab, demonstrations and
// tests: XAPI's JSON-RPC over TLS, with VDIs that are files and guests that run.
package xapi
