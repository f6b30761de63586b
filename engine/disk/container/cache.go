package container

import (
	"container/list"
	"sync"
	"sync/atomic"
)

// Cache keeps pieces of the tables of image files, such as BATs and sector
// bitmaps, up to a number of bytes in all. The piece that was not used for the
// longest time goes first. All images of a chain may share one; it is safe for
// concurrent use.
type Cache struct {
	limit int64

	mu     sync.Mutex
	used   int64
	pieces map[pieceKey]*list.Element // of *piece
	order  *list.List                 // the one used last is in front
}

type pieceKey struct {
	table *Table
	off   int64
}

type piece struct {
	pieceKey
	data []byte
}

// pieceOverhead is about what a piece takes beside its data.
const pieceOverhead = 192

func (p *piece) cost() int64 { return int64(len(p.data)) + pieceOverhead }

// DefaultCacheBytes is what an image keeps that shares its cache with no other.
const DefaultCacheBytes = 4 << 20

// NewCache makes a cache of so many bytes.
func NewCache(limitBytes int64) *Cache {
	return &Cache{limit: limitBytes, pieces: make(map[pieceKey]*list.Element), order: list.New()}
}

// CacheOr gives a cache, or one of DefaultCacheBytes for nil.
func CacheOr(c *Cache) *Cache {
	if c == nil {
		return NewCache(DefaultCacheBytes)
	}
	return c
}

// Table is the pieces of one table of one file. The piece that it was asked
// for last is kept beside the cache.
type Table struct {
	cache *Cache
	last  atomic.Pointer[piece]
}

// Table makes room for another table.
func (c *Cache) Table() *Table { return &Table{cache: c} }

// Piece gives the piece at off, which load reads if it is not there. Pieces
// are never changed. Several goroutines may load the same one at a time.
func (t *Table) Piece(off int64, load func() ([]byte, error)) ([]byte, error) {
	if p := t.last.Load(); p != nil && p.off == off {
		return p.data, nil
	}
	p := t.cache.find(pieceKey{t, off})
	if p == nil {
		data, err := load()
		if err != nil {
			return nil, err
		}
		p = &piece{pieceKey{t, off}, data}
		t.cache.keep(p)
	}
	t.last.Store(p)
	return p.data, nil
}

func (c *Cache) find(key pieceKey) *piece {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.pieces[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*piece)
}

func (c *Cache) keep(p *piece) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pieces[p.pieceKey] != nil {
		return // somebody else was faster
	}
	c.pieces[p.pieceKey] = c.order.PushFront(p)
	for c.used += p.cost(); c.used > c.limit; {
		oldest := c.order.Remove(c.order.Back()).(*piece)
		delete(c.pieces, oldest.pieceKey)
		c.used -= oldest.cost()
	}
}
