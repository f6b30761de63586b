package vcenter

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/vmware/govmomi/vim25/types"
)

// fileFault is the fault of an error with the file that clients call name.
func fileFault(name string, err error) types.BaseMethodFault {
	file := types.FileFault{File: name}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &types.FileNotFound{FileFault: file}
	case errors.Is(err, fs.ErrExist):
		return &types.FileAlreadyExists{FileFault: file}
	case errors.Is(err, unix.ENOSPC):
		return &types.NoDiskSpace{FileFault: file}
	case errors.Is(err, errNoImage):
		return &types.InvalidDiskFormat{}
	}
	file.FaultCause = cause(err)
	return &types.CannotAccessFile{FileFault: file}
}

func fileLocked(name string) types.BaseMethodFault {
	return &types.FileLocked{FileFault: types.FileFault{File: name}}
}

// guestFault is the fault of a guest that does not do what it is told.
func guestFault(err error) types.BaseMethodFault {
	f := &types.GenericVmConfigFault{Reason: err.Error()}
	f.FaultCause = cause(err)
	return f
}

func cause(err error) *types.LocalizedMethodFault {
	return &types.LocalizedMethodFault{
		Fault:            &types.SystemErrorFault{Reason: err.Error()},
		LocalizedMessage: err.Error(),
	}
}

func notFound(ref types.ManagedObjectReference) types.BaseMethodFault {
	return &types.ManagedObjectNotFound{Obj: ref}
}
