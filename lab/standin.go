package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"imageport/appliance/export"
)

// StandIn writes a file to path that is like the appliance's in that format in all
// but its program, which does nothing. Guests that are processes do not start
// from it. It is the same each time.
func StandIn(ctx context.Context, path string, format export.Format) error {
	program := emptyProgram()
	uki, err := export.Load(bytes.NewReader(program), int64(len(program)))
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if _, err := export.WriteFile(ctx, path, format, uki, export.Options{Version: "stand-in of the lab"}); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// emptyProgram has what an EFI program for x86-64 begins with (PE Format, "MS-DOS
// Stub", "COFF File Header"), and nothing to run.
func emptyProgram() []byte {
	const (
		lfanew    = 0x3C // where the offset of the PE signature is
		signature = 0x40
		machine   = signature + 4
		amd64     = 0x8664
	)
	p := make([]byte, 512)
	copy(p, "MZ")
	binary.LittleEndian.PutUint32(p[lfanew:], signature)
	copy(p[signature:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(p[machine:], amd64)
	return p
}
