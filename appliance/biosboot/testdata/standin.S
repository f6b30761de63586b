# A kernel by the Linux/x86 boot protocol that reports on COM1 what its boot
# loader has told it, and ends the machine through QEMU's isa-debug-exit. The
# test appends filler to it and fills in sizes.

	.intel_syntax noprefix
	.code16
	.text
	.globl _start

	.equ	SETUPSECTS, 3

_start:	.org	0x1F1			# names as in boot.rst
	.byte	SETUPSECTS
	.word	0
	.long	0			# syssize: set by the test
	.word	0, 0, 0
	.word	0xAA55
	jmp	start16
	.ascii	"HdrS"
	.word	0x020F			# version
	.long	0
	.word	0x1000, 0
	.byte	0, 1			# type_of_loader, loadflags: LOADED_HIGH
	.word	0
	.long	0x100000		# code32_start
	.long	0, 0, 0
	.word	0, 0
	.long	0			# cmd_line_ptr
	.long	0x7FFFFFFF		# initrd_addr_max
	.long	0x200000		# kernel_alignment
	.byte	1, 21			# relocatable_kernel, min_alignment
	.word	0
	.long	2047			# cmdline_size
	.long	0
	.quad	0
	.long	0, 0
	.quad	0
	.quad	0x1000000		# pref_address
	.long	0x1800000		# init_size
	.org	0x270

# 16-bit entry. All segments must be that of the setup, cs 20h above.
start16:
	mov	bx, 1			# says: the registers are right
	pushf
	pop	ax
	test	ah, 2			# interrupts
	jnz	1f
	mov	ax, cs
	sub	ax, 0x20
	mov	cx, ds
	cmp	ax, cx
	jne	1f
	mov	cx, es
	cmp	ax, cx
	jne	1f
	mov	cx, fs
	cmp	ax, cx
	jne	1f
	mov	cx, gs
	cmp	ax, cx
	jne	1f
	mov	cx, ss
	cmp	ax, cx
	jne	1f
	cmp	sp, [0x224]		# the heap ends below the stack
	ja	2f
1:	xor	bx, bx
2:	movzx	ebx, bx
	xor	esi, esi
	mov	si, cs
	sub	si, 0x20
	shl	esi, 4			# linear address of the setup
	lea	eax, [esi + gdt]
	mov	[gdtr + 2], eax
	lgdt	[gdtr]
	mov	eax, cr0
	or	al, 1
	mov	cr0, eax
	data32 ljmp 0x10:0x100000

	.balign	8
gdt:	.quad	0, 0
	.quad	0x00CF9B000000FFFF	# 10: code
	.quad	0x00CF93000000FFFF	# 18: data
gdtr:	.word	. - gdt - 1
	.long	0

	.org	(SETUPSECTS + 1) * 512

# 32-bit code, loaded at 1 MiB; position-independent, as it is linked at 0.
	.code32
start32:
	mov	ax, 0x18
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	esp, 0x9000
	cld
	call	1f
1:	pop	ebp
	sub	ebp, offset 1b		# add to get at labels
	mov	eax, ebx
	lea	edi, [ebp + tRegisters]
	call	report
	mov	eax, esi
	lea	edi, [ebp + tSetup]
	call	report
	movzx	eax, byte ptr [esi + 0x210]
	lea	edi, [ebp + tLoader]
	call	report
	movzx	eax, byte ptr [esi + 0x211]
	lea	edi, [ebp + tFlags]
	call	report
	movzx	eax, word ptr [esi + 0x224]
	lea	edi, [ebp + tHeap]
	call	report
	movzx	eax, word ptr [esi + 0x1FA]
	lea	edi, [ebp + tVideo]
	call	report

	lea	edi, [ebp + tKernel]	# syssize paragraphs from 1 MiB on
	mov	edx, 0x100000
	mov	ecx, [esi + 0x1F4]
	shl	ecx, 4
	call	hash
	call	report

	push	esi			# unpack: nothing else may lie here
	mov	edi, 0x1000000
	mov	ecx, [esi + 0x260]
	shr	ecx, 2
	mov	eax, 0xDEADBEEF
	rep stosd
	pop	esi

	mov	eax, [esi + 0x218]
	lea	edi, [ebp + tInitrd]
	call	report
	mov	eax, [esi + 0x21C]
	lea	edi, [ebp + tInitrdSize]
	call	report
	lea	edi, [ebp + tInitrdHash]
	mov	edx, [esi + 0x218]
	mov	ecx, [esi + 0x21C]
	call	hash
	call	report

	lea	edi, [ebp + tCmdline]
	call	puts
	mov	edi, [esi + 0x228]
	call	puts
	lea	edi, [ebp + tScreen]
	call	puts
	mov	edx, 0xB8000		# text mode: characters and attributes
	mov	ecx, 80 * 25
1:	mov	al, [edx]
	cmp	al, ' '
	jb	2f
	cmp	al, '~'
	ja	2f
	call	putc
2:	add	edx, 2
	loop	1b
	lea	edi, [ebp + tEnd]
	call	puts
	mov	dx, 0xF4		# isa-debug-exit
	xor	eax, eax
	out	dx, al
1:	hlt
	jmp	1b

# hash returns in eax the rotating sum of ecx bytes at edx.
hash:	xor	eax, eax
	jecxz	2f
1:	rol	eax, 1
	movzx	ebx, byte ptr [edx]
	add	eax, ebx
	inc	edx
	dec	ecx
	jnz	1b
2:	ret

# report prints the text at edi and eax in hex.
report:	push	eax
	call	puts
	pop	ebx
	mov	ecx, 8
1:	rol	ebx, 4
	mov	al, bl
	and	al, 15
	cmp	al, 10
	sbb	al, 0x69
	das
	call	putc
	loop	1b
	ret

# puts prints the text at edi.
puts:	mov	al, [edi]
	inc	edi
	test	al, al
	jz	1f
	call	putc
	jmp	puts
1:	ret

putc:	push	edx
	push	eax
	mov	dx, 0x3FD
1:	in	al, dx
	test	al, 0x20
	jz	1b
	pop	eax
	mov	dl, 0xF8
	out	dx, al
	pop	edx
	ret

tRegisters: .asciz "\nregisters "
tSetup:	.asciz	"\nsetup "
tLoader: .asciz	"\nloader "
tFlags:	.asciz	"\nflags "
tHeap:	.asciz	"\nheap "
tVideo:	.asciz	"\nvideo "
tKernel: .asciz	"\nkernel "
tInitrd: .asciz	"\ninitrd at "
tInitrdSize: .asciz "\ninitrd size "
tInitrdHash: .asciz "\ninitrd sum "
tCmdline: .asciz "\ncmdline "
tScreen: .asciz "\nscreen "
tEnd:	.asciz	"\nend\n"
	.balign	16
