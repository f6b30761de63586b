# The master boot record: it loads stage 2, whose routines for reading and
# printing are here, too. See loader.S.

_start:	cli
	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	esp, 0x7C00		# the upper half counts in protected mode
	sti
	cld
	jmp	0:main			# from 07C0:0000, too

main:	mov	[drive], dl

	mov	si, offset uart		# COM1: 115200 baud, 8N1, no interrupts
1:	lodsw
	mov	dl, al
	mov	dh, COM1 >> 8
	mov	al, ah
	out	dx, al
	cmp	si, offset uartend
	jb	1b

	mov	si, offset crlf
	call	print
	mov	ah, 0x41		# EDD 3.0: check extensions present
	mov	bx, 0x55AA
	mov	dl, [drive]
	int	0x13
	mov	si, offset noEDD
	jc	fail
	cmp	bx, 0xAA55
	jne	fail
	test	cl, 1			# AH=42h
	jz	fail

	call	read
	mov	si, 0x7E00
	mov	cx, STAGE2SECTORS * 128
	xor	edx, edx
1:	lodsd				# its dwords add up to 0
	add	edx, eax
	loop	1b
	mov	si, offset noStage2
	jnz	fail
	cmp	dword ptr [magic], 0x32425049
	je	entry

# fail prints the line at si, gives those who watch the screen ten seconds, and
# ends the machine through APM, as far as the BIOS can.
fail:	call	line
stop:	mov	si, offset crlf
	call	print
	sti
	mov	ah, 0x86		# wait cx:dx microseconds
	mov	cx, 10000000 >> 16
	mov	dx, 10000000 & 0xFFFF
	int	0x15
	xor	bx, bx
	mov	ax, 0x5301		# APM 1.2: connect the real-mode interface
	int	0x15
	mov	cx, 0x0102
	mov	ax, 0x530E		# driver version
	int	0x15
	mov	ax, 0x5307		# all devices off
	mov	bx, 1
	mov	cx, 3
	int	0x15
1:	hlt
	jmp	1b

# read reads what the packet says, which keeps its block count. It does not
# return with an error: three errors of one read are the end.
read:	pushad
	mov	di, 3
1:	push	word ptr [count]
	mov	ah, 0x42
	mov	dl, [drive]
	mov	si, offset packet
	int	0x13
	pop	word ptr [count]	# the BIOS put there what it got
	jnc	2f
	mov	[status], ah
	mov	ah, 0			# reset
	mov	dl, [drive]
	int	0x13
	dec	di
	jnz	1b
	mov	si, offset readError
	call	line
	mov	si, offset status
	mov	cx, 1
	call	hex
	mov	si, offset atLBA
	call	print
	mov	si, offset lba + 5	# 48 bits
	mov	cx, 6
	call	hex
	jmp	stop
2:	popad
	ret

# hex prints the number of cx bytes whose last, the most significant, is at si.
hex:	mov	al, [si]
	dec	si
	aam	16
	call	digit
	mov	ah, al
	call	digit
	loop	hex
	ret

# digit prints the digit in ah.
digit:	pusha
	mov	al, ah
	cmp	al, 10
	sbb	al, 0x69		# the digit in ASCII, by decimal adjustment
	das
	mov	[text], al
	mov	si, offset text
	call	print
	popa
	ret

# line prints "imageport: " and the text at si.
line:	push	si
	mov	si, offset name
	call	print
	pop	si
	# and on into print

# print prints the text at si, up to its zero: first all on COM1, then all on
# the screen, if there is one. If INT 10h is the BIOS's own, and not that of a
# video ROM, it may write to COM1, too, and all would be there twice and mixed.
print:	pushad
	push	si
	mov	dx, COM1 + 5		# line status
1:	lodsb
	test	al, al
	jz	3f
	mov	ah, al
	xor	cx, cx
2:	in	al, dx
	cmp	al, 0xFF		# no such port
	je	3f
	test	al, 0x20		# transmitter empty; wait no longer than 65536
	loopz	2b
	mov	al, ah
	mov	dl, COM1 & 0xFF
	out	dx, al
	mov	dl, (COM1 + 5) & 0xFF
	jmp	1b
3:	pop	si
	cmp	byte ptr [4 * 0x10 + 3], 0xF0	# segment of INT 10h, high byte
	jae	5f
4:	lodsb
	test	al, al
	jz	5f
	mov	ah, 0x0E		# teletype output
	mov	bx, 7
	int	0x10
	jmp	4b
5:	popad
	ret

# Registers of the UART, from COM1, and what goes into them, in this order.
uart:	.byte	0xF9, 0, 0xFB, 0x80, 0xF8, 1, 0xF9, 0, 0xFB, 3, 0xFC, 3
uartend:

drive:	.byte	0
status:	.byte	0
text:	.byte	0, 0
name:	.asciz	"imageport: "
crlf:	.asciz	"\r\n"
noEDD:	.asciz	"no EDD"
noStage2: .asciz "bad stage 2"
readError: .asciz "disk read error 0x"
atLBA:	.asciz	" at LBA 0x"

# The disk address packet of all reads (EDD 3.0): here it reads stage 2.
	.org	424
packet:	.byte	16, 0
count:	.word	STAGE2SECTORS
buffer:	.word	0x7E00, 0		# offset, segment
lba:	.quad	0			# of stage 2: set by package biosboot

	.org	512			# disk signature and partitions
