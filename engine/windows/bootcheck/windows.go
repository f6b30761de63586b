package bootcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"imageport/engine/windows/ntfs"
)

// checkWindows checks what Windows finds when it has been started.
func (c *checker) checkWindows() error {
	if err := c.checkNTFS(); err != nil {
		return err
	}
	if err := c.checkMountedDevices(); err != nil {
		return err
	}
	return c.checkReAgent()
}

func (c *checker) checkNTFS() error {
	v := c.windowsVolume()
	if v.State().Dirty {
		return wrong("%s: NTFS is marked dirty, expected clean: Windows would run chkdsk", name(c.windows))
	}
	clean, err := v.LogFileClean()
	if err != nil {
		return fault(err, "%s: $LogFile", name(c.windows))
	}
	if !clean {
		return wrong("%s: the NTFS journal ($LogFile) is not empty: Windows would replay it over what was changed", name(c.windows))
	}
	state := "not dirty, journal closed"
	hibernated, err := v.Hibernated()
	if err != nil {
		return fault(err, "%s: hiberfil.sys", name(c.windows))
	}
	if hibernated {
		state += "; Windows is hibernated there"
	}
	c.add("Windows volume", "NTFS on %s: %s", name(c.windows), state)
	return nil
}

// path is that of a file below the folder of Windows.
func (c *checker) path(below string) string { return strings.TrimRight(c.root, `\`) + below }

// checkMountedDevices checks by which partitions Windows knows its letters.
func (c *checker) checkMountedDevices() error {
	path := c.path(`\System32\config\SYSTEM`)
	f, err := c.windowsVolume().Open(path)
	if err != nil {
		return fault(err, "%s: %s", name(c.windows), path)
	}
	h, err := readHive(c.ctx, f, f.Size(), path)
	if err != nil {
		return err
	}
	c.add("Registry", "%s was written to its end", path)
	k, ok, err := h.find("MountedDevices")
	if err != nil {
		return err
	}
	devices := mountedDevices{}
	if ok {
		for v, err := range k.values() {
			if err != nil {
				return err
			}
			if err := c.readMountedDevice(v, &devices); err != nil {
				return err
			}
		}
	}
	for _, value := range slices.Sorted(maps.Keys(c.want.MountedDevices)) {
		want := c.want.MountedDevices[value]
		got, ok := devices.partitions[strings.ToUpper(value)]
		if !ok || got != want {
			return wrong("%s: MountedDevices has %s for %s, expected partition %v", path, found(got, ok), value, want)
		}
	}
	c.add("MountedDevices", "%s", strings.Join(append([]string{fmt.Sprintf("%d values name partitions of this disk", devices.here)}, devices.elsewhere...), "; "))
	return nil
}

// mountedDevices are the values of that key.
type mountedDevices struct {
	partitions map[string]uuid.UUID // by the value's name, in upper case
	here       int
	elsewhere  []string
}

// mostReported is how many of one kind are told.
const mostReported = 32

func (m *mountedDevices) report(format string, args ...any) {
	if len(m.elsewhere) < mostReported {
		m.elsewhere = append(m.elsewhere, fmt.Sprintf(format, args...))
	}
}

// readMountedDevice reads a value: 12 bytes are the signature of an MBR disk
// and the place of a partition, 24 bytes "DMIO:ID:" and a partition's GUID.
func (c *checker) readMountedDevice(v value, m *mountedDevices) error {
	const gpt = "DMIO:ID:"
	switch {
	case len(v.data) == 12:
		signature, at := binary.LittleEndian.Uint32(v.data), binary.LittleEndian.Uint64(v.data[4:])
		if c.want.Signature != 0 && signature == c.want.Signature {
			return wrong("SYSTEM: MountedDevices names the partition at byte %d of the MBR disk 0x%08x for %s, expected a partition's GUID", at, signature, v.name)
		}
		m.report("%s is on the MBR disk 0x%08x", v.name, signature)
	case len(v.data) == 24 && string(v.data[:8]) == gpt:
		id := guidAt(v.data[8:])
		if m.partitions == nil {
			m.partitions = map[string]uuid.UUID{}
		}
		m.partitions[strings.ToUpper(v.name)] = id
		if _, ok := c.table.byID(id); ok {
			m.here++
		} else {
			m.report("%s is partition %v, which is not on this disk", v.name, id)
		}
	}
	return nil
}

func found(id uuid.UUID, ok bool) string {
	if !ok {
		return "no partition's GUID"
	}
	return "partition " + id.String()
}

const mostReAgentBytes = 1 << 20

var (
	reAgentElement   = regexp.MustCompile(`<(\w+)\s[^<>]*>`)
	reAgentAttribute = regexp.MustCompile(`\b(id|offset|guid)\s*=\s*["']\s*([^"']*?)\s*["']`)
)

// checkReAgent checks where Windows looks for its recovery environment. The
// places are attributes of elements: id is the signature of an MBR disk in
// decimal, or 0; guid is that of a GPT disk.
func (c *checker) checkReAgent() error {
	path := c.path(`\System32\Recovery\ReAgent.xml`)
	f, err := c.windowsVolume().Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.add("ReAgent.xml", "there is none: Windows RE is not set up")
		return nil
	}
	if err != nil {
		return fault(err, "%s: %s", name(c.windows), path)
	}
	text, err := c.readText(f, path)
	if err != nil {
		return err
	}
	var foreign []string
	var winRE map[string]string
	for _, e := range reAgentElement.FindAllStringSubmatch(text, -1) {
		attributes := map[string]string{}
		for _, a := range reAgentAttribute.FindAllStringSubmatch(e[0], -1) {
			attributes[a[1]] = a[2]
		}
		if e[1] == "WinreLocation" {
			winRE = attributes
		}
		id, err := strconv.ParseUint(attributes["id"], 10, 32)
		if err != nil || id == 0 { // no number is the GUID of a boot entry
			continue
		}
		if uint32(id) == c.want.Signature {
			return wrong("%s: %s has id=\"%d\", the signature of the MBR disk, expected 0 and the disk's GUID", path, e[1], id)
		}
		if len(foreign) < mostReported {
			foreign = append(foreign, fmt.Sprintf("%s is on the MBR disk 0x%08x", e[1], id))
		}
	}
	if foreign == nil {
		foreign = []string{"no place is named by the signature of an MBR disk"}
	}
	c.add("ReAgent.xml", "%s", strings.Join(foreign, "; "))
	c.reportRecoveryPlace(winRE)
	return nil
}

// reportRecoveryPlace says where ReAgent.xml looks for Windows RE.
func (c *checker) reportRecoveryPlace(attributes map[string]string) {
	guid, _ := uuid.Parse(attributes["guid"]) // zero says nowhere
	offset, err := strconv.ParseUint(attributes["offset"], 10, 64)
	if guid == uuid.Nil {
		c.add("ReAgent.xml", "Windows RE is on no GPT disk, or not set up")
		return
	}
	if guid != c.table.diskGUID {
		c.add("ReAgent.xml", "Windows RE is not resolved: it is on the disk {%v}", guid)
		return
	}
	for _, p := range c.table.partitions {
		if err == nil && p.FirstLBA*uint64(c.d.SectorSize()) == offset {
			c.add("ReAgent.xml", "Windows RE is on %s", name(p))
			return
		}
	}
	c.add("ReAgent.xml", "Windows RE is not resolved: no partition begins at byte %s", attributes["offset"])
}

// readText reads a text in UTF-8 or UTF-16LE.
func (c *checker) readText(f *ntfs.File, path string) (string, error) {
	if f.Size() > mostReAgentBytes {
		return "", wrong("%s has %d bytes, expected at most %d", path, f.Size(), mostReAgentBytes)
	}
	b := make([]byte, f.Size())
	if err := readAt(f, b, 0, path); err != nil {
		return "", err
	}
	if len(b) >= 2 && b[0] == 0xff && b[1] == 0xfe {
		return utf16Text(b[2:]), nil
	}
	return string(b), nil
}
