/* Tests of src/host/sr*: repositories in folders, on the simulated data path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/sim.h"
#include "host/sr.h"
#include "host/sr_tune.h"

#define SR  "11111111-2222-4333-8444-555555555555"
#define VDI "99999999-2222-4333-8444-555555555555"

struct fixture {
    char dir[32];
    struct host *h;
    struct val *config;
    struct sr_ref sr;
    struct verb v;
};

static int setup(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    strcpy(x->dir, "/tmp/cairn-sr-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    struct host_config c = {.run_dir = x->dir, .simulate = true};
    assert_null(host_new(&c, &x->h));
    x->config = val_map();
    _cleanup_(freep) char *location = mem_printf("%s/sr", x->dir);
    val_put_str(x->config, "location", location);
    x->sr = (struct sr_ref){.uuid = SR, .type = "file", .device_config = x->config};
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    host_free(x->h);
    val_unref(x->config);
    fd_remove_tree(x->dir);
    free(x);
    return 0;
}

static void assert_code(struct err *e, const char *code)
{
    assert_non_null(e);
    assert_string_equal(err_code(e), code);
    err_free(e);
}

static void touch(struct fixture *x, const char *name, size_t size)
{
    _cleanup_(freep) char *path = mem_printf("%s/sr/%s", x->dir, name);
    _cleanup_(freep) char *bytes = mem_zalloc(size + 1, 1);
    assert_int_equal(fd_replace_file(path, bytes, size, 0600), 0);
}

static bool exists(struct fixture *x, const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/sr/%s", x->dir, name);
    return access(path, F_OK) == 0;
}

static void a_disk_is_made_found_grown_and_removed(void **state)
{
    struct fixture *x = *state;
    struct sr_volume vol = {0}, *found = NULL;
    size_t n = 0;
    assert_null(sr_create(x->h, &x->v, &x->sr));
    assert_null(sr_attach(x->h, &x->v, &x->sr));
    assert_null(sr_vdi_create(x->h, &x->v, &x->sr, VDI, 3 << 20, NULL, &vol));
    assert_string_equal(vol.location, VDI ".vhd");
    assert_int_equal(vol.virtual_bytes, 4 << 20); /* VHD grows in 2 MiB */
    sr_volume_done(&vol);
    assert_null(sr_vdi_resize(x->h, &x->v, &x->sr, VDI ".vhd", 6 << 20, &vol));
    assert_int_equal(vol.virtual_bytes, 6 << 20);
    sr_volume_done(&vol);
    assert_code(sr_vdi_resize(x->h, &x->v, &x->sr, VDI ".vhd", 1 << 20, &vol),
                "SR_BACKEND_FAILURE_79");
    assert_null(sr_scan(x->h, &x->v, &x->sr, &found, &n));
    assert_int_equal(n, 1);
    assert_string_equal(found[0].uuid, VDI);
    sr_volumes_free(found, n);
    assert_null(sr_vdi_delete(x->h, &x->v, &x->sr, VDI ".vhd"));
    assert_null(sr_vdi_delete(x->h, &x->v, &x->sr, VDI ".vhd"));
    assert_code(sr_vdi_info(x->h, &x->sr, VDI ".vhd", &vol), "SR_BACKEND_FAILURE_46");
}

static void raw_disks_are_asked_for_by_type(void **state)
{
    struct fixture *x = *state;
    struct sr_volume vol = {0};
    _cleanup_(val_unrefp) struct val *sm = val_map();
    val_put_str(sm, "type", "raw");
    assert_null(sr_create(x->h, &x->v, &x->sr));
    assert_null(sr_vdi_create(x->h, &x->v, &x->sr, VDI, 1 << 20, sm, &vol));
    assert_string_equal(vol.location, VDI ".raw");
    assert_string_equal(vol.format, "raw");
    sr_volume_done(&vol);
}

