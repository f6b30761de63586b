package cevm

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"

	"imageport/appliance"
	"imageport/job/seed"
)

// TestSecureBoot has firmware that enforces Secure Boot, with a platform's own
// keys, judge the appliance: as `imageport appliance build --sign-with` makes
// it with the key that the firmware knows, unsigned, and signed by a stranger.
// It is the same UKI each time.
func TestSecureBoot(t *testing.T) {
	unsigned := Appliance(t)
	dir := t.TempDir()
	platform, exchange, db, stranger := newSigner(t, dir, "platform"), newSigner(t, dir, "exchange"), newSigner(t, dir, "db"), newSigner(t, dir, "stranger")
	vars := nvram(t, platform, exchange, db)

	signed := buildSigned(t, db)
	if plain := digestOf(t, unsigned.UKI); signed.Unsigned != plain {
		t.Errorf("what was signed is %s, the appliance is %s", signed.Unsigned, plain)
	}
	strange := filepath.Join(dir, "strange.efi")
	stranger.sign(t, unsigned.UKI, strange)

	for name, uki := range map[string]string{"signed": signed.Files[0].Path, "unsigned": unsigned.UKI, "signed by a stranger": strange} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := secured(t, uki, vars)
			if name != "signed" {
				o.Network = NoCard // the firmware would go on to boot from there
				refused(t, Boot(t, o))
				return
			}
			v := Boot(t, o)
			for _, line := range []string{
				`secureboot: Secure boot enabled`,
				`Kernel is locked down from`,
				`secure_boot=on`,
				`working ce=ce-0123456789ab`,
			} {
				t.Log(v.Wait(line))
			}
			end := v.End()
			t.Logf("%v: %s", end.Duration.Round(100*time.Millisecond), end.Last)
			if !end.Off || !strings.Contains(end.Cause, "10.0.2.2:1 ") {
				t.Errorf("%+v", end)
			}
		})
	}
}

// refused expects the firmware to refuse the only thing that there is to boot.
func refused(t *testing.T, v *VM) {
	t.Helper()
	t.Log(v.Wait(`BdsDxe: failed to load Boot.*: Access Denied`))
	v.Wait(`BdsDxe: No bootable option or device was found`)
	v.Kill()
	if i := slices.IndexFunc(v.Console(), stamp.MatchString); i >= 0 {
		t.Errorf("a kernel runs: %s", v.Console()[i])
	}
}

// buildSigned builds the appliance as it is shipped, with the hook that signs.
func buildSigned(t *testing.T, by signer) appliance.Result {
	t.Helper()
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	o, err := inputs(t.Context(), root, cache)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir()
	o.Agent = filepath.Join(o.Dir, "agent")
	o.SignWith = "sbsign --key " + by.key + " --cert " + by.certificate + " --output {out} {in}"
	if err := compile(t.Context(), root, "./cmd/imageport-ce", o.Agent); err != nil {
		t.Fatal(err)
	}
	r, err := appliance.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Files[0].Format != "uki" {
		t.Fatalf("the first file is %+v", r.Files[0])
	}
	return r
}

