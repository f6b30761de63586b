package vcenter

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// leaseLook is how often an import looks whether the simulator has made the VM.
const leaseLook = 2 * time.Millisecond

// pool is a ResourcePool into which OVAs are imported with what is on their
// disks. It is for this only.
type pool struct {
	*simulator.ResourcePool
	v *VCenter
}

// Lock and Unlock keep the simulator from locking the pool around the call: an
// import that holds its pool and wants its folder, and a VM in the making that
// holds its folder and wants its pool, would wait for each other for ever.
func (*pool) Lock() {}

// Unlock, see Lock.
func (*pool) Unlock() {}

// ImportVApp implements the method of that name. Other than a vCenter's, its
// lease is ready when it is given.
func (p *pool) ImportVApp(ctx *simulator.Context, req *types.ImportVApp) soap.HasFault {
	refuse := func(fault types.BaseMethodFault) soap.HasFault {
		return &methods.ImportVAppBody{Fault_: simulator.Fault("", fault)}
	}
	spec, ok := req.Spec.(*types.VirtualMachineImportSpec)
	if !ok {
		return refuse(&types.InvalidArgument{InvalidProperty: "spec"})
	}
	into, fault := p.folder(ctx, req)
	if fault != nil {
		return refuse(fault)
	}
	own := ownContext(ctx)
	p.v.storing.Lock()
	defer p.v.storing.Unlock()
	if fault := checkName(own, into, spec.ConfigSpec.Name); fault != nil {
		return refuse(fault)
	}
	home, fault := p.v.checkCreate(own, &types.CreateVM_Task{Config: spec.ConfigSpec, Pool: p.Self, Host: req.Host})
	if fault != nil {
		return refuse(fault)
	}
	_, err := os.Lstat(home)
	isNew := errors.Is(err, os.ErrNotExist)
	body := p.ResourcePool.ImportVApp(ctx, req)
	if body.Fault() != nil {
		return body
	}
	ref := body.(*methods.ImportVAppBody).Res.Returnval
	l, ok := ctx.Session.Registry.Get(ref).(*simulator.HttpNfcLease)
	if !ok {
		return refuse(notFound(ref))
	}
	if ready := p.await(own, l); !ready {
		if isNew {
			_ = os.RemoveAll(home) // the lease says what has failed
		}
		return body
	}
	if fault := p.v.expect(own, l); fault != nil {
		return refuse(fault)
	}
	return body
}

// folder gives the folder that the VM goes to.
func (p *pool) folder(ctx *simulator.Context, req *types.ImportVApp) (*simulator.Folder, types.BaseMethodFault) {
	if req.Folder == nil {
		return nil, &types.InvalidArgument{InvalidProperty: "folder"}
	}
	f, ok := ctx.Map.Get(*req.Folder).(*simulator.Folder)
	if !ok {
		return nil, notFound(*req.Folder)
	}
	return f, nil
}

// await waits until the simulator has made the VM of a lease, or failed.
func (p *pool) await(ctx *simulator.Context, l *simulator.HttpNfcLease) (ready bool) {
	for {
		var state types.HttpNfcLeaseState
		ctx.WithLock(l, func() { state = l.State })
		if state != types.HttpNfcLeaseStateInitializing {
			return state == types.HttpNfcLeaseStateReady
		}
		time.Sleep(leaseLook)
	}
}

// expect notes which disks will be uploaded under a lease.
func (v *VCenter) expect(ctx *simulator.Context, l *simulator.HttpNfcLease) types.BaseMethodFault {
	vm, ok := ctx.Map.Get(l.Info.Entity).(*simulator.VirtualMachine)
	if !ok {
		return notFound(l.Info.Entity)
	}
	if fault := v.settle(ctx, vm); fault != nil {
		return fault
	}
	for _, d := range (&machine{VirtualMachine: vm, v: v}).devices(ctx) {
		disk, backing := flatDisk(d)
		if disk == nil {
			continue
		}
		var at object.DatastorePath
		file, fault := v.resolve(backing.FileName)
		if fault != nil {
			return fault
		}
		at.FromString(backing.FileName)
		v.mu.Lock()
		v.uploads[[2]string{l.Self.Value, path.Base(at.Path)}] = file
		v.mu.Unlock()
	}
	return nil
}

