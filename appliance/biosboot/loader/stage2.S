# Stage 2: it loads the kernel and starts it. See loader.S.

# ---- Parameters, set by package biosboot ------------------------------------

magic:	.ascii	"IPB2"
	.long	0			# makes the sum of all dwords 0
runStart: .long	0			# the kernel unpacks itself in here
runEnd:	.long	0
initrdLow: .long 0			# the initrd's least address
initrdEnd: .long 0			# where it must end
	.equ	PIECE, 24		# size of a piece
	.equ	LBA, 0			# u64
	.equ	BYTES, 8		# u32; 0: there is none
	.equ	DEST, 12		# u32, linear
	.equ	CRC, 16			# u32, CRC-32 of IEEE 802.3
	.equ	NAME, 20		# u16, not a parameter
pieces:	.quad	0
	.long	0, SETUPSEG * 16, 0
	.word	offset setupName, 0
	.quad	0
	.long	0, CMDLINE, 0
	.word	offset cmdlineName, 0
kernel:	.quad	0
	.long	0, 0x100000, 0
	.word	offset kernelName, 0
initrd:	.quad	0
	.long	0, 0, 0			# its place is found here
	.word	offset initrdName, 0
piecesEnd:

# ---- Code -------------------------------------------------------------------

entry:	mov	si, offset hello
	call	line
	call	enableA20
	call	memoryMap
	call	placeInitrd
	call	crcInit
	mov	dword ptr [buffer], BOUNCE << 12
	mov	bp, offset pieces
1:	call	load
	add	bp, PIECE
	cmp	bp, offset piecesEnd
	jb	1b
	mov	si, offset starting
	call	line

	mov	ax, CMDLINE >> 4
	mov	es, ax
	mov	di, [pieces + PIECE + BYTES]
	mov	byte ptr es:[di], 0

	cli
	mov	ax, SETUPSEG
	mov	es, ax
	mov	word ptr es:[0x1FA], 0xFFFF	# vid_mode: normal
	mov	byte ptr es:[0x210], 0xFF	# type_of_loader: no assigned id
	or	byte ptr es:[0x211], 0x80	# loadflags: CAN_USE_HEAP
	mov	eax, [initrd + DEST]
	mov	es:[0x218], eax			# ramdisk_image
	mov	eax, [initrd + BYTES]
	mov	es:[0x21C], eax			# ramdisk_size
	mov	word ptr es:[0x224], HEAPEND - 0x200	# heap_end_ptr
	mov	dword ptr es:[0x228], CMDLINE	# cmd_line_ptr
	mov	ax, SETUPSEG
	mov	ds, ax
	mov	fs, ax
	mov	gs, ax
	mov	ss, ax
	mov	esp, HEAPEND
	jmp	(SETUPSEG + 0x20):0

# enableA20 makes memory above 1 MiB reachable: by the BIOS, else by port 92h.
enableA20:
	call	testA20
	jne	9f
	mov	ax, 0x2401
	int	0x15
	call	testA20
	jne	9f
	in	al, 0x92
	or	al, 2
	and	al, 0xFE		# bit 0 resets the machine
	out	0x92, al
	mov	dx, 1000
1:	call	testA20
	jne	9f
	dec	dx
	jnz	1b
	mov	si, offset noA20
	jmp	fail
9:	ret

# testA20 returns ZF set if 1 MiB + 7DFE is the same as 7DFE, the boot signature
# of the master boot record, whatever is in it.
testA20:
	mov	ax, 0xFFFF
	mov	es, ax
	mov	cx, 100
1:	inc	word ptr [0x7DFE]
	out	0x80, al		# a delay
	mov	ax, [0x7DFE]
	cmp	ax, es:[0x7E0E]
	loope	1b
	push	0
	pop	es
	ret

# memoryMap asks for the memory map (ACPI 6, 15.1) and keeps what is usable
# below 4 GiB at REGIONS, u32 start, u32 end, and the size of all usable memory
# at totalKiB.
memoryMap:
	xor	ebx, ebx
	mov	bp, 128			# a list longer than this has no end
1:	mov	eax, 0xE820
	mov	edx, SMAP
	mov	ecx, 20
	mov	di, offset range
	int	0x15
	jc	8f			# also the end of the list
	cmp	eax, SMAP
	jne	8f
	cmp	dword ptr [range + 16], 1	# AddressRangeMemory
	jne	7f
	mov	eax, [range + 8]
	mov	edx, [range + 12]
	shrd	eax, edx, 10
	add	[totalKiB], eax
	cmp	dword ptr [range + 4], 0
	jne	7f
	mov	eax, [range]
	add	eax, [range + 8]
	adc	edx, 0
	jz	2f
	mov	eax, 0xFFFFF000		# it goes on above 4 GiB
2:	mov	di, [regionsEnd]
	cmp	di, REGIONSEND
	jae	7f
	mov	edx, [range]
	mov	[di], edx
	mov	[di + 4], eax
	add	word ptr [regionsEnd], 8
7:	test	ebx, ebx
	jz	8f
	dec	bp
	jnz	1b
8:	mov	si, offset noMap
	cmp	word ptr [regionsEnd], REGIONS
	je	fail
	ret

# placeInitrd finds the highest place for the initrd, at a page, and whether
# the kernel has the memory that it is loaded and unpacked to.
placeInitrd:
	mov	eax, 0x100000
	mov	edx, [kernel + BYTES]
	add	edx, eax
	call	usable
	mov	eax, [runStart]
	mov	edx, [runEnd]
	call	usable
	xor	edx, edx
	mov	si, REGIONS
