package hive

// DefaultSecurity is the descriptor of keys that Build is given none for: owner
// Administrators, group SYSTEM, full access for both and reading for Users,
// inherited by subkeys; O:BAG:SYD:P(A;CI;KA;;;SY)(A;CI;KA;;;BA)(A;CI;KR;;;BU).
// It must not be changed.
var DefaultSecurity = defaultSecurity()

// [MS-DTYP] 2.4.6 SECURITY_DESCRIPTOR, 2.4.5 ACL, 2.4.4.2 ACCESS_ALLOWED_ACE.
func defaultSecurity() []byte {
	const (
		header      = 20
		daclPresent = 0x0004
		protected   = 0x1000
		relative    = 0x8000

		inherit   = 2 // CONTAINER_INHERIT_ACE
		allAccess = 0xf003f
		readOnly  = 0x20019
	)
	system := sid(18)
	administrators := sid(32, 544)
	users := sid(32, 545)

	var aces []byte
	count := 0
	allow := func(mask uint32, sid []byte) {
		aces = append(aces, 0, inherit)
		aces = le.AppendUint16(aces, uint16(8+len(sid)))
		aces = le.AppendUint32(aces, mask)
		aces = append(aces, sid...)
		count++
	}
	allow(allAccess, system)
	allow(allAccess, administrators)
	allow(readOnly, users)
	acl := []byte{2, 0}
	acl = le.AppendUint16(acl, uint16(8+len(aces)))
	acl = le.AppendUint32(acl, uint32(count))
	acl = append(acl, aces...)

	d := []byte{1, 0}
	d = le.AppendUint16(d, daclPresent|protected|relative)
	d = le.AppendUint32(d, uint32(header+len(acl)))                     // owner
	d = le.AppendUint32(d, uint32(header+len(acl)+len(administrators))) // group
	d = le.AppendUint32(d, 0)                                           // no SACL
	d = le.AppendUint32(d, header)
	d = append(d, acl...)
	d = append(d, administrators...)
	return append(d, system...)
}

// sid is S-1-5-… with the given sub-authorities ([MS-DTYP] 2.4.2.2).
func sid(sub ...uint32) []byte {
	b := []byte{1, byte(len(sub)), 0, 0, 0, 0, 0, 5}
	for _, s := range sub {
		b = le.AppendUint32(b, s)
	}
	return b
}
