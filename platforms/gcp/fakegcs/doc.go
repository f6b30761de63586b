// Package fakegcs tests the upload of the appliance against a Cloud Storage that
// others have written, fake-gcs-server. It is a module of its own, so that nothing
// else needs what that needs, and is run by hand or by make: it guarantees nothing
// to anybody, and has no code.
package fakegcs
