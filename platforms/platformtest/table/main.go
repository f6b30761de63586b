// Command table prints what the conformance suite's runs have left in a
// directory (platformtest.EnvRecord) as a table: platform by case. It fails if a
// case of any platform did.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// platforms are the columns, and what their suite ran against.
var platforms = []struct{ file, name, against string }{
	{"local", "local", "the real thing: processes and files"},
	{"qemu", "qemu", "the real thing: QEMU, with a guest of a few instructions"},
	{"vsphere", "vSphere", "a simulator: govmomi's, with disks and guests of our own"},
	{"xenserver", "XenServer", "a simulator of our own, held to the official schema of XAPI"},
	{"azure", "Azure", "a simulator: the SDK's generated servers, with our state behind them"},
	{"gcp", "GCP", "a simulator of our own, with the SDK's messages"},
}

// optional are the groups of cases of what a platform need not offer.
var optional = []string{"OutputDisk/", "OutputVM/", "Guest/"}

// absent says in a word why a case did not run on a platform with these outcomes.
func absent(outcomes map[string]bool, name string) string {
	for _, group := range optional {
		if !strings.HasPrefix(name, group) {
			continue
		}
		for ran := range outcomes {
			if strings.HasPrefix(ran, group) {
				return "–"
			}
		}
		return "not offered"
	}
	return "–"
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: table directory")
		os.Exit(2)
	}
	if err := table(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func table(w io.Writer, dir string) error {
	outcomes := make([]map[string]bool, len(platforms))
	cases := make(map[string]bool)
	var failed []error
	for i, p := range platforms {
		b, err := os.ReadFile(filepath.Join(dir, p.file+".json"))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &outcomes[i]); err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		for name, passed := range outcomes[i] {
			cases[name] = true
			if !passed {
				failed = append(failed, fmt.Errorf("%s fails %s", p.name, name))
			}
		}
	}
	var out strings.Builder
	out.WriteString("# Conformance of the platforms\n\nWritten by `make conformance`: what `platforms/platformtest` checks of each driver. A dash says that the case does not\napply: a platform without sessions cannot lose one. What a platform need not have, such as VMs around disks or guests, it may not\noffer.\n\n")
	for _, p := range platforms {
		fmt.Fprintf(&out, "- **%s** ran against %s.\n", p.name, p.against)
	}
	out.WriteString("\n| case |")
	for _, p := range platforms {
		fmt.Fprintf(&out, " %s |", p.name)
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(platforms)) + "\n")
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		fmt.Fprintf(&out, "| %s |", name)
		for i := range platforms {
			passed, ran := outcomes[i][name]
			switch {
			case !ran:
				fmt.Fprintf(&out, " %s |", absent(outcomes[i], name))
			case passed:
				out.WriteString(" passes |")
			default:
				out.WriteString(" **fails** |")
			}
		}
		out.WriteString("\n")
	}
	out.WriteString("| **cases** |")
	for i := range platforms {
		fmt.Fprintf(&out, " %d |", len(outcomes[i]))
	}
	out.WriteString("\n")
	if _, err := io.WriteString(w, out.String()); err != nil {
		return err
	}
	return errors.Join(failed...)
}
