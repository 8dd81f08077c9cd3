/*
 * disk_tree.h: a tree of images in memory, worked on by random operations, and beside it what every
 * disk must read: the model.
 *
 * One leaf is open and written; snapshots, merges, other leaves, growth, death and power cuts
 * happen around it. A mistake ends the program with a message that names seed and step. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/image.h"

struct tree_options {
    uint64_t seed;
    uint64_t steps;
    unsigned crash_each; /* a power cut about every so many steps; 0: none */
    bool devices;        /* images live on devices full of rubbish */
    bool raw_root;
    enum image_format format; /* of all images but a raw root */
};

struct tree_counts {
    uint64_t steps, power_cuts, kills, snapshots, merges, deepest;
};

struct tree_counts tree_run(const struct tree_options *o);
