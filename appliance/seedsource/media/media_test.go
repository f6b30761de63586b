package media_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/appliance/seedsource/media"
	"imageport/job/seed"
	"imageport/testkit/disktest"
)

var raw = []byte(`{"name":"ce-0123456789ab","gateway":{"token":"+/<>&\""}}`)

func TestConfigISO(t *testing.T) {
	longest := bytes.Repeat([]byte("ab\x00c"), seed.MaxBytes/4)
	for name, c := range map[string]struct {
		image func(*bytes.Buffer) error
		want  []byte
	}{
		"imageport-ce.json": {func(w *bytes.Buffer) error { return media.ConfigISO(w, longest) }, longest},
		"ovf-env.xml":       {func(w *bytes.Buffer) error { return media.OVFEnvironmentISO(w, raw) }, media.OVFEnvironment(raw)},
	} {
		var image, again bytes.Buffer
		if err := errors.Join(c.image(&image), c.image(&again)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(image.Bytes(), again.Bytes()) {
			t.Errorf("%s: two images differ", name)
		}
		path := filepath.Join(t.TempDir(), "disc.iso")
		disktest.WriteFile(t, path, image.Bytes())
		disktest.Listed7zz(t, "iso", path, "Path = "+name, "Physical Size = 131072")
		if got := disktest.Run(t, "7zz", "e", "-so", "-tiso", path, name); !bytes.Equal(got, c.want) {
			t.Errorf("%s: 7zz gives %d bytes, want %d", name, len(got), len(c.want))
		}
		// What knows no Joliet sees the names of ECMA-119 alone, as xorriso does if
		// it is told to.
		out, err := exec.Command("xorriso", "-read_fs", "ecma119", "-indev", "stdio:"+path, "-find", "/", "-type", "f").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "/"+strings.ToUpper(name)) {
			t.Errorf("%s: xorriso: %v\n%s", name, err, out)
		}
		for _, complaint := range []string{"SORRY", "WARNING", "FAILURE", "Damaged"} {
			if strings.Contains(string(out), complaint) {
				t.Errorf("%s: xorriso complains:\n%s", name, out)
			}
		}
	}
}

type full struct{}

var errFull = errors.New("no space")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestISORefused(t *testing.T) {
	for _, bad := range [][]byte{nil, make([]byte, seed.MaxBytes+1)} {
		var b bytes.Buffer
		if err := media.ConfigISO(&b, bad); err == nil || b.Len() > 0 {
			t.Errorf("a seed of %d bytes is taken", len(bad))
		}
		if err := media.OVFEnvironmentISO(&b, bad); err == nil || b.Len() > 0 {
			t.Errorf("a seed of %d bytes is taken", len(bad))
		}
	}
	if err := media.ConfigISO(full{}, raw); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

func TestOVFEnvironment(t *testing.T) {
	var e struct {
		XMLName    xml.Name `xml:"http://schemas.dmtf.org/ovf/environment/1 Environment"`
		Properties []struct {
			Key   string `xml:"http://schemas.dmtf.org/ovf/environment/1 key,attr"`
			Value string `xml:"http://schemas.dmtf.org/ovf/environment/1 value,attr"`
		} `xml:"PropertySection>Property"`
	}
	if err := xml.Unmarshal(media.OVFEnvironment(raw), &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Properties) != 1 || e.Properties[0].Key != "imageport-ce" {
		t.Fatalf("%+v", e)
	}
	if got, err := base64.StdEncoding.DecodeString(e.Properties[0].Value); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOEMString(t *testing.T) {
	text, is := strings.CutPrefix(media.OEMString(raw), "imageport-ce:")
	if got, err := base64.StdEncoding.DecodeString(text); !is || err != nil || !bytes.Equal(got, raw) {
		t.Errorf("%q, %v", got, err)
	}
}

// Everything that a platform limits has room for the longest seed.
func TestRoom(t *testing.T) {
	longest := media.Base64(make([]byte, seed.MaxBytes))
	if len(longest) > 4096-len(media.Xenstore)-1 {
		t.Errorf("%d characters do not fit into xenstore", len(longest))
	}
	// The tables of SMBIOS 2 are 64 KiB at most.
	if len(media.OEMString(make([]byte, seed.MaxBytes))) > 32<<10 {
		t.Error("the OEM string does not fit into SMBIOS")
	}
}
