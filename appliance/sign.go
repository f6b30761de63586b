package appliance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"imageport/appliance/uki"
	"imageport/job"
)

// The places of a signing command where the files' names go.
const (
	signIn  = "{in}"
	signOut = "{out}"
)

// sign has a command sign the image. Its words are parted by spaces, and no
// shell sees them. That it signed this image, and changed nothing, is verified.
func sign(ctx context.Context, command string, image []byte) (signed []byte, err error) {
	words := strings.Fields(command)
	if len(words) < 3 || !slices.ContainsFunc(words, has(signIn)) || !slices.ContainsFunc(words, has(signOut)) {
		return nil, job.Errorf(job.BadRequest, "Give one such as: sbsign --key db.key --cert db.crt --output {out} {in}", "the signing command %q has no %s and %s", command, signIn, signOut)
	}
	dir, err := os.MkdirTemp("", Name+"-sign-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, Name+".efi"), filepath.Join(dir, Name+".signed.efi")
	if err := os.WriteFile(in, image, 0o600); err != nil {
		return nil, err
	}
	for i, w := range words {
		words[i] = strings.NewReplacer(signIn, in, signOut, out).Replace(w)
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return nil, job.Errorf(job.ToolMissing, "Install it, or give its path", "the signing command: %w", err)
	}
	said, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, job.Errorf(job.ToolFailed, "", "the signing command %s: %w: %s", words[0], err, lastWords(said))
	}
	if signed, err = os.ReadFile(out); err != nil {
		return nil, job.Errorf(job.ToolFailed, "Its output has to be "+signOut, "the signing command %s: %w", words[0], err)
	}
	if err := uki.CheckSigned(image, signed); err != nil {
		return nil, job.Errorf(job.ToolFailed, "", "the signing command %s: %w", words[0], err)
	}
	return signed, nil
}

func has(place string) func(string) bool {
	return func(word string) bool { return strings.Contains(word, place) }
}

// lastWords is the end of what a program has said, on one line.
func lastWords(said []byte) string {
	const most = 400 // bytes
	words := strings.Join(strings.Fields(string(said)), " ")
	return strings.ToValidUTF8(words[max(0, len(words)-most):], "")
}
