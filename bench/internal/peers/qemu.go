package peers

import "context"

// QEMU is qemu-img convert with options.
type QEMU struct {
	Name    string
	options []string
}

// QEMUs are the settings that are worth a comparison: which is faster depends
// on the machine.
func QEMUs() []QEMU {
	return []QEMU{
		{"qemu-img convert", nil},
		{"qemu-img convert -W -m 16", []string{"-W", "-m", "16"}},
	}
}

// Convert makes a raw file of a VHDX.
func (q QEMU) Convert(ctx context.Context, image, raw string) error {
	args := append([]string{"convert"}, q.options...)
	return Tool(ctx, "qemu-img", append(args, "-f", "vhdx", "-O", "raw", image, raw)...)
}
