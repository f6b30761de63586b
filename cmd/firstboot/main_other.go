//go:build !windows

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "firstboot: this program is a service of Windows: build it with GOOS=windows")
	os.Exit(2)
}
