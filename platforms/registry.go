package platforms

import (
	"context"
	"maps"
	"slices"
	"strings"

	"imageport/job"
)

// Registry holds the platforms of one worker by their names. The case of a name
// is of no importance, here and in requests.
type Registry map[string]Opener

// Opener gives the driver for what a request says of its platform. It may keep
// connections for the next one; to open a driver again is cheap. The driver is
// for use within ctx. Failures are of type *Error.
type Opener func(ctx context.Context, where job.Target) (Driver, error)

// Always is a platform of which the worker's configuration says everything.
func Always(d Driver) Opener {
	return func(context.Context, job.Target) (Driver, error) { return d, nil }
}

// specified are the platforms of the specification.
var specified = []string{job.PlatformVSphere, job.PlatformXenServer, job.PlatformAzure, job.PlatformGCP}

// Driver gives the driver for a request's platform. Failures are of type
// *job.Error; where the worker does not have the platform, it says whether that
// is a known one, and what there is.
func (r Registry) Driver(ctx context.Context, where job.Target) (Driver, error) {
	want := job.CanonicalPlatform(where.Platform)
	// Sorted, so that of two names that differ in case the same one wins.
	for _, name := range r.Names() {
		if strings.EqualFold(job.CanonicalPlatform(name), want) {
			d, err := r[name](ctx, where)
			if err != nil {
				return nil, JobError(want, err)
			}
			return d, nil
		}
	}
	remedy := "This worker has no platform at all: configure one"
	if len(r) > 0 {
		remedy = "This worker has: " + strings.Join(r.Names(), ", ")
	}
	if slices.Contains(specified, want) {
		return nil, job.Errorf(job.UnknownPlatform, remedy,
			"platform %s is one of the specification's, but this worker has no driver for it", want)
	}
	return nil, job.Errorf(job.UnknownPlatform, remedy, "there is no platform %q", where.Platform)
}

// Names gives the platforms that the registry has, sorted.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }
