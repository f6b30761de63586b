package proxy

import (
	"io"
	"net"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Write(make([]byte, 2<<20))
			_ = c.Close()
		}
	}()
	p := New(t, l.Addr().String())
	p.Rate(4 << 20)
	c, err := net.Dial("tcp4", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	if n, err := io.Copy(io.Discard, c); err != nil || n != 2<<20 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	// The last piece goes as soon as it is its turn.
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("2 MiB at 4 MiB/s took %v", took)
	}
}
