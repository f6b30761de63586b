package share_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"imageport/engine/share"
	"imageport/engine/share/sharetest"
	"imageport/testkit/samba"
)

// TestMain lets all configurations run at the same time, whatever the number of
// processors: most of the time they wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	sharetest.Run(t, sharetest.Harness{
		Folder: dir,
		Open:   func(context.Context) (share.Store, error) { return share.Dir(dir) },
	})
}

func TestSamba(t *testing.T) {
	for _, c := range []struct {
		name    string
		server  samba.Options
		drivers []string
	}{
		{"plain", samba.Options{}, drivers},
		// Not hirochachacha: see TestSigningWithHirochachacha. Its renames are
		// tested all the same, because cloudsoda's go over it.
		{"signed", samba.Options{Signing: "mandatory"}, []string{share.DriverCloudSoda}},
		{"encrypted", samba.Options{Encrypt: true}, drivers},
		{"SMB 2.1", samba.Options{Protocol: "SMB2_10"}, drivers},
	} {
		server := samba.New(t, c.server)
		for _, driver := range c.drivers {
			t.Run(c.name+"/"+driver, func(t *testing.T) {
				t.Parallel()
				folder := filepath.Join(driver, "in a folder")
				harness := sharetest.Harness{
					Folder:  filepath.Join(server.Shares[samba.DefaultShare], folder),
					Network: network(server, folder, driver),
				}
				if err := os.MkdirAll(harness.Folder, 0o755); err != nil {
					t.Fatal(err)
				}
				sharetest.Run(t, harness)
			})
		}
	}
}

func network(s *samba.Server, folder, driver string) *sharetest.Network {
	return &sharetest.Network{
		Location:   share.Location{Host: s.Host, Port: s.Port, Share: samba.DefaultShare, Folder: folder},
		Credential: share.Credential{Username: s.Username, Password: s.Password},
		Options:    share.Options{Driver: driver},
	}
}
