package catalogue

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"imageport/firstboot/plan"
)

// uninstallKey lists the installed programs of the processor of Windows. Those of
// 32 bits on a Windows of 64 are in WOW6432Node: an installer for such a Windows
// installs none, only its own program may be one, and all entries of Detect must
// hold.
const uninstallKey = `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`

// repairSeconds is how long a repair may take: it copies a driver or two.
const repairSeconds = 5 * 60

// File is a file that the guest needs.
type File struct {
	// Path is below the catalogue's folder, '/'-separated.
	Path string
	// Name is what it is called in plan.FilesDir: that of the file, with a number
	// before it where two are called the same.
	Name   string
	SHA256 string
}

// Files gives the files of Steps, each once.
func Files(in Installer) []File {
	var list []File
	taken := map[string]bool{}
	add := func(file, hash string) {
		for _, f := range list {
			if f.Path == file && f.SHA256 == hash {
				return
			}
		}
		name := path.Base(file)
		for n := 2; taken[strings.ToLower(name)]; n++ {
			name = fmt.Sprintf("%d-%s", n, path.Base(file))
		}
		taken[strings.ToLower(name)] = true
		list = append(list, File{file, name, hash})
	}
	for _, p := range in.Prerequisites {
		add(p.File, p.SHA256)
	}
	add(in.File, in.SHA256)
	return list
}

// Steps gives what the runner does: the prerequisites; the installer, which is
// done when Windows lists the product in the new version, whatever its exit code
// says; and the repairs, which may fail.
func Steps(in Installer) []plan.Step {
	names := map[string]string{}
	for _, f := range Files(in) {
		names[f.Path+" "+f.SHA256] = f.Name
	}
	var steps []plan.Step
	for _, p := range in.Prerequisites {
		name := names[p.File+" "+p.SHA256]
		steps = append(steps, plan.Step{
			Name: "prerequisite " + p.Name, Command: command(name, p.Args), File: name, SHA256: p.SHA256,
			OK: p.OKCodes, Reboot: p.RebootCodes, Retry: retries(p),
			TimeoutSeconds: p.TimeoutMinutes * 60, Session: p.Session,
		})
	}
	name := names[in.File+" "+in.SHA256]
	install := plan.Step{
		Name: "install " + in.Product + " " + in.Version, Command: command(name, in.Args), File: name, SHA256: in.SHA256,
		Detect: []plan.Detect{{Key: uninstallKey, NamePattern: in.Verify.DisplayName, Version: in.ProductVersion}},
		OK:     in.OKCodes, Reboot: in.RebootCodes, Retry: in.RetryCodes,
		TimeoutSeconds: in.TimeoutMinutes * 60, Session: in.Session,
	}
	steps = append(steps, install)
	for i, c := range in.Repair {
		steps = append(steps, plan.Step{
			Name: fmt.Sprintf("repair %d", i+1), Command: c, OK: []int{codeOK},
			TimeoutSeconds: repairSeconds, Session: in.Session, Optional: true,
		})
	}
	return steps
}

// command is the command line for a program or package in plan.FilesDir.
func command(name, args string) string {
	quoted := `"` + plan.Folder + `\` + plan.FilesDir + `\` + name + `"`
	if isPackage(name) {
		quoted = `"%SystemRoot%\System32\msiexec.exe" /i ` + quoted
	}
	return strings.TrimSpace(quoted + " " + args)
}

// isPackage reports whether a file is for Windows Installer to install.
func isPackage(file string) bool { return strings.EqualFold(path.Ext(file), ".msi") }

// retries are the codes of a prerequisite with which it is tried again: that
// another runs, unless that is said to be something else.
func retries(p Prerequisite) []int {
	if slices.Contains(p.OKCodes, codeAnotherRuns) || slices.Contains(p.RebootCodes, codeAnotherRuns) {
		return nil
	}
	return []int{codeAnotherRuns}
}
