package reverse

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"imageport/engine/copyfile"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/samba"
)

// From a real share to a file, with an interruption; compared by qemu-img with
// what the chain was made from, and by 7-Zip with the chain.
func TestFromShare(t *testing.T) {
	for _, container := range []chain.Container{chain.VHDX, chain.VHD} {
		t.Run(string(container), func(t *testing.T) {
			server := samba.New(t)
			s := newSiteIn(t, server.Shares[samba.DefaultShare], container)
			store, err := share.Dial(t.Context(), share.Location{Host: server.Host, Port: server.Port, Share: samba.DefaultShare},
				share.Credential{Username: server.Username, Password: server.Password}, share.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			s.task.Verify = job.VerifyFull
			admitted, err := Preflight(t.Context(), store, s.task)
			if err != nil {
				t.Fatal(err)
			}
			a := admitted.Approval
			path := filepath.Join(t.TempDir(), "disk.raw")
			f, err := copyfile.Create(path, a.SizeBytes)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			try := func(ctx context.Context, resume *copier.State, checkpoint func(copier.State)) (Copied, error) {
				d, err := copyfile.OpenWhole(path)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				return copyAt(ctx, eager(), store, s.task, a, d, resume, quiet, checkpoint)
			}
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			var last *copier.State
			if _, err := try(ctx, nil, func(c copier.State) { last = &c; kill() }); err == nil {
				t.Fatal("it was not interrupted")
			}
			done, err := try(t.Context(), throughJSON(t, last), func(copier.State) {})
			if err != nil {
				t.Fatal(err)
			}
			if done.CRC32C != sum(s.content) || done.ResumedBytes == 0 {
				t.Errorf("%+v, want CRC %s", done, sum(s.content))
			}
			whole := filepath.Join(t.TempDir(), "want.raw")
			if err := os.WriteFile(whole, s.content, 0o600); err != nil {
				t.Fatal(err)
			}
			disktest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", whole, path)
			if container == chain.VHDX {
				return // 7-Zip wants whole MiB of those
			}
			im, err := s.task.open(t.Context(), store, source.Streamed)
			if err != nil {
				t.Fatal(err)
			}
			defer im.Close()
			disktest.Same7zz(t, string(container), im, filepath.Join(s.dir, s.task.Input))
		})
	}
}
