package qemu

import (
	"imageport/job/seed"
)

// origin is where a BIOS puts a boot sector.
const origin = 0x7c00

// disk gives a disk that boots code. It has the signature of a GPT, which
// nothing in it looks at.
func disk(code []byte) []byte {
	d := make([]byte, 1<<20)
	copy(d[:510], code)
	copy(d[510:], []byte{0x55, 0xaa})
	copy(d[512:], "EFI PART")
	return d
}

// talker is a guest that prints text on the serial port and then halts, or
// switches the machine off.
func talker(text string, off bool) []byte {
	code := []byte{
		0xfa,       //       cli
		0x31, 0xc0, //       xor   %ax,%ax
		0x8e, 0xd8, //       mov   %ax,%ds
		0xbe, 0, 0, //       mov   $text,%si
		0xac,       // next: lodsb
		0x84, 0xc0, //       test  %al,%al
		0x74, 0x06, //       jz    done
		0xba, 0xf8, 0x03, // mov   $0x3f8,%dx    COM1
		0xee,       //       out   %al,%dx
		0xeb, 0xf5, //       jmp   next
	}
	if off {
		code = append(code,
			0xba, 0x04, 0x06, // mov $0x604,%dx  PM1a_CNT of q35
			0xb8, 0x00, 0x20, // mov $0x2000,%ax SLP_EN
			0xef, //             out %ax,%dx
		)
	}
	code = append(code, halt...)
	at := origin + len(code)
	code[6], code[7] = byte(at), byte(at>>8)
	return disk(append(code, text+"\x00"...))
}

// halt is what ends a guest that stays on.
var halt = []byte{
	0xf4,       // halt: hlt
	0xeb, 0xfd, //       jmp halt
}

// chatterer is a guest that prints lines for ever.
func chatterer() []byte {
	return disk([]byte{
		0xba, 0xf8, 0x03, // more: mov $0x3f8,%dx  COM1
		0xb9, 0x3f, 0x00, //       mov $63,%cx
		0xb0, 'x', //              mov $'x',%al
		0xee,       //       next: out %al,%dx
		0xe2, 0xfd, //             loop next
		0xb0, '\n', //             mov $'\n',%al
		0xee,       //             out %al,%dx
		0xeb, 0xf0, //             jmp more
	})
}

// seedReader is a guest that finds the seed in QEMU's firmware configuration
// device (docs/specs/fw_cfg.rst of QEMU: selector at port 0x510, data at 0x511,
// directory under key 0x19), prints it on the serial port, and halts.
func seedReader() []byte {
	code := []byte{
		0xfa,       //       cli
		0x31, 0xc0, //       xor   %ax,%ax
		0x8e, 0xd8, //       mov   %ax,%ds
		0x8e, 0xc0, //       mov   %ax,%es
		0xfc,             // cld
		0xba, 0x10, 0x05, // mov   $0x510,%dx
		0xb8, 0x19, 0x00, // mov   $0x19,%ax
		0xef, //             out   %ax,%dx
		0x42, //             inc   %dx
		// The number of files, 32 bits, big endian; the low half is enough.
		0xec, 0xec, 0xec, // in    %dx,%al       three times
		0x88, 0xc4, //       mov   %al,%ah
		0xec,       //       in    %dx,%al
		0x89, 0xc5, //       mov   %ax,%bp
		// A file: 32 bits of size, 16 bits of key, 16 bits of nothing, 56 of name.
		0xbf, 0x00, 0x80, // entry: mov $0x8000,%di
		0xb9, 0x40, 0x00, // mov   $64,%cx
		0xf3, 0x6c, //       rep insb
		0xbe, 0x08, 0x80, // mov   $0x8008,%si
		0xbf, 0x4c, 0x7c, // mov   $name,%di
		0xb9, 0x11, 0x00, // mov   $17,%cx
		0xf3, 0xa6, //       repe cmpsb
		0x74, 0x05, //       je    found
		0x4d,       //       dec   %bp
		0x75, 0xe8, //       jnz   entry
		0xeb, 0x17, //       jmp   halt
		0x8b, 0x0e, 0x02, 0x80, // found: mov 0x8002,%cx
		0x86, 0xcd, //       xchg  %cl,%ch
		0xa1, 0x04, 0x80, // mov   0x8004,%ax
		0x86, 0xc4, //       xchg  %al,%ah
		0x4a,             // dec   %dx
		0xef,             // out   %ax,%dx
		0xba, 0x11, 0x05, // next: mov $0x511,%dx
		0xec,             // in    %dx,%al
		0xba, 0xf8, 0x03, // mov   $0x3f8,%dx    COM1
		0xee,       //       out   %al,%dx
		0xe2, 0xf6, //       loop  next
	}
	code = append(code, halt...)
	return disk(append(code, "opt/"+seed.Key+"\x00"...)) // name
}
