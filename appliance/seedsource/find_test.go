package seedsource

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imageport/appliance/seedsource/media"
)

const (
	q35    = "Standard PC (Q35 + ICH9, 2009)"
	fwPath = "sys/firmware/qemu_fw_cfg/by_name/opt/imageport-ce/raw"
)

func TestLocal(t *testing.T) {
	for _, c := range []struct {
		what, vendor, product string
		with                  func(m *machine)
		source                string // of the seed
		err                   string // what is said instead
		malformed             bool
	}{
		{what: "fw_cfg", vendor: "QEMU", product: q35, source: "fw_cfg", with: func(m *machine) {
			m.file(fwPath, raw)
			m.disc("sr0", "imageport-ce.json", "another")
		}},
		{what: "fw_cfg too big", vendor: "QEMU", product: q35, malformed: true,
			err: "seed: fw_cfg: malformed: more than 2048 bytes", with: func(m *machine) { m.file(fwPath, tooBig) }},
		{what: "fw_cfg of others, bare", vendor: "QEMU", product: q35,
			err: `no seed on this machine, "QEMU" "Standard PC (Q35 + ICH9, 2009)": fw_cfg: not there; SMBIOS: no table; optical drive: none`,
			with: func(m *machine) {
				m.file("sys/firmware/qemu_fw_cfg/rev", "3\n")
				m.file("sys/firmware/qemu_fw_cfg/by_name/opt/another/raw", "x")
			}},
		{what: "fw_cfg empty, drive empty", vendor: "Bochs", product: "",
			err: `no seed on this machine, "Bochs" "": fw_cfg: empty; SMBIOS: no such OEM string; sr0: no disc in the drive`,
			with: func(m *machine) {
				m.file(fwPath, "")
				m.file("sys/firmware/dmi/tables/DMI", "\x7f\x04\x00\x7f\x00\x00")
				m.disc("sr0")
			}},
		{what: "SMBIOS", vendor: "QEMU", product: q35, source: "SMBIOS", with: func(m *machine) {
			m.file("sys/firmware/dmi/tables/DMI", oemTable("x", media.OEMString([]byte(raw))))
		}},
		{what: "SMBIOS, bad base64", vendor: "QEMU", product: q35, malformed: true,
			err: "seed: SMBIOS: malformed: no base64 at character 5", with: func(m *machine) {
				m.file("sys/firmware/dmi/tables/DMI", oemTable("imageport-ce:t0ken!"))
				m.disc("sr0", "imageport-ce.json", raw)
			}},
		{what: "a disc on a machine of no known kind, in the second drive", vendor: "Nutanix", product: "AHV", source: "sr1", with: func(m *machine) {
			m.disc("sr0", "setup.exe", "MZ")
			m.disc("sr1", "imageport-ce.json", raw)
		}},
		{what: "a foreign disc", vendor: "Nutanix", product: "AHV",
			err:  `no seed on this machine, "Nutanix" "AHV": fw_cfg: no such device; SMBIOS: no table; sr0: no imageport-ce.json, no ovf-env.xml`,
			with: func(m *machine) { m.disc("sr0", "setup.exe", "MZ") }},
		{what: "a disc, too big", vendor: "QEMU", product: q35, malformed: true,
			err: "seed: sr0: malformed: more than 2048 bytes", with: func(m *machine) { m.disc("sr0", "imageport-ce.json", tooBig) }},
		{what: "guestinfo", vendor: "VMware, Inc.", product: "VMware20,1", source: "guestinfo", with: func(m *machine) {
			m.GuestInfo = func(key string) (string, error) {
				if key != "guestinfo.imageport-ce" {
					t.Errorf("asked for %s", key)
				}
				return media.Base64([]byte(raw)), nil
			}
		}},
		{what: "guestinfo, not base64", vendor: "VMware, Inc.", product: "VMware7,1", malformed: true,
			err: "seed: guestinfo: malformed: no base64 at character 0", with: func(m *machine) {
				m.GuestInfo = func(string) (string, error) { return raw, nil }
			}},
		{what: "guestinfo, too big", vendor: "VMware, Inc.", product: "VMware7,1", malformed: true,
			err: "seed: guestinfo: malformed: more than 2048 bytes", with: func(m *machine) {
				m.GuestInfo = func(string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(tooBig)), nil }
			}},
		{what: "OVF environment", vendor: "VMware, Inc.", product: "VMware7,1", source: "sr0", with: func(m *machine) {
			m.GuestInfo = func(string) (string, error) { return "", nil }
			m.disc("sr0", "OVF-ENV.DTD", "x", "ovf-env.xml", string(media.OVFEnvironment([]byte(raw))))
		}},
		{what: "no property, no backdoor", vendor: "VMware, Inc.", product: "VMware7,1",
			err: `no seed on this machine, "VMware, Inc." "VMware7,1": guestinfo: the port faults; sr0: ovf-env.xml has no property imageport-ce and no CustomData`,
			with: func(m *machine) {
				m.GuestInfo = func(string) (string, error) { return "", errors.New("the port faults") }
				m.disc("sr0", "ovf-env.xml", "<Environment/>")
			}},
		{what: "broken OVF environment", vendor: "VMware, Inc.", product: "VMware7,1", malformed: true,
			err: "seed: sr0: malformed: ovf-env.xml: no XML at line 1, column 14", with: func(m *machine) {
				m.GuestInfo = func(string) (string, error) { return "", nil }
				m.disc("sr0", "ovf-env.xml", "<t0ken></t0k>")
				m.disc("sr1", "imageport-ce.json", raw)
			}},
		{what: "XenServer", vendor: "Xen", product: "HVM domU",
			err: `no seed on this machine, "Xen" "HVM domU": xenstore: no such device; optical drive: none`},
		{what: "XenServer with its host's names", vendor: "Dell Inc.", product: "PowerEdge R740", source: "sr0", with: func(m *machine) {
			m.file("sys/hypervisor/type", "xen\n")
			m.disc("sr0", "imageport-ce.json", raw)
		}},
		{what: "Azure without a disc", vendor: "Microsoft Corporation", product: "Virtual Machine",
			err: `no seed on this machine, "Microsoft Corporation" "Virtual Machine": optical drive: none`},
		{what: "Azure's provisioning disc", vendor: "Microsoft Corporation", product: "Virtual Machine", source: "sr0", with: func(m *machine) {
			m.disc("sr0", "ovf-env.xml", azureEnvironment(media.Base64([]byte(raw))))
		}},
		{what: "GCP", vendor: "Google", product: "Google Compute Engine",
			err: `no seed on this machine, "Google" "Google Compute Engine": it has no source of this kind`},
		{what: "names that would mess the console up", vendor: "Evil\x1b[2J", product: strings.Repeat("long", 100),
			err: `no seed on this machine, "Evil\x1b[2J" "` + strings.Repeat("long", 16) + `": fw_cfg: no such device; SMBIOS: no table; optical drive: none`},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(t, c.vendor, c.product)
				if c.with != nil {
					c.with(m)
				}
				began := time.Now()
				got, source, err := Local(t.Context(), m.Env)
				if c.source != "" {
					if string(got) != raw || source != c.source || err != nil || time.Since(began) != 0 {
						t.Fatalf("%q from %q, %v, after %s", got, source, err, time.Since(began))
					}
					return
				}
				if err == nil || err.Error() != c.err || got != nil {
					t.Fatalf("got %q, %v\nwant %s", got, err, c.err)
				}
				var none *NotFoundError
				if errors.Is(err, ErrMalformed) != c.malformed || errors.As(err, &none) == c.malformed {
					t.Errorf("the error is of the wrong kind: %#v", err)
				}
				if c.malformed && time.Since(began) != 0 {
					t.Errorf("it takes %s to see what will not change", time.Since(began))
				}
				if time.Since(began) > devicePatience {
					t.Errorf("it takes %s", time.Since(began))
				}
			})
		})
	}
}

