package bcd

// Chain is what is started, one after the other, when a computer is switched on
// and nobody touches a key, and what is started if that fails.
type Chain struct {
	Manager  Program   // {bootmgr}; a store for BIOS gives it no path
	Loader   Program   // of the default entry
	Resume   *Program  // starts a hibernated Windows; nil if the loader names none
	Recovery []Program // of the loader's recoverysequence, in that order
	Missing  []GUID    // objects that the loader names in these roles, but the store has not
}

// Program is a boot application: where the store says that it lies, and what it
// works on. What a program has not is empty; an empty device is of KindUnknown
// with no Raw.
type Program struct {
	ID          GUID
	Type        ObjectType
	Description string
	Device      Device // that Path is on: a RAM disk for a recovery environment
	Path        string
	OSDevice    Device // that Root is on
	Root        string // systemroot of a loader; file to read for a resume application
	WinPE       bool   // a recovery or setup environment

	// A RAM disk is made from a template, boot.sdi. Options is the object that
	// names it, the zero GUID if the device has none.
	Options   GUID
	SDIDevice Device
	SDIPath   string
}

// File is a file, or folder, that must be on a disk.
type File struct {
	Object  GUID
	Element ElementID // that names it
	On      Device    // KindPartition, KindBoot, KindLocate or KindUnknown: never a file
	Path    string
	Folder  bool
}

// chain follows the default entry.
func (s *Store) chain(entry Object) Chain {
	c := Chain{Loader: s.program(entry)}
	if manager, ok := s.Object(BootMgr); ok {
		c.Manager = s.program(manager)
	}
	if id, ok := entry.Object(ElementResumeObject); ok {
		if o, ok := s.Object(id); ok {
			p := s.program(o)
			c.Resume = &p
		} else {
			c.Missing = append(c.Missing, id)
		}
	}
	ids, _ := entry.ObjectList(ElementRecoverySequence)
	for _, id := range ids {
		if o, ok := s.Object(id); ok {
			c.Recovery = append(c.Recovery, s.program(o))
		} else {
			c.Missing = append(c.Missing, id)
		}
	}
	return c
}

func (s *Store) program(o Object) Program {
	p := Program{ID: o.ID, Type: o.Type}
	p.Description, _ = o.String(ElementDescription)
	p.Device, _ = o.Device(ElementDevice)
	p.Path, _ = o.String(ElementPath)
	p.WinPE, _ = o.Bool(ElementWinPE)
	if o.Type.loads() {
		p.OSDevice, _ = o.Device(ElementOSDevice)
		p.Root, _ = o.String(ElementSystemRoot)
	}
	if options, ok := s.Object(p.Device.Options); ok && options.Type == TypeDevice {
		p.Options = options.ID
		p.SDIDevice, _ = options.Device(ElementSDIDevice)
		p.SDIPath, _ = options.String(ElementSDIPath)
	}
	return p
}

// Files lists what has to be on the disks for the program to start. A program
// inside of an image needs the image and its template: what is inside of it the
// store cannot tell. The file that a resume application reads is there only
// while Windows is hibernated, and not listed.
func (p Program) Files() []File {
	var files []File
	add := func(object GUID, e ElementID, d Device, path string, folder bool) {
		if image, ok := d.image(); ok {
			d, path, folder = *image.On, image.Path, false
		}
		d.Options = GUID{}
		f := File{object, e, d, path, folder}
		for _, have := range files { // device and osdevice of a RAM disk are the same
			if have.Path == f.Path && have.On.String() == f.On.String() {
				return
			}
		}
		if path != "" {
			files = append(files, f)
		}
	}
	add(p.ID, ElementPath, p.Device, p.Path, false)
	if p.Type == TypeOSLoader {
		add(p.ID, ElementSystemRoot, p.OSDevice, p.Root, true)
	}
	add(p.Options, ElementSDIPath, p.SDIDevice, p.SDIPath, false)
	return files
}

// image is the file that a device is made from, if it is; of images inside of
// images the outermost one, that lies on a partition.
func (d Device) image() (image Device, ok bool) {
	for inner := &d; inner.On != nil; inner = inner.On {
		if inner.Kind == KindFile || inner.Kind == KindRAMDisk {
			image, ok = *inner, true
		}
	}
	return image, ok
}
