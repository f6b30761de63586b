// Package appliancefile holds the file of the appliance that a platform makes CEs
// from: what a driver read of it is remembered for as long as the file stays the
// same, and who sends its bytes gets those that were read. It also lets one at a
// time bring it to a place. It knows no format and no platform.
package appliancefile
