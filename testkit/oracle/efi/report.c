#include "report.h"

enum { LINE = 512 };

static void to_serial(const CHAR16 *line)
{
	EFI_HANDLE *handles;
	UINTN count, n = 0;
	CHAR8 text[LINE];

	for (; line[n]; n++)
		text[n] = line[n] < 0x80 ? (CHAR8)line[n] : '?';
	if (EFI_ERROR(LibLocateHandle(ByProtocol, &SerialIoProtocol, NULL, &count, &handles)))
		return;
	for (UINTN i = 0; i < count; i++) {
		SERIAL_IO_INTERFACE *port;
		UINTN size = n;

		if (!EFI_ERROR(BS->HandleProtocol(handles[i], &SerialIoProtocol, (VOID **)&port)))
			port->Write(port, &size, text);
	}
	FreePool(handles);
}

/* to_screen writes to the consoles that have a frame buffer, but not to the
 * one console the firmware makes of all, which includes the serial ports. */
static void to_screen(CHAR16 *line)
{
	EFI_HANDLE *handles;
	UINTN count;

	if (EFI_ERROR(LibLocateHandle(ByProtocol, &GraphicsOutputProtocol, NULL, &count, &handles)))
		return;
	for (UINTN i = 0; i < count; i++) {
		SIMPLE_TEXT_OUTPUT_INTERFACE *console;

		if (handles[i] != ST->ConsoleOutHandle &&
		    !EFI_ERROR(BS->HandleProtocol(handles[i], &TextOutProtocol, (VOID **)&console)))
			console->OutputString(console, line);
	}
	FreePool(handles);
}

static void say(const CHAR16 *prefix, const char *check, const CHAR16 *format, va_list args)
{
	CHAR16 detail[LINE / 2], line[LINE];

	UnicodeVSPrint(detail, sizeof detail, format, args);
	UnicodeSPrint(line, sizeof line, L"ORACLE %s%a%s%s\r\n", prefix, check,
		      *check && *detail ? L" " : L"", detail);
	to_serial(line);
	to_screen(line);
}

static void say_words(const CHAR16 *prefix, const char *check, const CHAR16 *format, ...)
{
	va_list args;

	va_start(args, format);
	say(prefix, check, format, args);
	va_end(args);
}

static _Noreturn void power_off(void)
{
	for (;;)
		RT->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
}

void ok(const char *check, const CHAR16 *format, ...)
{
	va_list args;

	va_start(args, format);
	say(L"ok ", check, format, args);
	va_end(args);
}

void fail(const char *check, const CHAR16 *format, ...)
{
	va_list args;

	va_start(args, format);
	say(L"FAIL ", check, format, args);
	va_end(args);
	say_words(L"VERDICT FAIL ", check, L"");
	power_off();
}

void pass(void)
{
	say_words(L"VERDICT PASS", "", L"");
	power_off();
}
