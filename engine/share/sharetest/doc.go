// Package sharetest is the conformance suite of share.Store: every kind of store
// passes it, against a real directory that the suite also sees behind the
// store's back. For a store on a network it also breaks the network.
package sharetest
