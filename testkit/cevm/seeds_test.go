package cevm_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/appliance/seedsource/media"
	"imageport/job/seed"
	"imageport/testkit/cevm"
)

// TestSeedSources boots a machine for every platform that can be made to look
// like one here, with its seed where that platform would have it.
func TestSeedSources(t *testing.T) {
	raw, err := seed.Seed{
		Name:     "ce-5eed00000001",
		Deadline: time.Now().Add(time.Hour),
		Gateway:  seed.Gateway{Address: "done:7443", CA: strings.Repeat("0a", 32), Patience: 60, Token: "t0ken-of-the-seed"},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := func(t *testing.T, write func(io.Writer) error) string {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	drive := func(image string) []string {
		return []string{"-drive", "if=none,id=cd,media=cdrom,format=raw,readonly=on,file=" + image, "-device", "ide-cd,drive=cd"}
	}
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := io.WriteString(w, s)
			return err
		}
	}
	const vmware, azure, gcp = "manufacturer=VMware,, Inc.,product=VMware20", "manufacturer=Microsoft Corporation,product=Virtual Machine", "manufacturer=Google,product=Google Compute Engine"
	for _, c := range []struct {
		what    string
		machine string // in SMBIOS; QEMU's own if empty
		with    func(t *testing.T, o *cevm.Options)
		from    string // where the CE says that it has its seed from
		cause   string // or why it gives up
	}{
		{what: "fw_cfg", from: "fw_cfg", with: func(_ *testing.T, o *cevm.Options) { o.Seed = raw }},
		{what: "SMBIOS", from: "SMBIOS", with: func(t *testing.T, o *cevm.Options) {
			o.Args = append(o.Args, "-smbios", "type=11,path="+file(t, text(media.OEMString(raw))))
		}},
		{what: "config ISO", from: "sr0", with: func(t *testing.T, o *cevm.Options) {
			o.Args = append(o.Args, drive(file(t, func(w io.Writer) error { return media.ConfigISO(w, raw) }))...)
		}},
		{what: "OVF environment", machine: vmware, from: "sr0", with: func(t *testing.T, o *cevm.Options) {
			o.Args = append(o.Args, drive(file(t, func(w io.Writer) error { return media.OVFEnvironmentISO(w, raw) }))...)
		}},
		{what: "Azure", machine: azure, from: "Azure metadata", with: func(t *testing.T, o *cevm.Options) {
			o.Network = cevm.NoCard
			o.Args = append(o.Args, metadata(t, "azure", file(t, text(media.Base64(raw))))...)
		}},
		{what: "GCP", machine: gcp, from: "GCP metadata", with: func(t *testing.T, o *cevm.Options) {
			o.Network = cevm.NoCard
			o.Args = append(o.Args, metadata(t, "gcp", file(t, text(string(raw))))...)
		}},
		{what: "none", machine: vmware,
			cause: `no seed on this machine, "VMware, Inc." "VMware20": guestinfo: the hypervisor has no VMware backdoor; sr0: cannot be mounted: iso9660: invalid argument, udf: invalid argument, vfat: invalid argument`,
			with: func(t *testing.T, o *cevm.Options) {
				o.Args = append(o.Args, drive(file(t, text(strings.Repeat("no disc", 64<<10))))...)
			}},
		{what: "malformed", cause: "SMBIOS: malformed: no base64 at character 5", with: func(t *testing.T, o *cevm.Options) {
			o.Args = append(o.Args, "-smbios", "type=11,value="+media.OEMPrefix+"t0ken!")
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			o := cevm.Options{Image: cevm.Trial(t), Network: cevm.User}
			c.with(t, &o)
			if c.machine != "" {
				o.Args = append(o.Args, "-smbios", "type=1,"+c.machine)
			}
			vm := cevm.Boot(t, o)
			end := vm.End()
			console := strings.Join(vm.Console(), "\n")
			if !end.Off || !strings.Contains(end.Cause, c.cause) || (end.Cause == "") != (c.cause == "") {
				t.Errorf("it ends with %+v, want the cause %q", end, c.cause)
			}
			if c.from != "" && !strings.Contains(console, `from="`+c.from+`"`) && !strings.Contains(console, "from="+c.from+" ") {
				t.Errorf("the seed is not from %s", c.from)
			}
			if strings.Contains(console, "t0ken") || strings.Contains(console, media.Base64(raw)[:40]) {
				t.Error("the console shows what is in the seed")
			}
			t.Logf("%s: %+v", c.what, end)
		})
	}
}

// What the metadata service is told: whose it is, and the file with the seed.
const metadataOf, metadataFile = "CEVM_METADATA_OF", "CEVM_METADATA_FILE"

// metadata plugs the machine's card into a network with a metadata service at
// 169.254.169.254: for every connection, QEMU starts this program again.
func metadata(t *testing.T, of, file string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	service := "env " + metadataOf + "=" + of + " " + metadataFile + "=" + file + " " + self + " -test.run=^TestMetadataService$"
	return []string{"-netdev", "user,id=cloud,restrict=on,net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3,dhcpstart=169.254.169.15," +
		"guestfwd=tcp:169.254.169.254:80-cmd:" + strings.ReplaceAll(service, ",", ",,"),
		"-device", "virtio-net-pci,netdev=cloud,romfile="}
}

// TestMetadataService is no test, but a metadata service for one connection on
// standard input and output.
func TestMetadataService(t *testing.T) {
	of := os.Getenv(metadataOf)
	if of == "" {
		return
	}
	request, err := http.ReadRequest(bufio.NewReader(os.Stdin))
	if err != nil {
		os.Exit(1)
	}
	answer := httptest.NewRecorder()
	h := request.Header
	switch {
	case of == "gcp" && h.Get("Metadata-Flavor") == "Google" && request.URL.Path == "/computeMetadata/v1/instance/attributes/imageport-ce":
		answer.Header().Set("Metadata-Flavor", "Google")
		http.ServeFile(answer, request, os.Getenv(metadataFile))
	case of == "azure" && h.Get("Metadata") == "true" && request.URL.String() == "/metadata/instance/compute/userData?api-version=2021-01-01&format=text":
		http.ServeFile(answer, request, os.Getenv(metadataFile))
	default:
		http.NotFound(answer, request)
	}
	response := answer.Result()
	response.Close = true
	if response.Write(os.Stdout) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
