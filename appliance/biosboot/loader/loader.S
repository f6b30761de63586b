# BIOS boot loader of the Compositing Engine: GNU assembler, Intel syntax. Here is
# what its two parts share; they are assembled as one.
#
# The first 440 bytes are the code of the master boot record. The sectors behind
# the first are stage 2, which lies in the BIOS boot partition. Stage 2 loads the
# kernel, its command line and the initrd out of the UKI on the EFI system
# partition, whose sectors package biosboot has written into its parameters, and
# starts the kernel by the 16-bit entry of the Linux/x86 boot protocol (Linux,
# Documentation/arch/x86/boot.rst). Nothing here knows a file system.
#
# It needs a 386 with INT 13h extensions (EDD), INT 15h AX=E820h and disks with
# sectors of 512 bytes. All text goes to COM1 and the screen, if they are there.
#
# Memory, linear:
#	00600-07BFF  stack
#	07C00-07DFF  the master boot record
#	07E00-       stage 2
#	0A000-0ABFF  REGIONS, usable memory below 4 GiB
#	0B000-0B3FF  CRCTABLE
#	10000-17FFF  BOUNCE, what was read from the disk
#	20000-2FFFF  SETUP, the real-mode kernel, its heap and stack
#	30000-       CMDLINE
#	100000-      the protected-mode kernel
# The initrd goes as high as the kernel permits. A PC has more than 500 KiB of
# conventional memory, so nobody asks.

	.intel_syntax noprefix
	.code16
	.text
	.globl _start

	.equ	STAGE2SECTORS, 4
	.equ	REGIONS, 0xA000
	.equ	REGIONSEND, 0xAC00
	.equ	CRCTABLE, 0xB000
	.equ	BOUNCE, 0x10000
	.equ	CHUNK, 0x8000		# bytes a read: 64 sectors, EDD permits 127
	.equ	SETUPSEG, 0x2000
	.equ	CMDLINE, 0x30000
	.equ	HEAPEND, 0xE000		# in SETUP, as in boot.rst's sample

	.equ	COM1, 0x3F8
	.equ	SMAP, 0x534D4150

	.include "mbr.S"
	.include "stage2.S"