static void creating_again_gives_the_same_disk(void **state)
{
    struct fixture *x = *state;
    struct sr_volume vol = {0};
    assert_null(sr_create(x->h, &x->v, &x->sr));
    for (int i = 0; i < 2; i++) {
        assert_null(sr_vdi_create(x->h, &x->v, &x->sr, VDI, 2 << 20, NULL, &vol));
        sr_volume_done(&vol);
    }
    sim_fail(x->h, "create", 1);
    struct err *e = sr_vdi_create(x->h, &x->v, &x->sr, SR, 2 << 20, NULL, &vol);
    assert_code(e, "SR_BACKEND_FAILURE_78");
    assert_false(exists(x, SR ".vhd"));
    assert_false(exists(x, SR ".vhd.part"));
}

static void bad_names_and_sizes_are_refused(void **state)
{
    static const char *const names[] = {"../x.vhd", ".x.vhd", "x", "", "a/b.vhd"};
    struct fixture *x = *state;
    struct sr_volume vol = {0};
    assert_null(sr_create(x->h, &x->v, &x->sr));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_code(sr_vdi_delete(x->h, &x->v, &x->sr, names[i]), "SR_BACKEND_FAILURE_46");
    assert_code(sr_vdi_create(x->h, &x->v, &x->sr, VDI, 0, NULL, &vol), "SR_BACKEND_FAILURE_79");
    assert_code(sr_vdi_create(x->h, &x->v, &x->sr, VDI, 16382ULL << 30, NULL, &vol),
                "SR_BACKEND_FAILURE_79");
    val_put_str(x->config, "preferred-image-formats", "vhd");
    assert_code(sr_vdi_create(x->h, &x->v, &x->sr, VDI, 2041ULL << 30, NULL, &vol),
                "SR_BACKEND_FAILURE_79");
    val_put_str(x->config, "location", "sr");
    assert_code(sr_attach(x->h, &x->v, &x->sr), "SR_BACKEND_FAILURE_94");
    x->sr.type = "floppy";
    assert_code(sr_attach(x->h, &x->v, &x->sr), "SR_UNKNOWN_DRIVER");
}

static void half_made_disks_go_at_attach_and_strangers_stay(void **state)
{
    struct fixture *x = *state;
    assert_null(sr_create(x->h, &x->v, &x->sr));
    touch(x, VDI ".vhd.part", 10);
    touch(x, "notes.txt", 10);
    assert_null(sr_attach(x->h, &x->v, &x->sr));
    assert_false(exists(x, VDI ".vhd.part"));
    assert_null(sr_destroy(x->h, &x->v, &x->sr));
    assert_true(exists(x, "notes.txt"));
    assert_false(exists(x, ".cairn-sr"));
}

static void probe_tells_whose_folder_it_is(void **state)
{
    struct fixture *x = *state;
    char *xml = NULL;
    assert_null(sr_probe(x->h, &x->v, &x->sr, &xml));
    assert_null(strstr(xml, "UUID"));
    free(xml);
    assert_null(sr_create(x->h, &x->v, &x->sr));
    assert_null(sr_probe(x->h, &x->v, &x->sr, &xml));
    assert_non_null(strstr(xml, SR));
    free(xml);
}

static void a_device_needs_privileges_and_is_examined(void **state)
{
    struct fixture *x = *state;
    _cleanup_(val_unrefp) struct val *config = val_map();
    struct sr_ref ext = {.uuid = SR, .type = "ext", .device_config = config};
    assert_code(sr_create(x->h, &x->v, &ext), "SR_BACKEND_FAILURE_90");
    val_put_str(config, "device", "/dev/null");
    assert_code(sr_create(x->h, &x->v, &ext), "SR_BACKEND_FAILURE_91");
    val_put_str(config, "force", "true");
    assert_code(sr_create(x->h, &x->v, &ext), "SR_BACKEND_FAILURE_57");
}

