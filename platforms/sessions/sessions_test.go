package sessions

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imageport/platforms"
)

type session struct{ closed atomic.Int32 }

func (s *session) Close(context.Context) error {
	s.closed.Add(1)
	return errors.New("it is closed")
}

// A session is shared by who has the same password; it is closed when nobody has used
// it for an hour, and not before.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool[*session](time.Now)
		get := func(ctx context.Context, password string) *session {
			t.Helper()
			s, err := p.Get(ctx, KeyOf("server:443", "user", password, [32]byte{}), func() *session { return new(session) })
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		long, end := context.WithCancel(t.Context())
		short, endShort := context.WithCancel(t.Context())
		old := get(short, "old")
		if again := get(long, "old"); again != old {
			t.Error("another session")
		}
		if changed := get(short, "new"); changed == old {
			t.Error("the session of another password")
		}
		endShort()
		time.Sleep(3 * idle)
		current := get(long, "newer")
		synctest.Wait()
		if old.closed.Load() != 0 {
			t.Error("a session that is in use is closed")
		}
		end()
		synctest.Wait()
		time.Sleep(idle - time.Second)
		if again := get(t.Context(), "newer"); again != current || current.closed.Load() != 0 {
			t.Error("a session that was used lately is closed")
		}
		time.Sleep(2 * time.Second)
		if again := get(t.Context(), "old"); again == old {
			t.Error("the session is kept for ever")
		}
		synctest.Wait()
		if n := old.closed.Load(); n != 1 {
			t.Errorf("it is closed %d times", n)
		}
		if err := p.Close(t.Context()); err == nil || current.closed.Load() != 1 {
			t.Errorf("Close: %v", err)
		}
		if _, err := p.Get(t.Context(), Key{}, nil); platforms.KindOf(err) != platforms.Busy {
			t.Errorf("after Close: %v", err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}
