/* scenario_stream.c: walks whose bytes come from a client or go to one. Called by torture.c through
 * the table of scenario.c, on its only thread. */
#include "scenario_impl.h"

#include <string.h>

#include "base/buf.h"
#include "lab.h"
#include "op/portable/portable.h"

#define STREAM_BYTES (8u << 20)

struct stream {
    size_t at; /* bytes that went through */
    struct lab *lab;
};

static struct buf archive; /* of a VM, for the process */

static struct err *stream_begin(void *arg)
{
    return NULL;
}

static struct err *stream_read(void *arg, void *p, size_t size, size_t *ret)
{
    struct stream *s = arg;
    size_t left = STREAM_BYTES - s->at;
    *ret = size < left ? size : left;
    memset(p, (int)(s->at >> 20) + 1, *ret);
    s->at += *ret;
    return NULL;
}

static struct err *stream_write(void *arg, const void *p, size_t size)
{
    struct stream *s = arg;
    s->at += size;
    return NULL;
}

static struct portable_io stream_io(struct stream *s)
{
    return (struct portable_io){
        .arg = s, .begin = stream_begin, .read = stream_read, .write = stream_write};
}

static struct err *transfer(struct lab *w, msg_fn fn)
{
    struct stream s = {.lab = w};
    return tasks_transfer(
        w->tasks, &(struct run_request){.fn = fn, .args = &s, .label = "transfer", .async = true},
        NULL);
}

static struct err *import_disk(struct op *op, const void *args, struct val **ret)
{
    struct stream *s = (struct stream *)args;
    struct portable_io io = stream_io(s);
    return vdi_import(
        op, &(struct vdi_stream){.sr = s->lab->sr, .size_bytes = STREAM_BYTES, .io = &io}, ret);
}

struct err *run_import_disk(struct lab *w)
{
    return transfer(w, import_disk);
}

static struct err *export_disk(struct op *op, const void *args, struct val **ret)
{
    struct portable_io io = stream_io((struct stream *)args);
    return vdi_export(op,
                      &(struct vdi_stream){.vdi = remembered, .format = PORTABLE_VHD, .io = &io});
}

static struct err *archive_read(void *arg, void *p, size_t size, size_t *ret)
{
    struct stream *s = arg;
    size_t left = archive.size - s->at;
    *ret = size < left ? size : left;
    memcpy(p, archive.data + s->at, *ret);
    s->at += *ret;
    return NULL;
}

static struct err *archive_write(void *arg, const void *p, size_t size)
{
    buf_put(&archive, p, size);
    return NULL;
}

static struct err *export_vm(struct op *op, const void *args, struct val **ret)
{
    struct stream *s = (struct stream *)args;
    struct portable_io io = stream_io(s);
    io.write = archive_write;
    return vm_export(op, &(struct vm_out){.vm = s->lab->vm, .io = &io});
}

struct err *run_export_vm(struct lab *w)
{
    buf_done(&archive);
    buf_init(&archive, 64 << 20);
    return transfer(w, export_vm);
}

struct err *with_archive(struct lab *w)
{
    TRY(lab_make_vm(w));
    return run_export_vm(w);
}

static struct err *import_vm(struct op *op, const void *args, struct val **ret)
{
    struct stream *s = (struct stream *)args;
    struct portable_io io = stream_io(s);
    io.read = archive_read;
    return vm_import(op, &(struct vm_in){.sr = s->lab->sr, .io = &io}, ret);
}

struct err *run_import_vm(struct lab *w)
{
    return transfer(w, import_vm);
}

struct err *run_export_disk(struct lab *w)
{
    return transfer(w, export_disk);
}

static struct err *read_nothing(void *arg, struct op *op, const char *socket)
{
    return NULL;
}

static struct err *serve_disk(struct op *op, const void *args, struct val **ret)
{
    return vdi_serve_nbd(op, &(struct vdi_nbd){.vdi = remembered, .serve = read_nothing});
}

struct err *run_serve_disk(struct lab *w)
{
    return transfer(w, serve_disk);
}