// secured is a machine whose firmware has a NVRAM with keys, protected by SMM
// as on real machines, and nothing but that UKI to boot.
func secured(t *testing.T, uki string, vars []byte) Options {
	t.Helper()
	dir := t.TempDir()
	boot, nvram := filepath.Join(dir, "drive", "EFI", "BOOT"), filepath.Join(dir, "vars.fd")
	if err := os.MkdirAll(boot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(uki, filepath.Join(boot, "BOOTX64.EFI")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(nvram, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	told, err := seed.Seed{
		Name: "ce-0123456789ab", Deadline: time.Now().Add(time.Hour),
		Network: &seed.Network{Address: "10.0.2.77/24", Router: "10.0.2.2"},
		Gateway: seed.Gateway{Address: "10.0.2.2:1", CA: strings.Repeat("0a", 32), Patience: 1, Token: "token"},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Firmware: BIOS, // in whose place the flash comes
		Disk:     "fat:" + filepath.Join(dir, "drive"), Machine: "q35,smm=on", Network: User, Seed: told,
		Args: []string{
			"-global", "driver=cfi.pflash01,property=secure,value=on",
			"-drive", "if=pflash,format=raw,readonly=on,file=" + ovmf + "CODE_4M.secboot.fd",
			"-drive", "if=pflash,format=raw,file=" + escape(nvram),
			// With Secure Boot, the command line is the UKI's. systemd-stub(7)
			// adds this to it, so that the kernel's own words are to be seen.
			"-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=loglevel=7",
		},
	}
}

func digestOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// signer is a key with its own certificate.
type signer struct {
	key, certificate string // files
	der              []byte // the certificate
}

func newSigner(t *testing.T, dir, name string) signer {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Secure Boot test, " + name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	s := signer{key: filepath.Join(dir, name+".key"), certificate: filepath.Join(dir, name+".crt")}
	if s.der, err = x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private); err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		s.key:         {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)},
		s.certificate: {Type: "CERTIFICATE", Bytes: s.der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s signer) sign(t *testing.T, in, out string) {
	t.Helper()
	if said, err := exec.Command("sbsign", "--key", s.key, "--cert", s.certificate, "--output", out, in).CombinedOutput(); err != nil {
		t.Fatalf("sbsign: %v: %s", err, said)
	}
}

// nvram is the firmware's empty NVRAM with the keys of Secure Boot in it, which
// turn it on. The layout is EDK II's, VariableFormat.h: after the headers of the
// volume and of the store, one variable after the other.
func nvram(t *testing.T, platform, exchange, db signer) []byte {
	t.Helper()
	const volumeHeader, storeHeader = 0x48, 28
	b, err := os.ReadFile(ovmf + "VARS_4M.fd")
	if err != nil {
		t.Fatal(err)
	}
	at := volumeHeader + storeHeader
	if len(b) < 64<<10 || !bytes.Equal(b[volumeHeader:][:16], efiGUID("aaf32c78-947b-439a-a180-2e144ec37792")) || len(bytes.TrimLeft(b[at:at+1024], "\xff")) > 0 {
		t.Fatalf("%sVARS_4M.fd is no empty store of authenticated variables", ovmf)
	}
	const global = "8be4df61-93ca-11d2-aa0d-00e098032b8c" // UEFI 2.10 section 32.3
	for _, v := range []struct {
		name, vendor string
		holds        signer
	}{{"PK", global, platform}, {"KEK", global, exchange}, {"db", "d719b2cb-3d3a-4596-a3bc-dad00e67656f", db}} {
		at += copy(b[at:], variable(v.name, v.vendor, signatureList(v.holds.der)))
	}
	return b
}

// variable is an AUTHENTICATED_VARIABLE_HEADER with what belongs to it, padded
// with what erased flash has.
func variable(name, vendor string, data []byte) []byte {
	utf := utf16.Encode([]rune(name + "\x00"))
	b := make([]byte, 44, 1<<10)
	binary.LittleEndian.PutUint16(b, 0x55AA)
	b[2] = 0x3F // VAR_ADDED
	// Nonvolatile, for boot services and at run time, authenticated by time.
	binary.LittleEndian.PutUint32(b[4:], 0x27)
	binary.LittleEndian.PutUint32(b[36:], uint32(2*len(utf)))
	binary.LittleEndian.PutUint32(b[40:], uint32(len(data)))
	b = append(b, efiGUID(vendor)...)
	for _, c := range utf {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0xFF)
	}
	return b
}

// signatureList is an EFI_SIGNATURE_LIST of one X.509 certificate (UEFI 2.10
// section 32.4.1).
func signatureList(der []byte) []byte {
	const header, owner = 28, 16
	b := efiGUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
	b = binary.LittleEndian.AppendUint32(b, uint32(header+owner+len(der)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(owner+len(der)))
	b = append(b, efiGUID("77fa9abd-0359-4d32-bd60-28f4e78f784b")...) // whoever
	return append(b, der...)
}

// efiGUID is a GUID in memory: its first three fields are little-endian.
func efiGUID(text string) []byte {
	u := uuid.MustParse(text)
	slices.Reverse(u[:4])
	slices.Reverse(u[4:6])
	slices.Reverse(u[6:8])
	return u[:]
}
