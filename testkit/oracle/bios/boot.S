# The boot code in the boot sector of an NTFS volume, behind its parameters: looks
# whether they are those of an NTFS that begins where the partition does. The
# entry of the partition is at %si.
	.code16
	.text
	.globl	_start
_start:
	cmpl	$0x5346544e, 0x7c03	# "NTFS"
	jne	bad
	mov	0x7c1c, %eax		# hidden sectors
	cmp	%eax, 8(%si)
	jne	bad
	cmpw	$512, 0x7c0b
	jne	bad
	mov	$good, %si
	jmp	say
bad:	mov	$wrong, %si
say:	call	print
	jmp	off

	.include "serial.inc"

good:	.asciz	"ORACLE ok boot-sector NTFS at its partition\nORACLE VERDICT PASS\n"
wrong:	.asciz	"ORACLE FAIL boot-sector no NTFS that begins here\nORACLE VERDICT FAIL boot-sector\n"
