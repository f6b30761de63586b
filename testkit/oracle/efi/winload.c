/* Stands in for winload.efi: says that the boot manager got here. The real
 * one would load the kernel. */
#include "report.h"

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system_table)
{
	EFI_LOADED_IMAGE *image;

	InitializeLib(self, system_table);
	if (EFI_ERROR(BS->HandleProtocol(self, &LoadedImageProtocol, (VOID **)&image)))
		return EFI_LOAD_ERROR;
	ok("winload", L"started: %s", DevicePathToStr(image->FilePath));
	return EFI_SUCCESS;
}
