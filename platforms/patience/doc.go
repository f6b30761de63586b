// Package patience is how drivers of platforms over a network wait: with pauses
// that grow, through steps that others get in the way of, and a little longer
// than their caller where a call that changes something is on its way. What
// counts as being in the way is the driver's to say.
package patience
