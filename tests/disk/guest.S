/*
 * guest.S: a guest in one sector, for tests of the disk under a real QEMU.
 *
 * Boots from the disk under test. For n = 0, 1, 2 …: fills 8 sectors with n+1, writes them through
 * the BIOS (SeaBIOS' virtio-blk driver) to sector 2048 + (n mod 4096) * 8, reads them back, compares,
 * and says so on the serial port: '.' for each round, 'E' for an error of the BIOS, 'D' for a
 * difference. What was written 300 rounds before must still be there, too. Then reads the sectors
 * just read once more, to page 16 + (n mod 64) of memory, which it never touches itself: only the
 * device changes these. A newline and n in hexadecimal after each 64 rounds.
 */
        .equ    BACK, 300
        .code16
        .globl _start
_start:
        ljmp    $0, $1f
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        movb    %dl, drive
        movb    $'B', %al
        call    putc
        xorl    %ebx, %ebx              /* n */

round:
        leal    1(%ebx), %eax
        movw    $0x8000, %di
        movw    $1024, %cx
        cld
        rep stosl
        movl    %ebx, %eax
        call    place
        movb    $0x43, %ah              /* write */
        call    transfer
        jc      failed
        movw    $0x8000, %di
        movw    $1024, %cx
        xorl    %eax, %eax
        rep stosl
        movb    $0x42, %ah              /* read */
        call    transfer
        jc      failed
        leal    1(%ebx), %eax
        movw    $0x8000, %di
        movw    $1024, %cx
        repe scasl
        jne     differs
        movl    %ebx, %eax
        subl    $BACK, %eax
        jb      5f
        pushl   %eax
        call    place
        movb    $0x42, %ah
        call    transfer
        popl    %eax
        jc      failed
        incl    %eax
        movw    $0x8000, %di
        movw    $1024, %cx
        repe scasl
        jne     differs
        movl    %ebx, %eax
        call    place
5:      movl    %ebx, %eax
        andw    $63, %ax
        shlw    $8, %ax
        addw    $0x1000, %ax
        movw    $0, offset
        movw    %ax, segment
        movb    $0x42, %ah
        call    transfer
        movw    $0x8000, offset
        movw    $0, segment
        jc      failed
        movb    $'.', %al
report: call    putc
        incl    %ebx
        testb   $63, %bl
        jnz     round
        movl    %ebx, %edx
        movw    $8, %cx
2:      roll    $4, %edx
        movb    %dl, %al
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     3f
        addb    $39, %al
3:      call    putc
        loop    2b
        movb    $'\n', %al
        call    putc
        jmp     round
failed: movb    $'E', %al
        jmp     report
differs: movb   $'D', %al
        jmp     report

place:                                  /* eax: a round; changes eax */
        andl    $4095, %eax
        shll    $3, %eax
        addl    $2048, %eax
        movl    %eax, lba
        ret

transfer:                               /* ah: function; carry: failed */
        xorb    %al, %al
        movb    drive, %dl
        movw    $packet, %si
        pushl   %ebx
        int     $0x13
        popl    %ebx
        ret

putc:   pushw   %dx
        pushw   %ax
        movw    $0x3fd, %dx
4:      inb     %dx, %al
        testb   $0x20, %al
        jz      4b
        popw    %ax
        movw    $0x3f8, %dx
        outb    %al, %dx
        popw    %dx
        ret

        .balign 4
packet: .byte   16, 0
        .word   8                       /* sectors */
offset: .word   0x8000
segment: .word  0
lba:    .long   0, 0
drive:  .byte   0
        .org    510
        .word   0xaa55
