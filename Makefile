# The front door; the work is done by Meson and tools/. `make help` lists the targets.
.PHONY: help deps build up down test bench bench-control bench-storage bench-flood storm fuzz torture-real docs install check-all clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

deps: ## install what is missing, from Debian's packages
	@tools/deps

build: deps ## compile into build/
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build

up: ## install what is missing, build, start a host and a demo guest
	@CAIRN_DEPS=run tools/deps
	@tools/up

down: ## stop what `make up` started
	@tools/down

test: ## every test of the gate; last line `N passed, N failed`
	@tools/deps
	@tools/test

bench: ## the benchmarks as tables
	@tools/deps
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build >/dev/null
	@bench/run

bench-control: ## the control plane with 1000 VMs, beside libvirt's test driver
	@CAIRN_DEPS=peers tools/deps
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build >/dev/null
	@bench/control

bench-storage: ## the data path beside fio, qemu-storage-daemon and qemu-nbd
	@tools/deps
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build >/dev/null
	@bench/storage/run

bench-flood: ## a normal client beside ten thousand connections that say next to nothing
	@[ -f build/build.ninja ] || meson setup build >/dev/null
	@ninja -C build >/dev/null
	@bench/flood

storm: ## ten million requests that nobody would send, at a host with sanitizers
	@tools/storm

fuzz: ## each fuzz target for 60 s (clang)
	@CAIRN_DEPS=extra tools/deps
	@tools/fuzz 60

torture-real: build ## break every step of every operation on real guests
	@CAIRN_TORTURE=all /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/real/test_torture.py tests/real/test_volume_kills.py

docs: ## check the documentation and generate its generated pages
	@tools/docs

check-all: ## what CI leaves out: clang, cairn-diskd under TSan, coverage, a bare Debian root
	@CAIRN_DEPS=extra tools/deps
	@tools/check-all

install: build ## install under DESTDIR
	@meson install -C build --destdir "$(DESTDIR)"

clean: ## remove build folders
	@rm -rf build build-*

.PHONY: disk-torture
disk-torture: build ## a million steps on trees of images against a model; 10,000 power cuts
	build/tests/unit/test_disk_tree 1000000 1000 0
	build/tests/unit/test_disk_tree 80000 5000 8
	build/tests/unit/test_disk_tree 200000 1000 0 qcow2
	build/tests/unit/test_disk_tree 20000 5000 8 qcow2

.PHONY: kills
kills: build ## kill cairn-diskd 1000 times under load: no error, no wrong byte
	@CAIRN_KILLS=1000 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/disk/test_kills.py

.PHONY: power-cuts
power-cuts: build ## 10,000 power cuts of cairn-diskd under load, on a file system that records
	@CAIRN_POWER_CUTS=10000 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/disk/test_power_cuts.py

.PHONY: verify
verify: build ## guests that write and compare on every kind of repository, twenty times over
	@CAIRN_VERIFY_ROUNDS=20 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/real/test_verify.py
