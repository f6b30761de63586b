package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// cmdlets are keys that go by the name of the parameter of Citrix's PowerShell
// cmdlets, where that is not the one on the wire, in lower case.
var cmdlets = map[string]string{
	"vsphereport":          "vCenterPort",
	"azurelocation":        "azureRegion",
	"azurevmresourcegroup": "resourceGroup",
	"smboutputdisksize":    "outputSizeMb",
}

// wireKeys gives the body with such keys replaced. It gives a body that is no
// JSON object as it is: who reads it says what is wrong. The error is a
// BadRequest for a body that has a key by both names.
func wireKeys(body []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return body, nil
	}
	var out []byte
	copied := 0
	given := make(map[string]string) // as it is written, by its name on the wire in lower case
	for d.More() {
		from := d.InputOffset()
		token, err := d.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return body, nil
		}
		wire := key
		if name, ok := cmdlets[strings.ToLower(key)]; ok {
			at := int(from) + bytes.IndexByte(body[from:], '"')
			out = append(append(out, body[copied:at]...), fmt.Sprintf("%q", name)...)
			copied, wire = int(d.InputOffset()), name
		}
		if before, ok := given[strings.ToLower(wire)]; ok && !strings.EqualFold(before, key) {
			return nil, Errorf(BadRequest, "Leave one of them out", "the request is not valid: %s and %s say the same", before, key)
		}
		given[strings.ToLower(wire)] = key
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return body, nil
		}
	}
	return append(out, body[copied:]...), nil
}
