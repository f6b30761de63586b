package catalogue

import (
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"imageport/firstboot/plan"
)

const (
	maxPath           = 1024
	maxTimeoutMinutes = 12 * 60
)

var (
	versionName    = regexp.MustCompile(`^[0-9A-Za-z]([0-9A-Za-z ._+-]{0,62}[0-9A-Za-z_+-])?$`)
	versionNumbers = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9}){0,7}$`)
	sha256Hex      = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// normalise brings what people write to one form.
func (in *Installer) normalise() {
	in.Product = strings.ToLower(strings.TrimSpace(in.Product))
	in.Version = strings.TrimSpace(in.Version)
	in.Arch = strings.ToLower(strings.TrimSpace(in.Arch))
	in.File = slashed(in.File)
	in.SHA256 = strings.ToLower(strings.TrimSpace(in.SHA256))
	in.ProductVersion = strings.TrimSpace(in.ProductVersion)
	in.MinFrom = strings.TrimSpace(in.MinFrom)
	in.Session = strings.ToLower(strings.TrimSpace(in.Session))
	for _, codes := range [][]int{in.OKCodes, in.RebootCodes, in.RetryCodes} {
		unsigned(codes)
	}
}

func (p *Prerequisite) normalise() {
	p.Name = strings.TrimSpace(p.Name)
	p.File = slashed(p.File)
	p.SHA256 = strings.ToLower(strings.TrimSpace(p.SHA256))
	p.Session = strings.ToLower(strings.TrimSpace(p.Session))
	unsigned(p.OKCodes)
	unsigned(p.RebootCodes)
}

func slashed(file string) string { return strings.ReplaceAll(strings.TrimSpace(file), `\`, "/") }

// unsigned makes exit codes what Windows has: numbers of 32 bits without a sign.
func unsigned(codes []int) {
	for i, c := range codes {
		if c < 0 && c >= math.MinInt32 {
			codes[i] = int(uint32(int32(c)))
		}
	}
}

// wrong is told of each key whose value will not do.
type wrong func(key, format string, args ...any)

func (in Installer) validate(no wrong) {
	if in.Product != ProductPVSTarget {
		no("product", "%q is not a product that is known: give %q", in.Product, ProductPVSTarget)
	}
	if !versionName.MatchString(in.Version) {
		no("version", "%q is not a version such as \"2311\": 1 to 64 of letters, digits, \" ._+-\"", in.Version)
	}
	if in.Arch != ArchX64 && in.Arch != ArchX86 && in.Arch != ArchARM64 {
		no("arch", "%q is none of %q, %q and %q", in.Arch, ArchX64, ArchX86, ArchARM64)
	}
	if !versionNumbers.MatchString(in.ProductVersion) {
		no("productVersion", "%q is not a version such as \"7.41.100.62\"", in.ProductVersion)
	}
	if in.MinFrom != "" && !versionNumbers.MatchString(in.MinFrom) {
		no("minFrom", "%q is not a version such as \"7.15\"", in.MinFrom)
	}
	validateRun(no, in.File, in.SHA256, in.Args, in.TimeoutMinutes, in.Session)
	validateCodes(no, map[string][]int{"okCodes": in.OKCodes, "rebootCodes": in.RebootCodes, "retryCodes": in.RetryCodes})
	if !isText(in.Signer) {
		no("signer", "it has characters that cannot be printed")
	}
	in.Verify.validate(no)
	var names []string
	for _, p := range in.Prerequisites {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, p.Name) }) {
			no("prerequisites", "two of them have the name %q", p.Name)
		}
		names = append(names, p.Name)
	}
	for _, c := range in.Repair {
		if strings.TrimSpace(c) == "" || !isText(c) {
			no("repair", "%q is not a command line", c)
		}
	}
	// The runner has bounds of its own.
	p := plan.Plan{Version: plan.Version, Job: "catalogue", MaxBoots: 1, DeadlineSeconds: 1, Steps: Steps(in)}
	if err := p.Validate(); err != nil {
		no("file", "the runner in the guest would refuse it: %v", err)
	}
}

func (p Prerequisite) validate(no wrong) {
	if !isText(p.Name) {
		no("name", "it has characters that cannot be printed")
	}
	validateRun(no, p.File, p.SHA256, p.Args, p.TimeoutMinutes, p.Session)
	validateCodes(no, map[string][]int{"okCodes": p.OKCodes, "rebootCodes": p.RebootCodes})
}

func (v Verify) validate(no wrong) {
	if v.DisplayName == "" {
		no("verify", "displayName is empty, which would be any program")
	}
	if _, err := regexp.Compile(v.DisplayName); err != nil {
		no("verify", "displayName is not a regular expression: %v", err)
	}
	for _, s := range v.Services {
		if s == "" || !isText(s) || strings.ContainsAny(s, `/\`) {
			no("verify", "%q is not the name of a service", s)
		}
	}
	for _, f := range v.Files {
		if f == "" || !isText(f) {
			no("verify", "%q is not the path of a file", f)
		}
	}
}

// validateRun looks at what installers and prerequisites have in common.
func validateRun(no wrong, file, hash, args string, minutes int, session string) {
	if why := badPath(file); why != "" {
		no("file", "%q is not a path below the catalogue's folder: it %s", file, why)
	} else if ext := strings.ToLower(path.Ext(file)); ext != ".exe" && ext != ".msi" {
		no("file", "%q is neither a program (.exe) nor a package (.msi)", file)
	}
	if !sha256Hex.MatchString(hash) {
		no("sha256", "%q is not a hash of 64 hexadecimal digits", hash)
	}
	if !isText(args) {
		no("args", "they have characters that cannot be printed")
	}
	if minutes < 1 || minutes > maxTimeoutMinutes {
		no("timeoutMinutes", "%d is not from 1 to %d", minutes, maxTimeoutMinutes)
	}
	if session != plan.SessionConsole && session != plan.SessionService {
		no("session", "%q is neither %q nor %q", session, plan.SessionConsole, plan.SessionService)
	}
}

func validateCodes(no wrong, lists map[string][]int) {
	meaning := map[int]string{}
	for _, key := range []string{"okCodes", "rebootCodes", "retryCodes"} { // not in the order of a map
		for _, c := range lists[key] {
			if c < 0 || c > math.MaxUint32 {
				no(key, "%d is not an exit code of 32 bits", c)
			}
			if other, twice := meaning[c]; twice {
				no(key, "%d is in %s already", c, other)
			}
			meaning[c] = key
		}
	}
	if len(lists["okCodes"])+len(lists["rebootCodes"]) == 0 {
		no("okCodes", "no exit code is a success")
	}
}

// badPath says what keeps a path from being one of a file below a folder, on any
// share, or "".
func badPath(file string) string {
	switch {
	case file == "":
		return "is empty"
	case len(file) > maxPath:
		return "is too long"
	case strings.HasPrefix(file, "/"):
		return "is absolute"
	case strings.Contains(file, ":"):
		return "names a drive or a stream"
	case strings.ContainsAny(file, `"*<>?|`):
		return `has one of "*<>?|, which Windows reserves`
	case strings.Contains(file, "%"):
		return "has a %, which the guest would take for a variable"
	case !isText(file):
		return "has characters that cannot be printed"
	}
	for part := range strings.SplitSeq(file, "/") {
		switch {
		case part == "":
			return "has an empty name in it"
		case part == "." || part == "..":
			return "leads somewhere else"
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
			return "has a name that ends in a dot or a space, which Windows drops"
		}
	}
	return ""
}

func isText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
