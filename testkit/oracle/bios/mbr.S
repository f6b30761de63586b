# The boot code of the disk: finds the active partition, loads its boot sector
# and starts it, as that of Windows does.
	.code16
	.text
	.globl	_start
_start:
	cli
	xor	%ax, %ax
	mov	%ax, %ss
	mov	$0x7c00, %sp
	mov	%ax, %ds
	mov	%ax, %es
	sti
	cld
	mov	$0x7c00, %si		# out of the way of the boot sector
	mov	$0x600, %di
	mov	$256, %cx
	rep movsw
	ljmp	$0, $moved
moved:
	mov	%dl, drive
	mov	$0x7be, %si		# the entries, in the copy
	mov	$4, %cx
next:	cmpb	$0x80, (%si)
	je	active
	add	$16, %si
	loop	next
	mov	$none, %si
	jmp	fail
active:
	mov	8(%si), %eax
	mov	%eax, lba
	push	%si
	mov	$packet, %si
	mov	$0x42, %ah		# extended read
	mov	drive, %dl
	int	$0x13
	pop	%si
	jc	unread
	cmpw	$0xaa55, 0x7dfe
	jne	unmarked
	push	%si
	mov	$found, %si
	call	print
	pop	%si
	mov	drive, %dl
	ljmp	$0, $0x7c00
unread:	mov	$read, %si
	jmp	fail
unmarked: mov	$mark, %si
fail:	call	print
	jmp	off

	.include "serial.inc"

found:	.asciz	"ORACLE ok mbr active partition\n"
none:	.asciz	"ORACLE FAIL mbr no active partition\nORACLE VERDICT FAIL mbr\n"
read:	.asciz	"ORACLE FAIL mbr cannot read\nORACLE VERDICT FAIL mbr\n"
mark:	.asciz	"ORACLE FAIL mbr no boot sector\nORACLE VERDICT FAIL mbr\n"
drive:	.byte	0
packet:	.byte	16, 0
	.word	1, 0x7c00, 0
lba:	.long	0, 0