// A drive that the kernel has still to probe is found.
func TestLateDrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, "QEMU", q35)
		time.AfterFunc(3*time.Second, func() { m.disc("sr0", "imageport-ce.json", raw) })
		if got, source, err := Local(t.Context(), m.Env); string(got) != raw || source != "sr0" {
			t.Errorf("%q from %q, %v", got, source, err)
		}
	})
}

// A drive that never answers is passed over.
func TestStuckDrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, "QEMU", q35)
		m.disc("sr0", "imageport-ce.json", raw)
		m.disc("sr1", "imageport-ce.json", raw)
		stuck, mount := make(chan struct{}), m.Mount
		defer close(stuck)
		m.Mount = func(device string) (Volume, error) {
			if filepath.Base(device) == "sr0" {
				<-stuck
				return nil, os.ErrClosed
			}
			return mount(device)
		}
		began := time.Now()
		if got, source, err := Local(t.Context(), m.Env); string(got) != raw || source != "sr1" || time.Since(began) != localTimeout {
			t.Errorf("%q from %q, %v, after %s", got, source, err, time.Since(began))
		}
		delete(m.discs, filepath.Join(m.Dev, "sr1"))
		_, _, err := Local(t.Context(), m.Env)
		if err == nil || !strings.HasSuffix(err.Error(), "; sr0: no answer in 10s; sr1: no disc in the drive") {
			t.Error(err)
		}
	})
}

func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, "QEMU", q35)
		why := errors.New("the boot takes too long")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, why)
		defer cancel()
		if _, _, err := Local(ctx, m.Env); !errors.Is(err, why) {
			t.Error(err)
		}
		m = newMachine(t, "Google", "")
		ctx, cancel = context.WithTimeoutCause(t.Context(), 2*time.Second, why)
		defer cancel()
		m.HTTP.Transport = handled(later)
		if _, _, err := Network(ctx, m.Env); !errors.Is(err, why) {
			t.Error(err)
		}
	})
}

func TestOnNetwork(t *testing.T) {
	for vendor, want := range map[string]bool{"Google": true, "Microsoft Corporation": true, "VMware, Inc.": false, "Xen": false, "QEMU": false} {
		m := newMachine(t, vendor, "")
		if got := OnNetwork(m.Env); got != want {
			t.Errorf("%s: %t", vendor, got)
		}
		if want {
			continue
		}
		var none *NotFoundError
		if _, _, err := Network(t.Context(), m.Env); !errors.As(err, &none) || len(none.Said) > 0 {
			t.Errorf("%s: %v", vendor, err)
		}
	}
}
