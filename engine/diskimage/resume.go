package diskimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/share"
	"imageport/job"
)

// DefaultCheckpointEvery is what half a second of 1 Gbit/s carries.
const DefaultCheckpointEvery = 64 << 20

// The names of what Resume keeps beside the output. They are the same in every
// try.
func (o *Output) resumed() string  { return o.Name + ".resume.partial" }
func (o *Output) state() string    { return o.Name + ".resume.json" }
func (o *Output) newState() string { return o.Name + ".resume.new" }

// resumeState is what of a conversion is durable in its partial output. It is
// there before anything is in that.
type resumeState struct {
	Version int `json:"version"`
	// Source are the files that are converted, the base first.
	Source []sourceFile `json:"source"`
	// UsedOnly and SHA256 are those of Output.
	UsedOnly bool `json:"usedOnly,omitempty"`
	SHA256   bool `json:"sha256,omitempty"`
	// Copy is nil before the first checkpoint.
	Copy *copier.State `json:"copy,omitempty"`
}

const resumeVersion = 1

// sourceFile tells one version of a file from others.
type sourceFile struct {
	Name      string    `json:"name"`
	SizeBytes int64     `json:"sizeBytes"`
	Modified  time.Time `json:"modified"`
	ID        string    `json:"id,omitempty"` // Layer.ID
}

func (f sourceFile) String() string {
	return fmt.Sprintf("%s (%d bytes of %s, %s)", f.Name, f.SizeBytes, f.Modified.UTC().Format(time.RFC3339Nano), f.ID)
}

func (o *Output) newResumeState(layers []chain.Layer) resumeState {
	s := resumeState{Version: resumeVersion, UsedOnly: o.UsedOnly, SHA256: o.SHA256}
	for _, l := range layers {
		s.Source = append(s.Source, sourceFile{l.Name, l.FileSize, l.ModTime.UTC(), l.ID})
	}
	return s
}

// identity is copier.Options.Source.
func (s resumeState) identity() string {
	return fmt.Sprint(s.Source, s.UsedOnly)
}

// admits refuses to go on from s with the conversion that begins with now.
func (s resumeState) admits(now resumeState) error {
	if s.Version != now.Version {
		return fmt.Errorf("it was left by another version of this program")
	}
	if s.UsedOnly != now.UsedOnly || s.SHA256 != now.SHA256 {
		return errors.New("it was begun with other options: used clusters only, or SHA-256")
	}
	if len(s.Source) != len(now.Source) {
		return fmt.Errorf("the image had %d files and now has %d: %w", len(s.Source), len(now.Source), chain.ErrChanged)
	}
	for i, is := range now.Source {
		was := s.Source[i]
		if was.Name != is.Name || was.SizeBytes != is.SizeBytes || !was.Modified.Equal(is.Modified) || was.ID != is.ID {
			return fmt.Errorf("the image has %s, and had %s: %w", is, was, chain.ErrChanged)
		}
	}
	return nil
}

