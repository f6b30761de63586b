// BNDevice.exe: a service that runs until it is told to stop, and does nothing.
#include <windows.h>

static WCHAR name[] = L"BNDevice";
static SERVICE_STATUS_HANDLE handle;
static HANDLE stop;

static void report(DWORD state) {
    SERVICE_STATUS status = {
        .dwServiceType = SERVICE_WIN32_OWN_PROCESS,
        .dwCurrentState = state,
        .dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN,
    };
    SetServiceStatus(handle, &status);
}

static DWORD WINAPI control(DWORD code, DWORD type, void *data, void *context) {
    (void)type, (void)data, (void)context;
    if (code == SERVICE_CONTROL_STOP || code == SERVICE_CONTROL_SHUTDOWN)
        SetEvent(stop);
    return NO_ERROR;
}

static void WINAPI run(DWORD argc, WCHAR **argv) {
    (void)argc, (void)argv;
    stop = CreateEventW(NULL, TRUE, FALSE, NULL);
    handle = RegisterServiceCtrlHandlerExW(name, control, NULL);
    report(SERVICE_RUNNING);
    WaitForSingleObject(stop, INFINITE);
    report(SERVICE_STOPPED);
}

int main(void) {
    SERVICE_TABLE_ENTRYW table[] = {{name, run}, {NULL, NULL}};
    return StartServiceCtrlDispatcherW(table) ? 0 : 1;
}
