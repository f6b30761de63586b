package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"imageport/testkit/cevm"
	"imageport/testkit/devserver"
	"imageport/testkit/winimage"
)

// sizes are those that a machine's memory may have, in MiB.
var sizes = []int{192, 224, 256, 320, 384, 512}

// jobTimeout is long enough for a machine that has enough memory. One that has
// too little may neither work nor end.
const jobTimeout = 2 * time.Minute

// memory finds the smallest machine in which a small conversion passes: what
// passes in one is taken to pass in all that are larger.
func memory(t *bench, image cevm.Image, temporal *devserver.Server) error {
	fmt.Println("memory of the machine with which a small conversion passes, under UEFI")
	var broken error
	found := sort.Search(len(sizes), func(i int) bool {
		if broken != nil {
			return true
		}
		took, err := inMemory(t, image, temporal, sizes[i])
		if errors.Is(err, errTooSmall) {
			fmt.Printf("  %4d MiB: no, %v\n", sizes[i], err)
			return false
		}
		if broken = err; err == nil {
			fmt.Printf("  %4d MiB: yes, in %.1fs\n", sizes[i], took.Seconds())
		}
		return true
	})
	if broken != nil {
		return broken
	}
	if found == len(sizes) {
		return fmt.Errorf("not even in %d MiB", sizes[found-1])
	}
	fmt.Printf("%-34s %6d MiB\n\n", "the smallest of them", sizes[found])
	return nil
}

var errTooSmall = errors.New("it does not pass")

func inMemory(t *bench, image cevm.Image, temporal *devserver.Server, size int) (took time.Duration, err error) {
	in, err := install(t, image.Raw, temporal, winimage.Small(), fmt.Sprintf("bench-%d-MiB", size), fmt.Sprintf("memory_mb = %d\n", size))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.stop()) }()
	ctx, cancel := context.WithTimeoutCause(t.ctx, jobTimeout, fmt.Errorf("%w in %v", errTooSmall, jobTimeout))
	defer cancel()
	s, err := in.convert(ctx)
	switch {
	case err == nil:
		return s.wall, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	}
	return 0, fmt.Errorf("%w: %w", errTooSmall, err)
}
