package ntfs

import (
	"container/list"
	"sync"
)

// cache keeps the values used last. It is safe for concurrent use; values must
// not be changed once they are in it.
type cache[K comparable, V any] struct {
	limit int

	mu      sync.Mutex
	entries map[K]*list.Element
	order   *list.List // of cached[K, V], used last at the front
}

type cached[K comparable, V any] struct {
	key   K
	value V
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{limit: limit, entries: make(map[K]*list.Element), order: list.New()}
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached[K, V]).value, true
}

func (c *cache[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		e.Value = cached[K, V]{key, value}
		c.order.MoveToFront(e)
		return
	}
	c.entries[key] = c.order.PushFront(cached[K, V]{key, value})
	if c.order.Len() > c.limit {
		oldest := c.order.Back()
		delete(c.entries, oldest.Value.(cached[K, V]).key)
		c.order.Remove(oldest)
	}
}
