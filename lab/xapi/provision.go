package xapi

import (
	"encoding/xml"
)

// disksKey is the key in a template's other_config that says which disks
// VM.provision is to make.
const disksKey = "disks"

// provision is the value of disksKey.
type provision struct {
	Disks []struct {
		Device   string `xml:"device,attr"`
		Size     int64  `xml:"size,attr"` // bytes
		SR       string `xml:"sr,attr"`   // uuid; none is the pool's default
		Bootable bool   `xml:"bootable,attr"`
		Type     string `xml:"type,attr"`
	} `xml:"disk"`
}

// provisionVM implements VM.provision: a template becomes a VM, with the disks
// that its other_config asks for.
func provisionVM(c *call) (any, error) {
	p, vm := c.p, c.text(0)
	text, asked := c.self().words("other_config")[disksKey]
	var want provision
	if asked {
		if err := xml.Unmarshal([]byte(text), &want); err != nil {
			return nil, internal("%s: %v", disksKey, err)
		}
	}
	var made []string
	for _, d := range want.Disks {
		sr, err := p.provisionSR(d.SR)
		if err == nil {
			var vdi string
			if vdi, err = p.makeVDI(record{"SR": sr, "virtual_size": d.Size, "type": "system", "name_label": "0"}); err == nil {
				made = append(made, vdi)
				p.insert("VBD", record{
					"VM": vm, "VDI": vdi, "userdevice": d.Device, "bootable": d.Bootable, "mode": "RW", "type": "Disk",
					"unpluggable": true, "other_config": map[string]any{"owner": ""},
				})
			}
		}
		if err != nil {
			for _, vdi := range made {
				p.removeVDI(vdi)
			}
			return nil, err
		}
	}
	delete(c.self().dict("other_config"), disksKey)
	c.self()["is_a_template"] = false
	return "", nil
}

func (p *Pool) provisionSR(uuid string) (string, error) {
	if uuid == "" {
		return p.get("pool", p.pool).text("default_SR"), nil
	}
	for ref, o := range p.objects["SR"] {
		if o["uuid"] == uuid {
			return ref, nil
		}
	}
	return "", fail("UUID_INVALID", "SR", uuid)
}
