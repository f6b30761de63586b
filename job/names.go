package job

import (
	"encoding/json"
	"errors"
	"strings"
)

// Names are several names that hold no comma, joined by commas: unlike a slice,
// they can be compared. In JSON they are a list, or such a text.
type Names string

// List gives the names in their order, without spaces around them and without
// empty ones.
func (n Names) List() []string {
	var list []string
	for name := range strings.SplitSeq(string(n), ",") {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, name)
		}
	}
	return list
}

// MarshalJSON implements json.Marshaler.
func (n Names) MarshalJSON() ([]byte, error) { return json.Marshal(n.List()) }

// UnmarshalJSON implements json.Unmarshaler.
func (n *Names) UnmarshalJSON(b []byte) error {
	var list []string
	var text string
	if err := json.Unmarshal(b, &text); err == nil {
		list = []string{text}
	} else if err := json.Unmarshal(b, &list); err != nil {
		return errors.New("want a list of names")
	}
	*n = Names(strings.Join(Names(strings.Join(list, ",")).List(), ","))
	return nil
}
