package azure

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"imageport/job/seed"
	"imageport/platforms"
)

// The tags. Names of tags are not told apart by case.
const (
	tagCE    = "imageport-ce" // the CE that it belongs to, and goes with
	tagJob   = "imageport-job"
	tagRun   = "imageport-run"
	tagOwner = "imageport-owner"
	// tagOutput is on an output disk as long as it is the CE's, and says what it
	// is to become: group/name.
	tagOutput = "imageport-output"
	// tagFirmware is on the same, and says what it is to start from.
	tagFirmware = "imageport-firmware"
	// tagKept is on a complete output disk, and says which CE made it.
	tagKept = "imageport-kept-from"
	// tagDigest is on an image, and is the SHA-256 of the VHD that it was made from.
	tagDigest = "imageport-sha256"
)

const (
	// maxTag is the length of the longest value of a tag. In bytes it is never
	// more than in characters.
	maxTag = 256
	// maxParts is in how many tags a value may be: ids of workflows have up to 1000
	// bytes.
	maxParts = 5
)

// tags are those of a resource.
type tags map[string]*string

// put writes a value, in more than one tag if it is too long for one. An empty
// one is left out.
func (t tags) put(name, value string) {
	for part := 1; value != "" && part <= maxParts; part++ {
		n := min(len(value), maxTag)
		for n < len(value) && n > 0 && !utf8.RuneStart(value[n]) {
			n--
		}
		if n == 0 { // it is no text
			n = min(len(value), maxTag)
		}
		piece := value[:n]
		t[partName(name, part)] = &piece
		value = value[n:]
	}
}

func partName(name string, part int) string {
	if part == 1 {
		return name
	}
	return name + "-" + strconv.Itoa(part)
}

// get reads what put wrote, "" if there is nothing.
func (t tags) get(name string) string {
	var b strings.Builder
	for part := 1; part <= maxParts; part++ {
		piece, ok := t.one(partName(name, part))
		if !ok {
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}

func (t tags) one(name string) (string, bool) {
	for key, value := range t {
		if strings.EqualFold(key, name) && value != nil {
			return *value, true
		}
	}
	return "", false
}

// marks gives the tags of everything that belongs to a CE.
func marks(ce platforms.Spec) tags {
	t := tags{}
	t.put(tagCE, ce.Name)
	t.put(tagJob, ce.Job)
	t.put(tagRun, ce.RunID)
	t.put(tagOwner, ce.Owner)
	return t
}

// ce gives the name of the CE that a resource belongs to, "" if it is none of
// ours.
func (t tags) ce() string {
	if name := t.get(tagCE); seed.ValidName(name) {
		return name
	}
	return ""
}

// of reports whether a resource belongs to the job and owner of ce.
func (t tags) of(ce platforms.Spec) bool {
	return t.ce() == ce.Name && t.get(tagJob) == ce.Job && t.get(tagOwner) == ce.Owner
}
