package pvstarget

import (
	"fmt"
	"slices"
	"strings"
)

// Want is what an upgrade is to have led to.
type Want struct {
	// ProductVersion is that of the software, in all the numbers that it has.
	ProductVersion string
	// NamePattern is as in Options.
	NamePattern string
	// Services are there, with their files, and so are Files.
	Services []string
	Files    []string
}

// Options are those with which Inspect looks at everything that is wanted.
func (w Want) Options() Options {
	return Options{NamePattern: w.NamePattern, Services: w.Services, Files: w.Files}
}

// Verify says, in words, everything that is not as it was wanted; nothing if all
// is. The facts are those of InspectFor with the options of what was wanted: what
// was not looked for counts as missing.
func Verify(after Facts, want Want) []string {
	var wrong []string
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	switch name, err := pattern(want.NamePattern); {
	case err != nil:
		note("%s", err)
	case after.DisplayName == "":
		note("the PVS target software is not in the list of installed programs")
	case !name.MatchString(after.DisplayName):
		note("%s is installed, which %q does not match", after.DisplayName, shorten(name.String()))
	case !Matches(after.Version, want.ProductVersion):
		note("version %q of %s is installed, and not %s", after.Version, after.DisplayName, want.ProductVersion)
	}
	if after.Broken != "" {
		note("what is registered of it contradicts itself: %s", after.Broken)
	}
	for _, name := range want.Services {
		i := slices.IndexFunc(after.Services, func(s Service) bool { return strings.EqualFold(s.Name, name) })
		if i < 0 {
			note("the service %s is not there", name)
			continue
		}
		switch s := after.Services[i]; {
		case s.Deleted:
			note("the service %s is to be removed when Windows starts", name)
		case s.File == "":
			note("the service %s does not say what its file is", name)
		case !s.HasFile:
			note("the service %s has no %s", name, s.File)
		}
	}
	for _, f := range want.Files {
		if !slices.ContainsFunc(after.Files, func(have string) bool { return strings.EqualFold(have, f) }) {
			note("there is no %s", f)
		}
	}
	if after.SetupPending != "" {
		note("the set-up of Windows has not ended: %s", after.SetupPending)
	}
	return wrong
}