static void an_iso_library_lists_images(void **state)
{
    struct fixture *x = *state;
    struct sr_volume *found = NULL, one = {0};
    size_t n = 0;
    assert_null(sr_create(x->h, &x->v, &x->sr));
    touch(x, "debian.ISO", 4096);
    touch(x, "readme.txt", 4096);
    struct sr_ref iso = {.uuid = SR, .type = "iso", .device_config = x->config};
    assert_null(sr_attach(x->h, &x->v, &iso));
    assert_null(sr_scan(x->h, &x->v, &iso, &found, &n));
    assert_int_equal(n, 1);
    assert_string_equal(found[0].location, "debian.ISO");
    assert_true(found[0].readonly);
    sr_volumes_free(found, n);
    assert_code(sr_vdi_info(x->h, &iso, "readme.txt", &one), "SR_BACKEND_FAILURE_46");
    assert_code(sr_vdi_delete(x->h, &x->v, &iso, "readme.txt"), "SR_BACKEND_FAILURE_46");
    assert_null(sr_vdi_delete(x->h, &x->v, &iso, "debian.ISO"));
    assert_code(sr_vdi_info(x->h, &iso, "debian.ISO", &one), "SR_BACKEND_FAILURE_46");
}

static void an_iso_library_takes_images(void **state)
{
    struct fixture *x = *state;
    struct sr_volume one = {0};
    struct sr_ref iso = {.uuid = SR, .type = "iso", .device_config = x->config};
    _cleanup_(val_unrefp) struct val *named = val_map(), *outside = val_map();
    assert_null(sr_create(x->h, &x->v, &x->sr));
    val_put_str(named, "path", "new.iso");
    val_put_str(outside, "path", "../new.iso");
    assert_null(sr_vdi_create(x->h, &x->v, &iso, SR, 8192, named, &one));
    assert_string_equal(one.location, "new.iso");
    assert_int_equal(one.virtual_bytes, 8192);
    sr_volume_done(&one);
    assert_code(sr_vdi_create(x->h, &x->v, &iso, SR, 8192, named, &one), "SR_BACKEND_FAILURE_43");
    assert_code(sr_vdi_create(x->h, &x->v, &iso, SR, 8192, outside, &one),
                "SR_BACKEND_FAILURE_221");
}

static void what_is_known_of_a_device_reaches_the_data_path(void **state)
{
    struct fixture *x = *state;
    _cleanup_(val_unrefp) struct val *config = val_map(), *bare = val_map(), *said = val_map();
    struct image image = {0};
    sr_tune_image(x->h, SR, config, &image);
    sr_tune_request(&image, bare);
    assert_null(val_map_get(bare, "split"));
    assert_int_equal(val_get_int(val_map_get(val_map_get(bare, "budget"), "bytes")),
                     SR_TUNE_BUDGET);
    val_put_str(config, "io-split", "65536");
    val_put_str(config, "io-budget", "8388608");
    sr_tune_image(x->h, SR, config, &image);
    sr_tune_request(&image, said);
    assert_int_equal(val_get_int(val_map_get(said, "split")), 65536);
    const struct val *budget = val_map_get(said, "budget");
    assert_int_equal(val_get_int(val_map_get(budget, "bytes")), 8388608);
    assert_non_null(strstr(val_map_str(budget, "path", ""), SR));
    /* Nonsense is as if it was not there; a budget of nothing is none. */
    val_put_str(config, "io-split", "1000");
    val_put_str(config, "io-budget", "0");
    sr_tune_image(x->h, SR, config, &image);
    assert_int_equal(image.split, 0);
    assert_int_equal(image.budget_bytes, 0);
    image_done(&image);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_disk_is_made_found_grown_and_removed),
        TEST(raw_disks_are_asked_for_by_type),
        TEST(creating_again_gives_the_same_disk),
        TEST(bad_names_and_sizes_are_refused),
        TEST(half_made_disks_go_at_attach_and_strangers_stay),
        TEST(probe_tells_whose_folder_it_is),
        TEST(a_device_needs_privileges_and_is_examined),
        TEST(an_iso_library_lists_images),
        TEST(an_iso_library_takes_images),
        TEST(what_is_known_of_a_device_reaches_the_data_path),
    };
    return cmocka_run_group_tests_name("sr", tests, NULL, NULL);
}
