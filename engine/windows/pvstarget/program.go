package pvstarget

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"imageport/engine/windows/offline"
)

// What Windows Installer keeps in SOFTWARE about packages that are installed for
// all users: its products, and their properties. Their keys are packed GUIDs. A
// 32-bit program is listed below WOW6432Node, but its package is here, too.
const (
	pathUninstall = `Microsoft\Windows\CurrentVersion\Uninstall`
	path32Bit     = `WOW6432Node`
	pathProducts  = `Classes\Installer\Products`
	pathUserData  = `Microsoft\Windows\CurrentVersion\Installer\UserData\S-1-5-18\Products`
)

// maxReasons bounds how many contradictions are told.
const maxReasons = 8

// program is an entry of the list of installed programs.
type program struct {
	key     string // its name there
	code    string // its ProductCode, {GUID} in upper case; "" if it is no package
	name    string
	version string
}

// readProgram finds the software in the list of installed programs, and what
// Windows Installer knows of it.
func (in *inspector) readProgram(software *offline.Hive) error {
	var found []program
	listed := map[string]bool{} // by ProductCode
	for _, view := range []string{"", path32Bit} {
		names, err := in.keys(software, view, pathUninstall)
		if err != nil {
			return err
		}
		for _, key := range names {
			k, err := in.find(software, view, pathUninstall, key)
			if err != nil {
				return err
			}
			p := program{key: shorten(key), code: productCode(key), name: text(k, "DisplayName"), version: text(k, "DisplayVersion")}
			if p.name == "" {
				continue
			}
			listed[p.code] = true
			if in.name.MatchString(p.name) {
				found = append(found, p)
			}
		}
	}
	found = newestFirst(found)
	if len(found) > 0 {
		in.Version, in.DisplayName, in.ProductCode = found[0].version, found[0].name, found[0].code
	}
	if len(found) > 1 {
		list := make([]string, min(len(found), maxReasons))
		for i := range list {
			list[i] = fmt.Sprintf("%s %s", found[i].name, found[i].version)
		}
		in.warn("the list of installed programs has it %d times: %s", len(found), strings.Join(list, "; "))
	}
	var reasons []string
	for _, p := range found {
		r, err := in.unregistered(software, p)
		if err != nil {
			return err
		}
		reasons = append(reasons, r...)
	}
	r, err := in.unlisted(software, listed)
	if err != nil {
		return err
	}
	reasons = append(reasons, r...)
	in.Broken = strings.Join(reasons[:min(len(reasons), maxReasons)], "; ")
	return nil
}

// newestFirst sorts programs by version, and drops entries that are for the same
// package as another one.
func newestFirst(list []program) []program {
	slices.SortStableFunc(list, func(a, b program) int {
		return cmp.Or(Compare(b.version, a.version), cmp.Compare(a.code, b.code))
	})
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(p program) bool {
		if p.code == "" {
			return false
		}
		was := seen[p.code]
		seen[p.code] = true
		return was
	})
}

// unregistered says what Windows Installer lacks of a program.
func (in *inspector) unregistered(software *offline.Hive, p program) ([]string, error) {
	entry := fmt.Sprintf("%s %s is in the list of programs (%s)", p.name, p.version, p.key)
	if p.version == "" {
		return []string{entry + " without a version"}, nil
	}
	if p.code == "" {
		return []string{entry + ", but not as a package of Windows Installer"}, nil
	}
	var reasons []string
	for _, path := range []string{pathProducts + `\` + pack(p.code), pathUserData + `\` + pack(p.code) + `\InstallProperties`} {
		k, err := in.find(software, path)
		if err != nil {
			return nil, err
		}
		if k == nil {
			reasons = append(reasons, fmt.Sprintf(`%s, but there is no SOFTWARE\%s`, entry, path))
		}
	}
	return reasons, nil
}

// unlisted says what Windows Installer has of the software that is not in the list
// of programs. The names of other packages, most of all, need not be read.
func (in *inspector) unlisted(software *offline.Hive, listed map[string]bool) ([]string, error) {
	var reasons []string
	for _, at := range []struct{ path, below, value string }{
		{pathProducts, "", "ProductName"},
		{pathUserData, "InstallProperties", "DisplayName"},
	} {
		names, err := in.keys(software, at.path)
		if err != nil {
			return nil, err
		}
		for _, packed := range names {
			code := unpack(packed)
			if code == "" || listed[code] {
				continue
			}
			k, err := in.find(software, at.path, packed, at.below)
			if err != nil {
				return nil, err
			}
			if name := text(k, at.value); name != "" && in.name.MatchString(name) {
				reasons = append(reasons, fmt.Sprintf(`SOFTWARE\%s\%s is %s (%s), which is not in the list of programs`, at.path, packed, name, code))
			}
		}
	}
	return reasons, nil
}

// InstallShield lists a package that it wraps once more, with its own name in
// front.
var isProductCode = regexp.MustCompile(`^(?i:InstallShield_)?(\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\})$`)

// productCode is the GUID that a key is named after, in upper case; "" if it is
// named otherwise.
func productCode(key string) string {
	m := isProductCode.FindStringSubmatch(key)
	if m == nil {
		return ""
	}
	return strings.ToUpper(m[1])
}

var isPacked = regexp.MustCompile(`^[0-9A-Fa-f]{32}$`)

// groups are the lengths of the parts of a GUID that are reversed, digit by digit,
// where it is packed: those that are one number each, and then the bytes.
var groups = []int{8, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2}

// pack gives a ProductCode as Windows Installer names keys after it: its 32
// digits, each group reversed.
func pack(code string) string {
	return reverseGroups(strings.NewReplacer("{", "", "-", "", "}", "").Replace(code))
}

// unpack is the ProductCode that a key is named after; "" if it is none.
func unpack(packed string) string {
	if !isPacked.MatchString(packed) {
		return ""
	}
	d := reverseGroups(strings.ToUpper(packed))
	return "{" + d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:] + "}"
}

func reverseGroups(digits string) string {
	b := []byte(digits)
	at := 0
	for _, n := range groups {
		slices.Reverse(b[at : at+n])
		at += n
	}
	return string(b)
}
