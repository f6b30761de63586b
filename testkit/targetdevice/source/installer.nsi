; The program that administrators are given: as InstallShield's, it unpacks the
; package, hands /v"..." to msiexec, and reports that a reboot is needed. With
; KIND defined it is one of those that do not do what they should.
Unicode true
Target amd64-unicode
Name "IPS Test Target Device"
OutFile "${OUT}"
RequestExecutionLevel admin
SilentInstall silent
VIProductVersion "${VERSION}"
VIAddVersionKey "ProductName" "IPS Test Target Device"
VIAddVersionKey "ProductVersion" "${VERSION}"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "CompanyName" "imageport test kit"
VIAddVersionKey "FileDescription" "test installer, not Citrix software"
VIAddVersionKey "LegalCopyright" "-"
!include FileFunc.nsh
!include LogicLib.nsh

!define REBOOT_REQUIRED 3010
!define REBOOT_INITIATED 1641
Var arguments

; The text between /v" and the last quote.
Function packageArguments
  ${GetParameters} $R0
  StrCpy $arguments "/qn /norestart"
  StrLen $1 $R0
  ${For} $2 0 $1
    StrCpy $3 $R0 3 $2
    ${If} $3 == '/v"'
      IntOp $2 $2 + 3
      StrCpy $arguments $R0 -1 $2
      ${Break}
    ${EndIf}
  ${Next}
FunctionEnd

Section
!ifdef LIES
  SetErrorLevel ${REBOOT_REQUIRED}
!else ifdef HANGS
  ; As behind a dialog that nobody sees.
  wait:
  Sleep 1000
  Goto wait
!else ifdef CRASHES
  ; In the middle: the service and its program are gone, nothing has replaced them.
  DeleteRegKey HKLM "SYSTEM\CurrentControlSet\Services\BNDevice"
  Delete "$PROGRAMFILES64\Citrix\Provisioning Services\BNDevice.exe"
  System::Call 'kernel32::RaiseException(i 0xc0000005, i 1, i 0, p 0)'
!else
  Call packageArguments
  InitPluginsDir
  SetOutPath $PLUGINSDIR
  File "device.msi"
  ExecWait 'msiexec.exe /i "$PLUGINSDIR\device.msi" $arguments' $0
  ${If} $0 == 0
!ifdef REBOOTS
    StrCpy $0 ${REBOOT_INITIATED}
    ExecWait '"$SYSDIR\shutdown.exe" /r /f /t 0'
!else
    StrCpy $0 ${REBOOT_REQUIRED}
!endif
  ${EndIf}
  SetErrorLevel $0
!endif
SectionEnd
