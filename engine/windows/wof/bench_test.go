package wof

import (
	"bytes"
	"io"
	"testing"
)

func BenchmarkReader(b *testing.B) {
	content := append(text(1, 1<<20), code(1, 1<<20)...)
	for _, a := range algorithms {
		stream := capture(b, map[string][]byte{"content": content}, a.compress, a.chunk)["content"]
		b.Run(a.String(), func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for range b.N {
				r, err := NewReader(bytes.NewReader(stream), int64(len(stream)), int64(len(content)), a.Algorithm)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(struct{ io.Writer }{io.Discard}, io.NewSectionReader(r, 0, r.Size())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
