package seedsource

import (
	"context"
	"errors"
	"strings"

	"imageport/appliance/seedsource/media"
	"imageport/appliance/xenbus"
)

// xenstore reads the key of the domain's own directory.
func xenstore(ctx context.Context, env Env) ([]byte, error) {
	bus, err := xenbus.Open(ctx, env.Dev)
	if err != nil {
		return nil, err
	}
	defer bus.Close()
	text, err := bus.Read(media.Xenstore)
	switch {
	case errors.Is(err, xenbus.ErrNotThere):
		return nil, errNotThere
	case errors.Is(err, xenbus.ErrReply):
		return nil, malformed("%s", strings.TrimPrefix(err.Error(), xenbus.ErrReply.Error()+": "))
	case err != nil:
		return nil, err
	}
	return decode(text)
}
