package winimage

import "testing"

// Every disk that others range over can be laid out, under a name of its own.
func TestLayoutsAndRefusals(t *testing.T) {
	names := map[string]bool{}
	check := func(name string, spec Spec) {
		if _, err := spec.Layout(); err != nil || names[name] || spec.SizeBytes > 3<<30 || spec.BootFiles != SmallBootFiles {
			t.Errorf("%s: %v, or not the only one, or not small", name, err)
		}
		names[name] = true
	}
	for _, l := range Layouts() {
		check(l.Name, l.Spec)
	}
	for _, r := range Refusals() {
		if check(r.Name, r.Spec); r.Code == "" {
			t.Errorf("%s: no code", r.Name)
		}
	}
}
