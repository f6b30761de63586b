package vsphere

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
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
)

const (
	// maxPicture is what is fetched at most, in bytes, and maxPixels what is
	// decoded: a screen of 4096 x 2160 has fewer.
	maxPicture = 32 << 20
	maxPixels  = 9 << 20
)

// GuestScreen implements platforms.Guests. The vCenter writes the picture to the
// guest's directory, from where it is fetched and deleted. One that is too large
// is made smaller.
func (d *Driver) GuestScreen(ctx context.Context, ce string) ([]byte, error) {
	var screen []byte
	err := d.withSomeGuest(ctx, ce, func(s *site, g *vm) (bool, error) {
		if g.off() {
			return false, platforms.Errorf(platforms.BadRequest, "%w: it is off", platforms.ErrNoScreen)
		}
		var err error
		screen, err = d.screen(ctx, s, g)
		return err == nil, err
	})
	if err != nil {
		return nil, d.fail("the screen of the guest of", ce, err)
	}
	return screen, nil
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
		picture, err = shrink(picture)
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
	b, err := io.ReadAll(io.LimitReader(res.Body, maxPicture+1))
	if err == nil && len(b) > maxPicture {
		err = fmt.Errorf("%s has more than %d MiB", file, maxPicture>>20)
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

// shrink gives a PNG that is small enough for platforms.MaxScreen: with half the
// width and height as often as needed.
func shrink(picture []byte) ([]byte, error) {
	config, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	if len(picture) <= platforms.MaxScreen {
		return picture, nil
	}
	if config.Width > maxPixels/config.Height {
		return nil, fmt.Errorf("the picture has %d x %d pixels", config.Width, config.Height)
	}
	all, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	for {
		all = half(all)
		var b bytes.Buffer
		if err := png.Encode(&b, all); err != nil {
			return nil, err
		}
		if b.Len() <= platforms.MaxScreen {
			return b.Bytes(), nil
		}
	}
}

// half gives the picture with half the width and height, whose pixels are each
// the mean of four.
func half(p image.Image) image.Image {
	from := p.Bounds()
	to := image.NewNRGBA(image.Rect(0, 0, (from.Dx()+1)/2, (from.Dy()+1)/2))
	for y := range to.Rect.Dy() {
		for x := range to.Rect.Dx() {
			var r, g, b uint32
			for i := range 4 {
				cr, cg, cb, _ := p.At(min(from.Min.X+2*x+i%2, from.Max.X-1), min(from.Min.Y+2*y+i/2, from.Max.Y-1)).RGBA()
				r, g, b = r+cr, g+cg, b+cb
			}
			to.SetNRGBA(x, y, color.NRGBA{R: uint8(r / 4 >> 8), G: uint8(g / 4 >> 8), B: uint8(b / 4 >> 8), A: 0xff})
		}
	}
	return to
}
