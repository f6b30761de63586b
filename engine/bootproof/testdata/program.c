/* Stands in for a boot manager that does one thing, which is chosen when it is
 * compiled: GIVE_UP, RESET, or READ so many bytes of the partition that begins
 * with the word BOOTPROOF, write some, and wait. */
#include <efi.h>
#include <efilib.h>

#ifdef READ
static void read_partition(void)
{
	EFI_HANDLE *handles;
	UINTN count;

	if (EFI_ERROR(LibLocateHandle(ByProtocol, &BlockIoProtocol, NULL, &count, &handles)))
		return;
	for (UINTN i = 0; i < count; i++) {
		EFI_BLOCK_IO *io;
		CHAR8 *data = AllocatePool(READ);

		if (EFI_ERROR(BS->HandleProtocol(handles[i], &BlockIoProtocol, (VOID **)&io)) ||
		    !io->Media->LogicalPartition ||
		    EFI_ERROR(io->ReadBlocks(io, io->Media->MediaId, 0, io->Media->BlockSize, data)) ||
		    strncmpa(data, (CHAR8 *)"BOOTPROOF", 9) != 0)
			continue;
		/* In pieces, as a file system is read. */
		for (UINTN at = 0; at < READ; at += 64 << 10)
			io->ReadBlocks(io, io->Media->MediaId, at / io->Media->BlockSize, 64 << 10, data);
		SetMem(data, READ, 0xa5);
		Print(L"program has read, and written: %r\n",
		      io->WriteBlocks(io, io->Media->MediaId, 0, 64 << 10, data) ?: io->FlushBlocks(io));
	}
}
#endif

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system_table)
{
	InitializeLib(self, system_table);
#ifdef GIVE_UP
	return GIVE_UP;
#endif
#ifdef RESET
	RT->ResetSystem(EfiResetCold, EFI_SUCCESS, 0, NULL);
#endif
#ifdef READ
	read_partition();
#endif
	for (;;)
		__asm__("hlt");
}
