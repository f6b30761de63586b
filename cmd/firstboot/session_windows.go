package main

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// noSession is what Windows answers while no session has the console.
const noSession = 0xFFFFFFFF

// createInConsole is CreateProcess in the session that has the machine's screen,
// on the desktop of its users, as LocalSystem all the same. Handles cannot be
// inherited across sessions.
func createInConsole(command, folder *uint16, flags uint32, info *windows.ProcessInformation) error {
	session := windows.WTSGetActiveConsoleSessionId()
	if session == noSession {
		return errors.New("no session has the console")
	}
	var own, token windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_DUPLICATE, &own); err != nil {
		return fmt.Errorf("OpenProcessToken: %w", err)
	}
	defer own.Close()
	if err := windows.DuplicateTokenEx(own, windows.MAXIMUM_ALLOWED, nil, windows.SecurityImpersonation, windows.TokenPrimary, &token); err != nil {
		return fmt.Errorf("DuplicateTokenEx: %w", err)
	}
	defer token.Close()
	if err := windows.SetTokenInformation(token, windows.TokenSessionId,
		(*byte)(unsafe.Pointer(&session)), uint32(unsafe.Sizeof(session))); err != nil {
		return fmt.Errorf("SetTokenInformation: session %d: %w", session, err)
	}
	desktop, err := windows.UTF16PtrFromString(`winsta0\default`)
	if err != nil {
		return err
	}
	si := windows.StartupInfo{Cb: uint32(unsafe.Sizeof(windows.StartupInfo{})), Desktop: desktop}
	if err := windows.CreateProcessAsUser(token, nil, command, nil, nil, false, flags, nil, folder, &si, info); err != nil {
		return fmt.Errorf("in session %d as a user: %w", session, err)
	}
	return nil
}

// enablePrivilege switches on one that the process has.
func enablePrivilege(name string) error {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return err
	}
	p := windows.Tokenprivileges{PrivilegeCount: 1}
	if err := windows.LookupPrivilegeValue(nil, n, &p.Privileges[0].Luid); err != nil {
		return err
	}
	p.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
	var token windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &token); err != nil {
		return err
	}
	defer token.Close()
	return windows.AdjustTokenPrivileges(token, false, &p, 0, nil, nil)
}
