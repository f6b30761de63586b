package media

import "fmt"

// OVFEnvironment is the environment document (DSP0243 9) with the seed as its
// one property, as vSphere writes it for a VM with properties.
func OVFEnvironment(raw []byte) []byte {
	// Neither the key nor base64 has a character that XML would escape.
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" oe:id="">
   <PropertySection>
      <Property oe:key=%q oe:value=%q/>
   </PropertySection>
</Environment>
`, OVFProperty, Base64(raw))
}
