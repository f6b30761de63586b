package worker

import (
	"context"

	"imageport/engine/share"
	"imageport/job"
	"imageport/wallet"
)

// Dialer gives the function with which both a worker and a Compositing Engine
// open the folder of a storage location. It looks its credential up in the
// wallet each time.
func Dialer(w wallet.Provider, options share.Options) func(context.Context, job.StorageLocation) (share.Store, error) {
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