1:	mov	eax, [si + 4]
	cmp	eax, [initrdEnd]
	jbe	2f
	mov	eax, [initrdEnd]
2:	sub	eax, [initrd + BYTES]
	jb	3f
	and	ax, 0xF000
	cmp	eax, [si]
	jb	3f
	cmp	eax, [initrdLow]
	jb	3f
	cmp	eax, edx
	jbe	3f
	mov	edx, eax
3:	add	si, 8
	cmp	si, [regionsEnd]
	jb	1b
	test	edx, edx
	jz	noMemory
	mov	[initrd + DEST], edx
	ret

# usable returns if one region has the bytes eax to edx.
usable:	mov	si, REGIONS
1:	cmp	eax, [si]
	jb	2f
	cmp	edx, [si + 4]
	jbe	3f
2:	add	si, 8
	cmp	si, [regionsEnd]
	jb	1b
	jmp	noMemory
3:	ret

noMemory:
	mov	di, offset decimalEnd
	mov	eax, [totalKiB]
	add	eax, 1023		# the firmware has some of it
	shr	eax, 10
	mov	ebx, 10
1:	xor	edx, edx
	div	ebx
	add	dl, '0'
	dec	di
	mov	[di], dl
	test	eax, eax
	jnz	1b
	mov	si, di
	jmp	fail

# crcInit makes the table of CRC-32 for its reflected polynomial.
crcInit:
	mov	di, CRCTABLE
	xor	edx, edx
1:	mov	eax, edx
	mov	cx, 8
2:	shr	eax, 1
	jnc	3f
	xor	eax, 0xEDB88320
3:	loop	2b
	stosd
	inc	dl
	jnz	1b
	ret

# load loads the piece at bp and checks its CRC.
load:	mov	si, offset loading
	call	line
	mov	si, [bp + NAME]
	call	print
	mov	eax, [bp + LBA]
	mov	[lba], eax
	mov	eax, [bp + LBA + 4]
	mov	[lba + 4], eax
	mov	edi, [bp + DEST]
	mov	eax, [bp + BYTES]
	mov	[left], eax
	mov	dword ptr [crc], 0xFFFFFFFF
1:	mov	ecx, [left]
	jecxz	3f
	cmp	ecx, CHUNK
	jbe	2f
	mov	ecx, CHUNK
2:	sub	[left], ecx
	lea	eax, [ecx + 511]
	shr	eax, 9
	mov	[count], ax
	call	read
	call	move
	add	[lba], eax
	adc	dword ptr [lba + 4], 0
	mov	eax, [bp + BYTES]
	sub	eax, [left]
	test	eax, 0xFFFFF		# a dot a MiB
	jnz	1b
	mov	si, offset dot
	call	print
	jmp	1b
3:	mov	si, offset crlf
	call	print
	mov	eax, [crc]
	not	eax
	cmp	eax, [bp + CRC]
	je	9f
	mov	si, offset mismatch
	call	line
	mov	si, [bp + NAME]
	call	print
	jmp	stop
9:	ret

# move adds ecx bytes of BOUNCE to crc and copies them to edi, wherever that is,
# and advances edi. It keeps all other registers.
move:	pushad
	cli
	lgdt	[gdtr]
	mov	eax, cr0
	or	al, 1
	mov	cr0, eax
	jmp	8:1f
	.code32
1:	mov	ax, 16
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	edx, ecx
	mov	esi, BOUNCE
	mov	eax, [crc]
2:	movzx	ebx, byte ptr [esi]
	xor	bl, al
	shr	eax, 8
	xor	eax, [ebx * 4 + CRCTABLE]
	inc	esi
	dec	edx
	jnz	2b
	mov	[crc], eax
	mov	esi, BOUNCE
	rep movsb
	jmp	24:1f
	.code16
1:	mov	ax, 32			# limits of 64 KiB stay behind
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	eax, cr0
	and	al, 0xFE
	mov	cr0, eax
	jmp	0:1f
1:	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	sti
	mov	[esp], edi		# what popad takes for edi
	popad
	ret

	.balign	8
gdt:	.quad	0
	.quad	0x00CF9B000000FFFF	# 8: code, 32 bits, 4 GiB
	.quad	0x00CF93000000FFFF	# 16: data, 4 GiB
	.quad	0x00009B000000FFFF	# 24: code, 16 bits, 64 KiB
	.quad	0x000093000000FFFF	# 32: data, 64 KiB
gdtr:	.word	. - gdt - 1
	.long	gdt

crc:	.long	0
left:	.long	0			# bytes of the piece
totalKiB: .long	0
regionsEnd: .word REGIONS
range:	.fill	20			# an address range of the memory map

hello:	.asciz	"BIOS boot loader\r\n"
dot:	.asciz	"."
loading: .asciz	"loading the "
starting: .asciz "starting the kernel\r\n"
mismatch: .asciz "the UKI on this disk does not match this loader: "
setupName: .asciz "kernel's setup"
cmdlineName: .asciz "command line"
kernelName: .asciz "kernel"
initrdName: .asciz "initrd"
noA20:	.asciz	"the BIOS does not enable A20"
noMap:	.asciz	"the BIOS has no memory map (INT 15h E820)"
	.fill	10, 1, '0'
decimalEnd: .asciz " MiB of memory is not enough for the kernel and its initrd"

	.org	512 + STAGE2SECTORS * 512
