package appliance_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/appliance"
	"imageport/job"
)

// signingKey makes a key and its certificate, as files.
func signingKey(t *testing.T) (key, certificate string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "appliance test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, certificate = filepath.Join(dir, "db.key"), filepath.Join(dir, "db.crt")
	for name, block := range map[string]*pem.Block{key: {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}, certificate: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key, certificate
}

// TestSign has sbsign sign, and sbverify judge.
func TestSign(t *testing.T) {
	key, certificate := signingKey(t)
	o := options(t)
	unsigned := shared(t)
	o.SignWith = "sbsign --key " + key + " --cert " + certificate + " --output {out} {in}"
	signed := build(t, o)
	if signed.Unsigned != unsigned.Digest || signed.Digest == unsigned.Digest {
		t.Errorf("%+v\nunsigned %+v", signed, unsigned)
	}
	if out, err := exec.Command("sbverify", "--cert", certificate, path(t, signed, "uki")).CombinedOutput(); err != nil {
		t.Errorf("sbverify: %v: %s", err, out)
	}
	if out, err := exec.Command("sbverify", "--cert", certificate, path(t, unsigned, "uki")).CombinedOutput(); err == nil {
		t.Errorf("sbverify accepts the unsigned one: %s", out)
	}
}

func TestSignRefusals(t *testing.T) {
	image, err := os.ReadFile(path(t, shared(t), "uki"))
	if err != nil {
		t.Fatal(err)
	}
	script := func(text string) string {
		name := filepath.Join(t.TempDir(), "sign")
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return name + " {in} {out}"
	}
	for command, want := range map[string]struct {
		code job.Code
		says string
	}{
		"sbsign --output x {in}":                 {job.BadRequest, "has no {in} and {out}"},
		"no-such-program {in} {out}":             {job.ToolMissing, "no-such-program"},
		script("echo the key is locked; exit 3"): {job.ToolFailed, "exit status 3: the key is locked"},
		script("true"):                           {job.ToolFailed, "no such file"},
		script(`cp "$1" "$2"`):                   {job.ToolFailed, "it has no signature"},
		script(`head -c 1000 "$1" >"$2"`):        {job.ToolFailed, "it has 1000 bytes"},
	} {
		_, err := appliance.Sign(t.Context(), command, image)
		if job.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", command, err)
		}
	}
}
