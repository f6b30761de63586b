// Package vcenter is a vCenter without ESXi, for the lab, demonstrations and
// tests.
package vcenter
