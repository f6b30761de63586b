// Stand-in for shutdown.exe: it tells the simulator what Windows was asked for.
// The last request counts, and appears complete or not at all.
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(int argc, char **argv) {
    const char *action = NULL;
    for (int i = 1; i < argc; i++) {
        if (!_stricmp(argv[i], "/r") || !_stricmp(argv[i], "-r"))
            action = "reboot";
        if (!_stricmp(argv[i], "/s") || !_stricmp(argv[i], "-s") || !_stricmp(argv[i], "/p"))
            action = "poweroff";
    }
    if (!action)
        return 87; // ERROR_INVALID_PARAMETER
    FILE *f = fopen("C:\\guestsim-power.tmp", "wb");
    if (!f)
        return 5;
    fputs(action, f);
    if (fclose(f))
        return 5;
    return MoveFileExA("C:\\guestsim-power.tmp", "C:\\guestsim-power.txt", MOVEFILE_REPLACE_EXISTING) ? 0 : 5;
}
