package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/engine/copyfile"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/diskimage"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/disktest"
)

// image makes a VHDX of random bytes, and gives its folder.
func image(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(content)
	if err := os.WriteFile(filepath.Join(dir, "want.raw"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c, err := diskimage.Open(t.Context(), diskimage.Input{Folder: diskimage.Local(store), Name: "want.raw", Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out := diskimage.Output{Store: store, Name: "win.vhdx", Format: diskimage.Format{Container: chain.VHDX}, Identity: diskimage.Identity{ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(t.Name()))}}
	if _, err := diskimage.Convert(t.Context(), c, out, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	return dir
}

var errWorn = errors.New("worn out")

// mortal is a disk that fails after so many bytes.
type mortal struct {
	Disk
	mu   sync.Mutex
	left int
}

func (d *mortal) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	d.left -= len(p)
	dead := d.left < 0
	d.mu.Unlock()
	if dead {
		return 0, errWorn
	}
	return d.Disk.WriteAt(p, off)
}

// A copy whose attempts die goes on from what the heartbeats say, also behind
// an attempt that has come to nothing, in processes that know nothing.
func TestCopyGoesOn(t *testing.T) {
	const size = 200 << 20
	dir := image(t, size)
	disks := t.TempDir()
	const serial = "serial:0123456789abcdef0123"
	f, err := copyfile.Create(filepath.Join(disks, serial), size)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	e := &Engine{Dial: func(context.Context, job.StorageLocation) (share.Store, error) { return share.Dir(dir) }}
	e.Disk = func(ctx context.Context, s string) (Disk, error) {
		e.copies.note(reverse.Task{}, reverse.DiskRef{}, copier.State{}) // as in a new process
		if s != serial {
			t.Errorf("serial number %q", s)
		}
		d, err := FolderDisks(disks)(ctx, s)
		switch activity.GetInfo(ctx).Attempt {
		case 1:
			return &mortal{Disk: d, left: 150 << 20}, err
		case 2:
			_ = d.Close()
			return nil, noDisk(s, errWorn)
		}
		return d, err
	}
	task := reverse.Task{Job: "job", Key: "0123456789ab", Input: "win.vhdx", FixUps: job.FixUpsNone, Platform: job.PlatformLocal}
	store, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	admitted, err := reverse.Preflight(t.Context(), store, task)
	if err != nil {
		t.Fatal(err)
	}

	c := devserver.Start(t)
	const queue = "agent-copy"
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- Run(ctx, c, queue, e) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	w := worker.New(c, queue+"-flow", worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, resume *copier.State) (reverse.Copied, error) {
		var copied reverse.Copied
		err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: queue, StartToCloseTimeout: time.Minute, HeartbeatTimeout: 10 * time.Second,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 4},
		}), (*Engine).Copy, task, admitted.Approval, reverse.DiskRef{Selector: serial}, resume).Get(ctx, &copied)
		return copied, err
	}, workflow.RegisterOptions{Name: "copy"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: queue + "-flow"}, "copy", nil)
	if err != nil {
		t.Fatal(err)
	}
	var copied reverse.Copied
	if err := run.Get(t.Context(), &copied); err != nil {
		t.Fatal(err)
	}
	if copied.ResumedBytes < 64<<20 || copied.BytesWritten+copied.ResumedBytes != size {
		t.Errorf("%+v", copied)
	}
	t.Logf("%d MiB of %d were not copied again", copied.ResumedBytes>>20, size>>20)
	disktest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", filepath.Join(dir, "want.raw"), filepath.Join(disks, serial))
}

func TestFolderDisks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "disk"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "disk"), filepath.Join(in, "serial:0123")); err != nil {
		t.Fatal(err)
	}
	d, err := FolderDisks(in)(t.Context(), "serial:0123")
	if err != nil || d.Size() != 4096 {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	for _, selector := range []string{"", ".", "..", "../disk", "/etc/passwd", "serial:a/b", "gone", "serial:gone"} {
		if _, err := FolderDisks(in)(t.Context(), selector); job.CodeOf(err) != job.PlatformError {
			t.Errorf("%q: %v", selector, err)
		}
	}
}
