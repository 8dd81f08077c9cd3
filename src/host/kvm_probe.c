/*
 * kvm_probe.c: does a guest really run under KVM?
 *
 * Some machines have /dev/kvm and a CPU that claims vmx or svm, and yet guests hang: nested
 * virtualization without its second half. So a guest of one boot sector is run. It switches to
 * protected mode with paging, for real mode alone is emulated in software and would prove little,
 * and writes READY to its serial port. Called once by caps.c; blocks up to 10 s.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/caps.h"
#include "loop/child.h"

#define PROBE_WAIT (10 * USEC_PER_SEC)
#define DISK_SIZE  (1 << 20) /* SeaBIOS boots no disk of one sector */
#define SECTOR     512

/*
 * Loaded at 0x7c00.
 *   16 bit:  cli; load GDT from 0x7c50; CR0.PE; far jump to 0x08:0x7c20
 *   32 bit:  DS, SS = 0x10; page directory at 0x10000: first entry maps 4 MiB onto itself;
 *            CR4.PSE, CR3, CR0.PG; then READY\n byte by byte to port 0x3f8; isa-debug-exit; hlt
 */
static const unsigned char code16[] = {
    0xfa,                         /* cli */
    0x31, 0xc0,                   /* xor ax,ax */
    0x8e, 0xd8,                   /* mov ds,ax */
    0x0f, 0x01, 0x16, 0x80, 0x7c, /* lgdt [0x7c80] */
    0x0f, 0x20, 0xc0,             /* mov eax,cr0 */
    0x0c, 0x01,                   /* or al,1 */
    0x0f, 0x22, 0xc0,             /* mov cr0,eax */
    0xea, 0x20, 0x7c, 0x08, 0x00, /* jmp 0x08:0x7c20 */
};
static const unsigned char code32[] = {
    0x66, 0xb8, 0x10, 0x00,             /* mov ax,0x10 */
    0x8e, 0xd8,                         /* mov ds,ax */
    0x8e, 0xd0,                         /* mov ss,ax */
    0xc7, 0x05, 0x00, 0x00, 0x01, 0x00, /* mov dword [0x10000], */
    0x83, 0x00, 0x00, 0x00,             /*   0x83 (present, writable, 4 MiB) */
    0x0f, 0x20, 0xe0,                   /* mov eax,cr4 */
    0x0c, 0x10,                         /* or al,0x10 (PSE) */
    0x0f, 0x22, 0xe0,                   /* mov cr4,eax */
    0xb8, 0x00, 0x00, 0x01, 0x00,       /* mov eax,0x10000 */
    0x0f, 0x22, 0xd8,                   /* mov cr3,eax */
    0x0f, 0x20, 0xc0,                   /* mov eax,cr0 */
    0x0d, 0x00, 0x00, 0x00, 0x80,       /* or eax,0x80000000 */
    0x0f, 0x22, 0xc0,                   /* mov cr0,eax */
    0xbe, 0xa0, 0x7c, 0x00, 0x00,       /* mov esi,0x7ca0 */
    0x66, 0xba, 0xf8, 0x03,             /* mov dx,0x3f8 */
    0xac,                               /* next: lodsb */
    0x84, 0xc0,                         /* test al,al */
    0x74, 0x03,                         /* jz done */
    0xee,                               /* out dx,al */
    0xeb, 0xf8,                         /* jmp next */
    0x66, 0xba, 0xf4, 0x00,             /* done: mov dx,0xf4 */
    0xee,                               /* out dx,al: isa-debug-exit */
    0xf4,                               /* hlt */
    0xeb, 0xfd,                         /* jmp hlt */
};
static const unsigned char gdt_pointer[] = {0x17, 0x00, 0x86, 0x7c, 0x00, 0x00};
static const unsigned char gdt[] = {
    0,    0,    0, 0, 0, 0,    0,    0, /* null */
    0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0, /* 0x08: code, 4 GiB */
    0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0, /* 0x10: data, 4 GiB */
};
static const char message[] = "READY\n";

static int write_disk(const char *path)
{
    unsigned char sector[SECTOR] = {0};
    memcpy(sector, code16, sizeof(code16));
    memcpy(sector + 0x20, code32, sizeof(code32));
    memcpy(sector + 0x80, gdt_pointer, sizeof(gdt_pointer));
    memcpy(sector + 0x86, gdt, sizeof(gdt));
    memcpy(sector + 0xa0, message, sizeof(message));
    sector[510] = 0x55;
    sector[511] = 0xaa;
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, DISK_SIZE) < 0)
        return -errno;
    return fd_pwrite_all(fd, sector, sizeof(sector), 0);
}

static struct err *run_guest(const char *qemu, const char *accel, const char *disk,
                             struct buf *ret_out)
{
    _cleanup_(freep) char *drive = mem_printf("if=ide,format=raw,file=%s", disk);
    const char *argv[] = {qemu,
                          "-nodefaults",
                          "-no-user-config",
                          "-display",
                          "none",
                          "-machine",
                          "q35",
                          "-accel",
                          accel,
                          "-cpu",
                          "max",
                          "-m",
                          "32",
                          "-serial",
                          "stdio",
                          "-device",
                          "isa-debug-exit,iobase=0xf4",
                          "-drive",
                          drive,
                          "-no-reboot",
                          NULL};
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    return child_run(&spec, PROBE_WAIT, ret_out, NULL, &how);
}

/* The same guest under any accelerator, so that tests can run it where KVM is missing. */
int probe_guest(const char *qemu, const char *accel, const char *dir, char **ret_reason)
{
    _cleanup_(freep) char *disk = mem_printf("%s/probe-%d.img", dir, (int)getpid());
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 4096);
    int r = write_disk(disk);
    _cleanup_(err_freep) struct err *e =
        r < 0 ? err_errno(-r, "cannot write '%s'", disk) : run_guest(qemu, accel, disk, &out);
    (void)unlink(disk);
    if (!e && strstr(buf_str(&out), "READY"))
        return 0;
    *ret_reason = mem_printf("a probe guest did not run under %s", accel);
    return -ENOTSUP;
}

int kvm_probe(const char *qemu, const char *dir, char **ret_reason)
{
    return probe_guest(qemu, "kvm", dir, ret_reason);
}
