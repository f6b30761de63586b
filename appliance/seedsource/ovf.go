package seedsource

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"

	"imageport/appliance/seedsource/media"
)

// Namespaces of OVF environments.
const (
	ovfNamespace   = "http://schemas.dmtf.org/ovf/environment/1"
	azureNamespace = "http://schemas.microsoft.com/windowsazure"
)

// ovfEnvironment finds our property in an OVF environment (DSP0243 9), or the
// CustomData that Azure adds to one. What is not ours may be anything that is
// XML.
func ovfEnvironment(document []byte) ([]byte, error) {
	d := xml.NewDecoder(bytes.NewReader(document))
	var text string
	var found bool
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			// The decoder's own words quote the document.
			line, column := d.InputPos()
			return nil, malformed("%s: no XML at line %d, column %d", media.OVFFile, line, column)
		}
		element, is := token.(xml.StartElement)
		if !is || found {
			continue
		}
		switch element.Name {
		case xml.Name{Space: ovfNamespace, Local: "Property"}:
			if ovfAttribute(element, "key") == media.OVFProperty {
				text, found = ovfAttribute(element, "value"), true
			}
		case xml.Name{Space: azureNamespace, Local: "CustomData"}:
			var inside struct {
				Text string `xml:",chardata"`
			}
			if err := d.DecodeElement(&inside, &element); err != nil {
				line, column := d.InputPos()
				return nil, malformed("%s: no XML at line %d, column %d", media.OVFFile, line, column)
			}
			text, found = inside.Text, true
		}
	}
	if !found {
		return nil, errors.New(media.OVFFile + " has no property " + media.OVFProperty + " and no CustomData")
	}
	raw, err := decode(text)
	if err == nil && len(raw) == 0 {
		return nil, errors.New(media.OVFFile + " has the seed empty")
	}
	return raw, err
}

// ovfAttribute gives an attribute of the OVF namespace.
func ovfAttribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name == (xml.Name{Space: ovfNamespace, Local: name}) {
			return a.Value
		}
	}
	return ""
}
