package main

import (
	"fmt"
	"strings"

	"imageport/job"
)

// native prints what a reverseImage job made or would make.
func (p *printer) native(r job.Result) {
	p.field("size", fmt.Sprintf("%s, for a vDisk of %s", sizeText(r.SizeBytes), sizeText(r.VirtualSizeBytes)))
	if r.WindowsProduct != "" {
		p.field("windows", fmt.Sprintf("%s, build %d", r.WindowsProduct, r.WindowsBuild))
	}
	p.field("firmware", string(r.Firmware))
	names := make([]string, len(r.Controllers))
	for i, c := range r.Controllers {
		names[i] = string(c)
	}
	p.field("drivers", strings.Join(names, ", "))
	p.changes("fix-up", r.FixUps)
	p.field("VM", r.VM)
	p.field("crc32c", r.CRC32C)
	if r.VerifiedBytes > 0 {
		p.field("verified", sizeText(r.VerifiedBytes)+" read back from the disk")
	}
	if r.BytesRead > 0 {
		p.field("traffic", fmt.Sprintf("%s read, %s written", sizeText(r.BytesRead), sizeText(r.BytesWritten)))
	}
	if r.ResumedBytes > 0 {
		p.field("resumed", sizeText(r.ResumedBytes)+" of the disk were there when the last try began")
	}
}

// present is a value, or a word for none.
func present(value string) string {
	if value == "" {
		return "(none)"
	}
	return value
}
