package seedsource

import (
	"context"
	"errors"

	"imageport/appliance/seedsource/media"
)

// guestInfo asks for the key in the VM's extraConfig.
func guestInfo(_ context.Context, env Env) ([]byte, error) {
	if env.GuestInfo == nil {
		return nil, errors.New("not on this machine")
	}
	text, err := env.GuestInfo(media.GuestInfo)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, errNotThere
	}
	return decode(text)
}
