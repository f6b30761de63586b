package job

import (
	"encoding/json"
	"testing"
)

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		`["a","b"]`: `["a","b"]`, `"a, b,,"`: `["a","b"]`, `[" a ","","b,c"]`: `["a","b","c"]`, `"a"`: `["a"]`, `[]`: `null`, `null`: `null`,
	} {
		var n Names
		if err := json.Unmarshal([]byte(in), &n); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got, err := json.Marshal(n); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	var n Names
	if err := json.Unmarshal([]byte(`[1]`), &n); err == nil {
		t.Errorf("a number became %q", n)
	}
}
