package job

import "strings"

// devices are names that Windows takes for a device in any folder, whatever
// extension they have. Superscript digits count as digits.
var devices = map[string]bool{"CON": true, "PRN": true, "AUX": true, "NUL": true, "CONIN$": true, "CONOUT$": true}

// isDevice reports whether Windows takes a file name for that of a device.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	if devices[base] {
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	return ok && len([]rune(port)) == 1 && strings.Contains("0123456789¹²³", port)
}

// trimmedByWindows reports whether a name is one that Windows changes: without
// its dots and spaces at the end it would be another file, or the folder above.
func trimmedByWindows(name string) bool { return strings.TrimRight(name, ". ") != name }
