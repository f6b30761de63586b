package gateway

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"imageport/job/seed"
)

// Peer is a CE and the job that it works for.
type Peer struct {
	CE  string `json:"ce"`
	Job string `json:"job"` // workflow id
}

// invitation is what a token says.
type invitation struct {
	Peer
	Expires int64 `json:"exp"` // Unix seconds
}

// Errors about tokens.
var (
	errForged  = errors.New("it was not made by this installation's workers")
	errExpired = errors.New("it has expired")
)

// mac seals data of one kind for one purpose: what is sealed for a CE is worth
// nothing for another.
func (k *Key) mac(purpose, whose string, data []byte) []byte {
	m := hmac.New(sha256.New, k.seal)
	for _, part := range []string{purpose, whose} {
		// The length keeps the boundaries.
		m.Write([]byte{byte(len(part) >> 8), byte(len(part))})
		m.Write([]byte(part))
	}
	m.Write(data)
	return m.Sum(nil)
}

// invite makes the token with which a CE enrols until then.
func (k *Key) invite(p Peer, until time.Time) (string, error) {
	b, err := json.Marshal(invitation{Peer: p, Expires: until.Unix()})
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(k.mac("invitation", "", b), b...)), nil
}

// invited gives whom the token invites.
func (k *Key) invited(token string, now time.Time) (Peer, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < sha256.Size {
		return Peer{}, errForged
	}
	sum, text := b[:sha256.Size], b[sha256.Size:]
	if !hmac.Equal(sum, k.mac("invitation", "", text)) {
		return Peer{}, errForged
	}
	var in invitation
	if err := json.Unmarshal(text, &in); err != nil || !seed.ValidName(in.CE) || in.Job == "" {
		return Peer{}, errForged
	}
	if now.Unix() > in.Expires {
		return Peer{}, errExpired
	}
	return in.Peer, nil
}

// A task token of Temporal is an unsigned message: made up, it would reach any
// activity of the namespace. So a CE gets it sealed.

// sealTask gives the task token that the CE is told.
func (k *Key) sealTask(ce string, token []byte) []byte {
	return append(k.mac("task", ce, token), token...)
}

// openTask gives the task token that was sealed for the CE.
func (k *Key) openTask(ce string, sealed []byte) ([]byte, error) {
	if len(sealed) <= sha256.Size {
		return nil, errForged
	}
	sum, token := sealed[:sha256.Size], bytes.Clone(sealed[sha256.Size:])
	if !hmac.Equal(sum, k.mac("task", ce, token)) {
		return nil, errForged
	}
	return token, nil
}
