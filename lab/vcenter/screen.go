package vcenter

import (
	"errors"
	"fmt"
	picture "image"
	"image/color"
	"image/png"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// CreateScreenshotTask implements CreateScreenshot_Task, which the simulator does
// not have: a PNG beside the VM's configuration, whose datastore path is the
// task's result. It does not show what the guest shows, but that there is one.
func (m *machine) CreateScreenshotTask(ctx *simulator.Context, _ *types.CreateScreenshot_Task) soap.HasFault {
	return &methods.CreateScreenshot_TaskBody{Res: &types.CreateScreenshot_TaskResponse{
		Returnval: m.task(ctx, "createScreenshot", "CreateScreenshot_Task", func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			name, fault := m.screenshot(ctx)
			if fault != nil {
				return nil, fault
			}
			return name, nil
		}),
	}}
}

// screenshot writes the picture and gives its datastore path. The caller holds
// the VM's gate.
func (m *machine) screenshot(ctx *simulator.Context) (string, types.BaseMethodFault) {
	if state, _ := m.state(ctx); state != types.VirtualMachinePowerStatePoweredOn {
		return "", &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: state}
	}
	var (
		name string
		vmx  object.DatastorePath
	)
	ctx.WithLock(m.VirtualMachine, func() {
		name = m.Name
		vmx.FromString(m.Config.Files.VmPathName)
	})
	for n := 1; ; n++ {
		at := object.DatastorePath{Datastore: vmx.Datastore, Path: path.Join(path.Dir(vmx.Path), fmt.Sprintf("%s-%d.png", name, n))}
		file, fault := m.v.resolve(at.String())
		if fault != nil {
			return "", fault
		}
		switch err := writeScreen(file); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return "", fileFault(at.String(), err)
		default:
			return at.String(), nil
		}
	}
}

// writeScreen makes a new file with a screen in the text mode of a PC, on which
// something is written.
func writeScreen(file string) error {
	screen := picture.NewGray(picture.Rect(0, 0, 720, 400))
	for x := range 40 * 9 {
		for y := range 12 {
			screen.SetGray(x, y, color.Gray{Y: uint8((x*7 + y*13) % 256)})
		}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(f, screen), f.Close())
}

// download gives a file of a datastore to a user who has logged in and may read
// it. The simulator asks nobody who he is.
func (v *VCenter) download(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie(soap.SessionCookieName)
	switch {
	case err != nil || !slices.Contains(v.sessions(), cookie.Value):
		http.Error(w, "log in first", http.StatusUnauthorized)
	case !v.privileges.has("Datastore.Browse") || !v.privileges.has("Datastore.FileManagement"):
		http.Error(w, "not permitted", http.StatusForbidden)
	default:
		v.model.Service.ServeDatastore(w, r)
	}
}
