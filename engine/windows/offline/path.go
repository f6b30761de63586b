package offline

import "strings"

// maxCommand bounds, in bytes, how much of a service's command line is made sense
// of; maxSpaces how many of its spaces may belong to the name of its program.
const (
	maxCommand = 1024
	maxSpaces  = 8
)

// DriverFile is the path on its volume of a kernel driver's file. The image path
// of the service may begin with the folder of Windows in several ways, or be below
// it; without one, the file has the service's name.
func DriverFile(service, image string) string {
	if image == "" {
		return `\Windows\System32\drivers\` + service + ".sys"
	}
	path := strings.ReplaceAll(strings.Trim(image, `" `), "/", `\`)
	path, _ = cutPrefixFold(path, `\??\`)
	if len(path) > 2 && path[1] == ':' { // C:
		return path[2:]
	}
	for _, root := range []string{`\SystemRoot\`, `%SystemRoot%\`, `\Windows\`} {
		if below, ok := cutPrefixFold(path, root); ok {
			path = below
			break
		}
	}
	return `\Windows\` + strings.TrimLeft(path, `\`)
}

// folders are what beginnings of paths stand for, as Windows Setup makes these
// folders.
var folders = []struct{ name, path string }{
	{`\SystemRoot`, `\Windows`},
	{"%SystemRoot%", `\Windows`},
	{"%WinDir%", `\Windows`},
	{"%ProgramFiles%", `\Program Files`},
	{"%ProgramW6432%", `\Program Files`},
	{"%ProgramFiles(x86)%", `\Program Files (x86)`},
	{"%CommonProgramFiles%", `\Program Files\Common Files`},
	{"%ProgramData%", `\ProgramData`},
	{"%SystemDrive%", ""},
}

// OnVolume is the path on the volume of Windows of a file whose name begins with a
// letter or a variable of the environment: the letter is taken for that volume's.
func OnVolume(path string) string {
	path = strings.ReplaceAll(path, "/", `\`)
	path, _ = cutPrefixFold(path, `\??\`)
	for _, f := range folders {
		if below, ok := cutPrefixFold(path, f.name); ok {
			return f.path + below
		}
	}
	switch {
	case len(path) > 2 && path[1] == ':':
		return path[2:]
	case strings.HasPrefix(path, `\`):
		return path
	}
	return `\Windows\` + path
}

// Programs are the paths on the volume of Windows that the program of a command
// line can have, in the order in which CreateProcess looks for them: a name with
// spaces need not be in quotation marks.
func Programs(command string) []string {
	command = strings.TrimSpace(command)
	if len(command) > maxCommand {
		return nil
	}
	if rest, ok := strings.CutPrefix(command, `"`); ok {
		name, _, _ := strings.Cut(rest, `"`)
		return program(name)
	}
	var paths []string
	for i, n := 0, 0; i < len(command) && n < maxSpaces; i++ {
		if command[i] == ' ' && i > 0 && command[i-1] != ' ' {
			paths = append(paths, program(command[:i])...)
			n++
		}
	}
	return append(paths, program(command)...)
}

// program gives the path of a program, which may be named without .exe.
func program(name string) []string {
	if name == "" {
		return nil
	}
	path := OnVolume(name)
	if strings.Contains(path[strings.LastIndexByte(path, '\\')+1:], ".") {
		return []string{path}
	}
	return []string{path + ".exe", path}
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