// writeResumable writes a raw disk, from where an earlier try ended. If it
// fails, what is done stays for the next try.
func (o *Output) writeResumable(ctx context.Context, src source, fill filler) (int64, error) {
	store, ok := o.Store.(Reopener)
	if !ok {
		return 0, errors.ErrUnsupported // as validate says
	}
	created, err := o.Store.CreateExcl(ctx, o.resumed())
	if err == nil {
		err = created.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	f, err := store.Reopen(ctx, o.resumed())
	if err != nil {
		return 0, err
	}
	state := o.newResumeState(src.layers())
	laid, err := o.begin(ctx, &state, src.size)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	err = o.goOn(ctx, f, &state, laid, src, fill)
	if err = errors.Join(err, f.Close()); err == nil {
		err = ctx.Err()
	}
	if errors.Is(err, chain.ErrChanged) {
		return 0, o.remove(ctx, err, o.resumed(), o.state())
	}
	if err != nil {
		return 0, fmt.Errorf("%w; %s has what is done, and the same conversion with resume goes on from it", err, o.resumed())
	}
	if err := o.publish(context.WithoutCancel(ctx), o.resumed()); err != nil {
		return 0, err
	}
	if err := o.Store.Remove(context.WithoutCancel(ctx), o.state()); err != nil {
		return 0, job.Errorf(job.CleanupFailed, "Remove it", "%s is complete, but its %s is still there: %w", o.Name, o.state(), err)
	}
	return src.size, nil
}

// begin looks at what an earlier try left in the partial output, which is open
// and so in nobody else's hands, and puts its state into state. If there is
// nothing, the state is saved before anything is written. laid tells that the
// partial output has its full size, which it gets first.
func (o *Output) begin(ctx context.Context, state *resumeState, size int64) (laid bool, err error) {
	there, err := o.Store.Stat(ctx, o.resumed())
	if err != nil {
		return false, err
	}
	if there.Size == 0 {
		return false, o.save(ctx, *state)
	}
	remedy := fmt.Sprintf("Remove %s and %s to begin from the start", o.resumed(), o.state())
	was, err := o.load(ctx)
	if err == nil && there.Size != size {
		err = fmt.Errorf("it has %d bytes, not the %d of the disk", there.Size, size)
	}
	if err == nil {
		err = was.admits(*state)
	}
	switch {
	case errors.Is(err, chain.ErrChanged):
		return false, job.Errorf(job.SourceChanged, remedy, "%s cannot be gone on with: %w", o.resumed(), err)
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return false, job.Errorf(job.OutputExists, remedy, "%s cannot be gone on with: %w", o.resumed(), err)
	}
	state.Copy = was.Copy
	return true, nil
}

// goOn copies what is not done yet.
func (o *Output) goOn(ctx context.Context, f file, state *resumeState, laid bool, src source, fill filler) error {
	w := writer(rawWriter{f, src.size})
	if !laid {
		var err error
		if w, err = newRawWriter(f, src.size); err != nil {
			return err
		}
	}
	opt := copier.Options{
		TargetIsZero: true, Source: state.identity(), Resume: state.Copy, CheckpointEvery: o.CheckpointEvery,
		Checkpoint: func(s copier.State) error {
			state.Copy = &s
			return o.save(ctx, *state)
		},
	}
	if opt.CheckpointEvery == 0 {
		opt.CheckpointEvery = DefaultCheckpointEvery
	}
	if err := fill(w, opt); err != nil {
		return err
	}
	_, err := w.Finish()
	return err
}

// save writes the state in one step: a new file is complete and durable before
// it takes the place of the old one. For a moment only the new one is there,
// because a store does not replace.
func (o *Output) save(ctx context.Context, s resumeState) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := o.Store.Remove(ctx, o.newState()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := o.Store.CreateExcl(ctx, o.newState())
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // for these two belong together
	if err := o.Store.Remove(ctx, o.state()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return o.Store.Rename(ctx, o.newState(), o.state())
}

// maxStateBytes is far more than the state of any copy takes.
const maxStateBytes = 64 << 20

// load reads the state: the new one if it was about to take the place of the
// old one.
func (o *Output) load(ctx context.Context) (resumeState, error) {
	f, err := o.Store.Open(ctx, o.state())
	if errors.Is(err, fs.ErrNotExist) {
		f, err = o.Store.Open(ctx, o.newState())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return resumeState{}, fmt.Errorf("its state %s is not beside it", o.state())
	}
	if err != nil {
		return resumeState{}, fmt.Errorf("its state: %w", err)
	}
	s, err := readState(f)
	return s, errors.Join(err, f.Close())
}

func readState(f share.File) (s resumeState, err error) {
	if f.Size() > maxStateBytes {
		return s, fmt.Errorf("its state has %d bytes", f.Size())
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return s, fmt.Errorf("its state: %w", err)
	}
	return parseState(data)
}

func parseState(data []byte) (s resumeState, err error) {
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("its state: %w", err)
	}
	return s, nil
}
