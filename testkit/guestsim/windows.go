package guestsim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"imageport/engine/windows/hive"
)

// windows is the Windows on a mounted volume.
type windows struct {
	root             string // of the volume
	system, software *hiveFile
	set              string // the current control set's name
}

// hiveFile is a hive on the volume.
type hiveFile struct {
	path string
	hive *hive.Hive
	logs []string // to be emptied: what was in them is in the hive now
}

// loadWindows reads the registry as Windows does, which completes it by its logs.
func loadWindows(root string) (*windows, error) {
	config, err := findPath(root, "Windows", "System32", "config")
	if err != nil {
		return nil, err
	}
	w := &windows{root: root}
	if w.system, err = loadHive(config, "SYSTEM"); err != nil {
		return nil, err
	}
	if w.software, err = loadHive(config, "SOFTWARE"); err != nil {
		return nil, err
	}
	selected, err := w.system.hive.Lookup("Select")
	if err != nil {
		return nil, fmt.Errorf("guestsim: SYSTEM: %w", err)
	}
	current, _ := selected.Value("Current")
	n, ok := current.Uint32()
	if !ok {
		return nil, errors.New("guestsim: SYSTEM: Select has no number Current")
	}
	w.set = fmt.Sprintf("ControlSet%03d", n)
	return w, nil
}

// growth is how much longer a hive may get in one start of Windows.
const growth = 16 << 20

func loadHive(folder, name string) (*hiveFile, error) {
	h := &hiveFile{}
	var err error
	if h.path, err = findPath(folder, name); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(h.path)
	if err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	var logs [][]byte
	for _, suffix := range []string{".LOG1", ".LOG2"} {
		path, err := findPath(folder, name+suffix)
		if errors.Is(err, fs.ErrNotExist) {
			logs = append(logs, nil)
			continue
		}
		var log []byte
		if err == nil {
			log, err = os.ReadFile(path)
		}
		if err != nil {
			return nil, fmt.Errorf("guestsim: %w", err)
		}
		logs, h.logs = append(logs, log), append(h.logs, path)
	}
	recovered, err := hive.Replay(content, logs...)
	if err == nil {
		h.hive, err = hive.Parse(recovered.Hive)
	}
	if err != nil {
		return nil, fmt.Errorf("guestsim: Windows does not start: %s: %w", name, err)
	}
	h.hive.AllowGrowth(len(recovered.Hive) + growth)
	return h, nil
}

// save writes the hive where it was: its file keeps what else it has.
func (h *hiveFile) save(now time.Time) error {
	h.hive.Commit(now)
	f, err := os.OpenFile(h.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	_, err = f.WriteAt(h.hive.Bytes(), 0)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	for _, log := range h.logs {
		if err := os.Truncate(log, 0); err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
	}
	return nil
}

// restartsAfterCrash is what Windows does after a stop error.
func (w *windows) restartsAfterCrash() bool {
	key, err := w.system.hive.Lookup(w.set, "Control", "CrashControl")
	if err != nil {
		return true // as Windows is set up
	}
	v, ok := key.Value("AutoReboot")
	n, _ := v.Uint32()
	return !ok || n != 0
}

// findPath finds a file as Windows does: without regard to case. The error wraps
// fs.ErrNotExist if there is none.
func findPath(dir string, names ...string) (string, error) {
	for _, name := range names {
		found := filepath.Join(dir, name)
		if _, err := os.Lstat(found); errors.Is(err, fs.ErrNotExist) {
			if found, err = findEntry(dir, name); err != nil {
				return "", err
			}
		} else if err != nil {
			return "", fmt.Errorf("guestsim: %w", err)
		}
		dir = found
	}
	return dir, nil
}

func findEntry(dir, name string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("guestsim: %w", err)
	}
	for _, e := range entries {
		if strings.EqualFold(e.Name(), name) {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", fmt.Errorf("guestsim: %s in %s: %w", name, dir, fs.ErrNotExist)
}

// findOrMake is findPath for a folder that Windows always has.
func findOrMake(dir string, names ...string) (string, error) {
	for _, name := range names {
		found, err := findPath(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			found = filepath.Join(dir, name)
			err = os.Mkdir(found, 0o777)
		}
		if err != nil {
			return "", fmt.Errorf("guestsim: %w", err)
		}
		dir = found
	}
	return dir, nil
}
