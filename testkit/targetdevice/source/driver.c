// What lies in the place of the drivers: an image with the right headers and
// version, whose entry point refuses to be loaded.
#define STATUS_NOT_SUPPORTED ((long)0xc00000bb)

long DriverEntry(void *driver, void *path) {
    (void)driver, (void)path;
    return STATUS_NOT_SUPPORTED;
}
