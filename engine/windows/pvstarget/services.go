package pvstarget

import (
	"slices"
	"strings"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
)

// Types of services ([MS-SCMR] 2.2.15): bits.
const drivers = 0x1 | 0x2 // SERVICE_KERNEL_DRIVER, SERVICE_FILE_SYSTEM_DRIVER

// readServices reads the services looked for, those that are there.
func (in *inspector) readServices(system *offline.Hive, set string) error {
	names := DefaultServices()
	for _, name := range in.options.Services {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		k, err := in.find(system, set, "Services", name)
		if err != nil {
			return err
		}
		if k == nil {
			continue
		}
		s, err := in.service(name, k)
		if err != nil {
			return err
		}
		in.Services = append(in.Services, s)
	}
	return nil
}

func (in *inspector) service(name string, k *hive.Key) (Service, error) {
	s := Service{Name: name, Start: -1}
	if n, ok := number(k, "Start"); ok {
		s.Start = int(min(n, 0xff))
	}
	if n, ok := number(k, "DeleteFlag"); ok {
		s.Deleted = n != 0
	}
	image, _ := k.Value("ImagePath")
	var paths []string
	if kind, ok := number(k, "Type"); ok && kind&drivers != 0 {
		paths = []string{offline.DriverFile(k.Name, image.String())}
	} else {
		paths = offline.Programs(image.String())
	}
	for _, path := range paths {
		s.File = path
		there, err := in.hasFile(path)
		if err != nil {
			return s, err
		}
		if s.HasFile = there; there {
			break
		}
	}
	s.File = shorten(s.File)
	return s, nil
}
