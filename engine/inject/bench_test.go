package inject

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// BenchmarkInject brings an installer of 64 MiB in.
func BenchmarkInject(b *testing.B) {
	content := make([]byte, 64*mib)
	rand.NewChaCha8(sha256.Sum256(nil)).Read(content)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		b.StopTimer()
		d, p := build(b, roomy())
		in := injection(p)
		in.Files[1] = file("setup.exe", content)
		in.Plan.Steps[0].SHA256 = in.Files[1].SHA256
		b.StartTimer()
		if _, err := Inject(b.Context(), d, in, ignore); err != nil {
			b.Fatal(err)
		}
	}
}
