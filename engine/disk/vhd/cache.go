package vhd

import "sync"

// cache keeps pieces of the file that were read before, up to a number of
// them; the oldest goes first. Pieces are never changed.
type cache struct {
	mu     sync.Mutex
	pieces map[int64][]byte
	order  []int64 // keys, a ring once it is full
	oldest int
	limit  int
}

func newCache(limit int) *cache {
	return &cache{pieces: make(map[int64][]byte), limit: limit}
}

// get gives a piece, which load reads if it is not there. Several goroutines
// may load the same piece at a time.
func (c *cache) get(key int64, load func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	piece, ok := c.pieces[key]
	c.mu.Unlock()
	if ok {
		return piece, nil
	}
	piece, err := load()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pieces[key]; ok {
		return piece, nil
	}
	if len(c.order) < c.limit {
		c.order = append(c.order, key)
	} else {
		delete(c.pieces, c.order[c.oldest])
		c.order[c.oldest] = key
		c.oldest = (c.oldest + 1) % c.limit
	}
	c.pieces[key] = piece
	return piece, nil
}