// lease is a HttpNfcLease that removes what it was for if it is aborted.
type lease struct {
	*simulator.HttpNfcLease
	v *VCenter
}

// HttpNfcLeaseComplete implements the method of that name.
func (l *lease) HttpNfcLeaseComplete(ctx *simulator.Context, req *types.HttpNfcLeaseComplete) soap.HasFault {
	l.v.forget(l.Self)
	return l.HttpNfcLease.HttpNfcLeaseComplete(ctx, req)
}

// HttpNfcLeaseAbort implements the method of that name.
func (l *lease) HttpNfcLeaseAbort(ctx *simulator.Context, req *types.HttpNfcLeaseAbort) soap.HasFault {
	l.v.forget(l.Self)
	if l.Info != nil {
		if vm, ok := ctx.Map.Get(l.Info.Entity).(*simulator.VirtualMachine); ok {
			m := &machine{VirtualMachine: vm, v: l.v}
			m.DestroyTask(ctx, &types.Destroy_Task{This: vm.Self})
		}
	}
	return l.HttpNfcLease.HttpNfcLeaseAbort(ctx, req)
}

func (v *VCenter) forget(ref types.ManagedObjectReference) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key := range v.uploads {
		if key[0] == ref.Value {
			delete(v.uploads, key)
		}
	}
}

// routes gives the simulator's web server what it lacks, and asks who it is.
func (v *VCenter) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /nfc/{lease}/{file}", v.upload)
	mux.HandleFunc("POST /nfc/{lease}/{file}", v.upload)
	mux.HandleFunc("GET /folder/{file...}", v.download)
	return mux
}

// upload lets the simulator take the checksum of an uploaded disk, and writes
// the disk to its image on the way.
func (v *VCenter) upload(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	descriptor, ok := v.uploads[[2]string{r.PathValue("lease"), r.PathValue("file")}]
	v.mu.Unlock()
	if ok {
		img, err := readImage(descriptor)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body := unpackWhile(r.Body, img)
		defer body.Close()
		r.Body = body
	}
	simulator.ServeNFC(w, r)
}

// unpacking passes an upload on and unpacks it into an image.
type unpacking struct {
	io.Reader
	source io.Closer
	writer *io.PipeWriter
	done   chan error
	once   bool
	err    error
}

func unpackWhile(source io.ReadCloser, img image) *unpacking {
	r, w := io.Pipe()
	u := &unpacking{Reader: io.TeeReader(source, w), source: source, writer: w, done: make(chan error, 1)}
	go func() {
		err := unpack(img, r)
		r.CloseWithError(err)
		u.done <- err
	}()
	return u
}

// Read gives the end of the upload when all is in the image.
func (u *unpacking) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err == nil {
		return n, nil
	}
	u.writer.CloseWithError(err)
	if failed := u.wait(); failed != nil {
		return n, failed
	}
	return n, err
}

func (u *unpacking) wait() error {
	if !u.once {
		u.once, u.err = true, <-u.done
	}
	return u.err
}

// Close ends an upload that was cut short.
func (u *unpacking) Close() error {
	u.writer.CloseWithError(io.ErrUnexpectedEOF)
	_ = u.wait() // Read has said so, if anybody asked
	return u.source.Close()
}

// unpack writes a stream-optimized VMDK to an image.
func unpack(img image, r io.Reader) error {
	f, err := os.OpenFile(img.flat, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = unpackStream(r, f, img.sizeBytes)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("unpacking %s: %w", img.path, err)
	}
	return nil
}
