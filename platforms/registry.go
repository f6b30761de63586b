package platforms

import (
	"maps"
	"slices"
	"strings"

	"imageport/job"
)

// Registry holds the drivers of one worker by the name of their platform. The
// case of a name is of no importance, here and in requests.
type Registry map[string]Driver

// specified are the platforms of the specification.
var specified = []string{job.PlatformVSphere, job.PlatformXenServer, job.PlatformAzure, job.PlatformGCP}

// Driver gives the driver for a request's platform. Without one, the error is
// a *job.Error that says whether the platform is a known one, and what there is.
func (r Registry) Driver(platform string) (Driver, error) {
	want := job.CanonicalPlatform(platform)
	// Sorted, so that of two names that differ in case the same one wins.
	for _, name := range r.Names() {
		if strings.EqualFold(job.CanonicalPlatform(name), want) {
			return r[name], nil
		}
	}
	remedy := "This worker has no platform at all: configure one"
	if len(r) > 0 {
		remedy = "This worker has: " + strings.Join(r.Names(), ", ")
	}
	if slices.Contains(specified, want) {
		return nil, job.Errorf(job.UnknownPlatform, remedy,
			"platform %s is one of the specification's, but this worker's release has no driver for it yet", want)
	}
	return nil, job.Errorf(job.UnknownPlatform, remedy, "there is no platform %q", platform)
}

// Names gives the platforms that the registry has, sorted.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }
