package starter

import "testing"

func TestFilterOfImages(t *testing.T) {
	const image = `\\files.example.com\pvs\store\win[10].vhdx`
	for pattern, want := range map[string]bool{
		"":                      true,
		"WIN[10]":               true,
		"pvs/store":             true,
		"win11":                 false,
		"win*.vhdx":             true,
		"WIN[10].*":             true,
		"win?10?.vhdx":          true,
		"win*.vhd":              false,
		"in*.vhdx":              false,
		"store/*.vhdx":          true,
		`*\store\win*`:          true,
		"pvs/*":                 false,
		`\\files*\pvs\*\win*`:   true,
		"*/*/*/*/*/*/win*.vhdx": false,
	} {
		if got := (Filter{Image: pattern}).matches()(image); got != want {
			t.Errorf("%q: %v", pattern, got)
		}
	}
}
