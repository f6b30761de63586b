package vsphere

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/screen"
)

// GuestScreen implements platforms.Guests. The vCenter writes the picture to the
// guest's directory, from where it is fetched and deleted. One that is too large
// is made smaller.
func (d *Driver) GuestScreen(ctx context.Context, ce string) ([]byte, error) {
	var picture []byte
	err := d.withSomeGuest(ctx, ce, func(s *site, g *vm) (bool, error) {
		if g.off() {
			return false, platforms.Errorf(platforms.BadRequest, "%w: it is off", platforms.ErrNoScreen)
		}
		var err error
		picture, err = d.screen(ctx, s, g)
		return err == nil, err
	})
	if err != nil {
		return nil, d.fail("the screen of the guest of", ce, err)
	}
	return picture, nil
}

func (d *Driver) screen(ctx context.Context, s *site, g *vm) ([]byte, error) {
	info, err := d.run(ctx, func(ctx context.Context) (*object.Task, error) {
		res, err := methods.CreateScreenshot_Task(ctx, d.client, &types.CreateScreenshot_Task{This: g.ref})
		if err != nil {
			return nil, err
		}
		return object.NewTask(d.client, res.Returnval), nil
	})
	if _, ok := faultOf(err).(types.BaseNotSupported); ok {
		return nil, noScreen(err)
	}
	if err != nil {
		return nil, err
	}
	name, _ := info.Result.(string)
	file, ok := s.parseFile(name)
	if !ok {
		return nil, noScreen(fmt.Errorf("vSphere says that it is %.200q, which is no file in a datastore", name))
	}
	picture, err := d.fetch(ctx, s, file)
	if deleteErr := d.deleteFile(ctx, s, file); deleteErr != nil {
		return nil, fmt.Errorf("delete %s: %w", file, deleteErr)
	}
	if err == nil {
		picture, err = screen.Fit(picture, platforms.MaxScreen)
	}
	if err != nil {
		return nil, noScreen(err)
	}
	return picture, nil
}

// noScreen is of a vSphere that has no picture for us.
func noScreen(err error) error {
	return platforms.Errorf(kindOf(err), "%w: %w", platforms.ErrNoScreen, err)
}

// parseFile finds a file by the name that a vCenter gives it, or a host:
// "[datastore] vm/vm-1.png" or "/vmfs/volumes/ID/vm/vm-1.png".
func (s *site) parseFile(name string) (diskName, bool) {
	if rest, ok := strings.CutPrefix(name, "/vmfs/volumes/"); ok {
		id, file, _ := strings.Cut(rest, "/")
		datastore := s.datastoreByVolume(id)
		return diskName{datastore, file}, datastore != nil && isPlain(file)
	}
	var p object.DatastorePath
	if !p.FromString(name) || !isPlain(p.Path) {
		return diskName{}, false
	}
	for _, datastore := range s.datastores {
		if datastore.name == p.Datastore {
			return diskName{datastore, p.Path}, true
		}
	}
	return diskName{}, false
}

func isPlain(file string) bool { return file != "" && path.Clean("/"+file) == "/"+file }

// fetch gives what is in a small file of a datastore. It comes by way of the
// vCenter: nobody has to reach the hosts for it.
func (d *Driver) fetch(ctx context.Context, s *site, file diskName) ([]byte, error) {
	u := *d.client.URL()
	u.Path, u.RawQuery = "/folder/"+file.path, url.Values{"dcPath": {s.datacenter.path}, "dsName": {file.datastore.name}}.Encode()
	res, err := d.client.DownloadRequest(ctx, &u, &soap.DefaultDownload)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: %s", file, res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, screen.MaxFile+1))
	if err == nil && len(b) > screen.MaxFile {
		err = fmt.Errorf("%s has more than %d MiB", file, screen.MaxFile>>20)
	}
	return b, err
}

// deleteFile deletes a file that is ours, also when ctx has ended meanwhile.
func (d *Driver) deleteFile(ctx context.Context, s *site, file diskName) error {
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer stop()
	_, err := d.run(longer, func(ctx context.Context) (*object.Task, error) {
		return object.NewFileManager(d.client).DeleteDatastoreFile(ctx, file.String(), object.NewDatacenter(d.client, s.datacenter.ref))
	})
	if _, ok := faultOf(err).(*types.FileNotFound); ok {
		return nil
	}
	return err
}
