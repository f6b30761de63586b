package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// contentsVersion is the version of the encrypted file's format.
const contentsVersion = 1

// contents is what the encrypted file holds. The objects of credentials are
// kept as they were read, so that what is not changed stays as it is, whatever
// release has written it.
type contents struct {
	items []item // sorted by id, each id once
}

type item struct {
	id     string
	object json.RawMessage
}

type contentsJSON struct {
	Version     int               `json:"version"`
	Credentials []json.RawMessage `json:"credentials"`
}

// parseContents reads the decrypted file. Its errors complete the sentence
// "the wallet is damaged: …" and quote nothing of it but ids.
func parseContents(plain []byte) (contents, error) {
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(plain, &version); err != nil {
		return contents{}, badJSON(err)
	}
	if version.Version != contentsVersion {
		return contents{}, fmt.Errorf("its format has version %d, and this release knows version %d only", version.Version, contentsVersion)
	}
	var all contentsJSON
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields() // the next change would lose them
	if err := d.Decode(&all); err != nil {
		return contents{}, errors.New("it has other keys than version and credentials, or they are not of their types")
	}
	if _, err := d.Token(); err != io.EOF {
		return contents{}, errors.New("something follows its JSON object")
	}
	var c contents
	for i, object := range all.Credentials {
		var head struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(object, &head); err != nil {
			return contents{}, fmt.Errorf("its entry %d: %w", i, badJSON(err))
		}
		if !validID(head.ID) {
			return contents{}, fmt.Errorf("its entry %d has the id %q", i, head.ID)
		}
		c.items = append(c.items, item{head.ID, object})
	}
	slices.SortStableFunc(c.items, func(a, b item) int { return strings.Compare(a.id, b.id) })
	for i, it := range c.items[min(1, len(c.items)):] {
		if c.items[i].id == it.id {
			return contents{}, fmt.Errorf("it has the credential %q twice", it.id)
		}
	}
	return c, nil
}

// encode gives the file to encrypt, one credential a line.
func (c contents) encode() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\":%d,\"credentials\":[", contentsVersion)
	for i, it := range c.items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		if err := json.Compact(&b, it.object); err != nil {
			return nil, fmt.Errorf("the credential %q: %w", it.id, badJSON(err))
		}
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

func (c contents) find(id string) (int, bool) {
	return slices.BinarySearchFunc(c.items, id, func(it item, id string) int { return strings.Compare(it.id, id) })
}

// get gives the object of a credential, nil if there is none.
func (c contents) get(id string) json.RawMessage {
	if i, ok := c.find(id); ok {
		return c.items[i].object
	}
	return nil
}

func (c *contents) put(id string, object json.RawMessage) {
	i, ok := c.find(id)
	if ok {
		c.items[i].object = object
		return
	}
	c.items = slices.Insert(c.items, i, item{id, object})
}

func (c *contents) remove(id string) bool {
	i, ok := c.find(id)
	if ok {
		c.items = slices.Delete(c.items, i, i+1)
	}
	return ok
}
