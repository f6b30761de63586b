package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"imageport/firstboot/plan"
)

const (
	serviceKey     = `SYSTEM\CurrentControlSet\Services\` + plan.Service
	sessionManager = `SYSTEM\CurrentControlSet\Control\Session Manager`
	windowsKey     = `SOFTWARE\Microsoft\Windows\CurrentVersion\`
	// startDisabled is SERVICE_DISABLED of the value Start.
	startDisabled = 4
	maxSubkeys    = 20_000
)

var regFlushKey = windows.NewLazySystemDLL("advapi32.dll").NewProc("RegFlushKey")

func (g *guest) Products(key string) ([]plan.Product, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.ENUMERATE_SUB_KEYS|registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	defer k.Close()
	names, err := k.ReadSubKeyNames(maxSubkeys)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	var products []plan.Product
	for _, name := range names {
		sub, err := registry.OpenKey(k, name, registry.QUERY_VALUE)
		if err != nil {
			// It was removed meanwhile, or is not for us to see.
			continue
		}
		var p plan.Product
		p.Name, _, err = sub.GetStringValue("DisplayName")
		if err == nil {
			// One without a version is a product all the same.
			p.Version, _, _ = sub.GetStringValue("DisplayVersion")
			products = append(products, p)
		}
		sub.Close()
	}
	return products, nil
}

func (g *guest) PendingReboot() (string, error) {
	var found []string
	var failed error
	for _, key := range []string{
		windowsKey + `Component Based Servicing\RebootPending`,
		windowsKey + `WindowsUpdate\Auto Update\RebootRequired`,
	} {
		switch k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE); {
		case err == nil:
			k.Close()
			found = append(found, key)
		case !errors.Is(err, fs.ErrNotExist):
			failed = errors.Join(failed, fmt.Errorf("key %s: %w", key, err))
		}
	}
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, sessionManager, registry.QUERY_VALUE)
	if err != nil {
		return strings.Join(found, ", "), errors.Join(failed, fmt.Errorf("key %s: %w", sessionManager, err))
	}
	defer k.Close()
	for _, name := range []string{"PendingFileRenameOperations", "PendingFileRenameOperations2"} {
		files, _, err := k.GetStringsValue(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("value %s: %w", name, err))
		}
		if strings.Join(files, "") != "" {
			found = append(found, fmt.Sprintf("%s of %s", name, files[0]))
		}
	}
	return strings.Join(found, ", "), failed
}

// Disarm disables the service. Its key stays: who brought it takes it back.
func (g *guest) Disarm() error {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, serviceKey, registry.QUERY_VALUE|registry.SET_VALUE)
	if err != nil {
		return fmt.Errorf("key %s: %w", serviceKey, err)
	}
	defer k.Close()
	if err := k.SetDWordValue("Start", startDisabled); err != nil {
		return fmt.Errorf("key %s: %w", serviceKey, err)
	}
	// Without it, Windows writes some seconds later.
	if code, _, _ := regFlushKey.Call(uintptr(k)); code != 0 {
		return fmt.Errorf("key %s could not be flushed: %w", serviceKey, windows.Errno(code))
	}
	return nil
}
