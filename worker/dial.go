package worker

import (
	"cmp"
	"context"
	"time"

	"imageport/engine/share"
	"imageport/job"
	"imageport/wallet"
)

// stallTimeout is how long a share may keep an activity waiting for one answer:
// short enough that the share's own error comes before the activity's time-out.
const stallTimeout = 20 * time.Second

// Dialer gives the function with which both a worker and a Compositing Engine
// open the folder of a storage location. It looks its credential up in the
// wallet each time.
func Dialer(w wallet.Provider, options share.Options) func(context.Context, job.StorageLocation) (share.Store, error) {
	options.StallTimeout = cmp.Or(options.StallTimeout, stallTimeout)
	return func(ctx context.Context, where job.StorageLocation) (share.Store, error) {
		folder, err := where.Folder()
		if err != nil {
			return nil, job.Errorf(job.BadRequest, "Correct the request", "inputStorageLocation: %w", err)
		}
		c, err := w.Credential(ctx, where.CredentialID)
		if err != nil {
			return nil, err
		}
		return share.Dial(ctx,
			share.Location{Host: folder.Host, Port: folder.Port, Share: folder.Share, Folder: folder.Path},
			share.Credential{Username: c.Username, Password: c.Password.Reveal(), Domain: c.Domain},
			options)
	}
}
