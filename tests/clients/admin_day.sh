#!/bin/bash
# admin_day.sh: a day of an administrator, in nothing but xe, xn and the shell.
#
#   PATH=build:$PATH XE_EXTRA_ARGS=server=… tests/clients/admin_day.sh PLUGIN ISO SCRATCH
#
# PLUGIN is an installed host plugin that answers function "echo" with its argument text=, ISO the
# name of a CD image in the ISO library, SCRATCH an empty folder. Prints a line for each thing that
# is as expected, and stops at the first that is not. Leaves the host as it was.
set -eu
plugin=$1 iso=$2 scratch=$3
cd "$scratch"

is() { # is WHAT EXPECTED ACTUAL
    [ "$2" = "$3" ] || { printf 'not ok - %s: expected %q, got %q\n' "$1" "$2" "$3"; exit 1; }
    echo "ok - $1"
}
has() { # has WHAT PATTERN TEXT
    [[ $3 =~ $2 ]] || { printf 'not ok - %s: no %q in %q\n' "$1" "$2" "$3"; exit 1; }
    echo "ok - $1"
}
refused() { # refused WHAT PATTERN COMMAND…: exit status 1, words on standard error alone
    local what=$1 pattern=$2 status=0
    shift 2
    "$@" >out 2>err </dev/null || status=$?
    is "$what: status" 1 "$status"
    has "$what" "$pattern" "$(cat err)"
}

# ---- morning: what is there ----
host=$(xe host-list --minimal)
pool=$(xe pool-list --minimal)
is "the pool's master is the host" "$host" "$(xe pool-param-get uuid="$pool" param-name=master)"
has "host-cpu-info" 'cpu_count +: [0-9]+' "$(xe host-cpu-info)"
has "one CPU line a core" '^[0-9]+(,[0-9]+)*$' "$(xe host-cpu-list params=number --minimal)"
has "the host is enabled" 'enabled \( RO\): true' "$(xe host-param-list uuid="$host")"
sr=$(xe pool-param-get uuid="$pool" param-name=default-SR)
has "the default SR tells its size" '^[0-9]+$' "$(xe sr-param-get uuid="$sr" param-name=physical-size)"
has "templates" 'Debian Bookworm 12' "$(xe template-list params=name-label --minimal)"
is "no task is left from the night" "" "$(xe task-list)"

# ---- a VM from a template ----
vm=$(xe vm-install template="Debian Bookworm 12" new-name-label="day's guest" sr-uuid="$sr")
other=$(xe vm-install template="Other install media" new-name-label=second)
X="day's guest" U=$vm
is "found by name" "$vm" "$(xe vm-list name-label="$X" minimal=true)"
xe vm-memory-limits-set uuid="$vm" static-min=128MiB static-max=512MiB dynamic-min=512MiB dynamic-max=512MiB
is "memory" $((512 << 20)) "$(xe vm-param-get uuid="$vm" param-name=memory-static-max)"
xe vm-param-set uuid="$vm" VCPUs-max=2 VCPUs-at-startup=2 name-description="made today"
xe vm-param-set uuid=$U other-config:pci=0/0000:44:0.0,0/0000:45:0.0
is "pci is stored unchanged" "0/0000:44:0.0,0/0000:45:0.0" \
    "$(xe vm-param-get uuid="$vm" param-name=other-config param-key=pci)"
has "the whole map" '(^|; )pci: 0/0000:44:0\.0,0/0000:45:0\.0(;|$)' \
    "$(xe vm-param-get uuid=$U param-name=other-config params=all)"
is "xn shows the devices in order" "0000:44:00.0 0000:45:00.0 " \
    "$(xn pci-list "$vm" | awk 'NR > 1 { printf "%s ", $3 }')"
refused "a VM with a device that is not there does not start" '0000:44' xe vm-start uuid="$vm"
xe vm-param-remove uuid="$vm" param-name=other-config param-key=pci
is "the first free interface" 0 \
    "$(xe vm-param-get uuid=$U param-name=allowed-VIF-devices | cut -d';' -f1)"

# ---- disks, CDs, a network ----
is "the template's disk is on the SR" "$sr" \
    "$(xe vdi-list uuid="$(xe vbd-list vm-uuid="$vm" type=Disk params=vdi-uuid --minimal)" params=sr-uuid --minimal)"
xe vm-disk-add uuid="$vm" disk-size=8MiB device=1
is "two disks" "Disk 0 VDI: Disk 1 VDI: " "$(xe vm-disk-list uuid="$vm" | grep 'VDI:$' | tr '\n' ' ')"
vdi=$(xe vbd-list vm-uuid="$vm" userdevice=1 params=vdi-uuid --minimal)
xe vdi-param-set uuid="$vdi" name-label="data, of the day"
is "a comma in a name" 'data\, of the day' "$(xe vdi-list uuid="$vdi" params=name-label --minimal)"
xe vdi-resize uuid="$vdi" disk-size=16MiB
xe sr-scan uuid="$(xe sr-list name-label='ISO library' --minimal)"
has "the CD is listed" "$iso" "$(xe cd-list params=name-label --minimal)"
xe vm-cd-add uuid="$other" cd-name="$iso" device=5
is "a CD in a drive of its own" "$iso" \
    "$(xe vbd-list vm-uuid="$other" userdevice=5 params=vdi-name-label --minimal)"
xe vm-cd-remove uuid="$other" cd-name="$iso"
xe vm-cd-insert uuid="$vm" cd-name="$iso"
network=$(xe network-create name-label="network of the day" name-description=test MTU=1400)
vif=$(xe vif-create vm-uuid="$vm" network-uuid="$network" device=0 mac=02:00:00:00:00:01)
is "its address" 02:00:00:00:00:01 "$(xe vm-vif-list uuid="$vm" params=MAC | awk '{ print $NF }' | xargs)"

# ---- running it ----
xe event-wait class=vm uuid="$vm" power-state=running &
waiting=$!
xe vm-start uuid="$vm" --progress 2>/dev/null
wait $waiting
is "event-wait ended when it ran" running "$(xe vm-param-get uuid="$vm" param-name=power-state)"
has "xn lists it" "$vm" "$(xn list)"
refused "starting it again" '^You attempted an operation on a VM that was not in an appropriate' xe vm-start vm="$X"
xe vm-cd-eject uuid="$vm"
is "the drive is empty" true "$(xe vbd-list vm-uuid="$vm" type=CD params=empty --minimal)"
xe vm-cd-insert uuid="$vm" cd-name="$iso"
xe vm-suspend uuid="$vm"
xe vm-resume uuid="$vm"
xe vm-reboot uuid="$vm" force=true
xe vm-shutdown uuid="$vm"
is "it is off" halted "$(xe vm-param-get uuid="$vm" param-name=power-state)"
xe vm-start name-label=second
is "events of another VM do not matter" "" "$(xe event-wait class=vm uuid="$vm" power-state=halted)"
has "several at once" running "$(xe vm-list uuid="$other" params=power-state)"
xe vm-shutdown uuid="$other" --force

# ---- taking it elsewhere ----
xe vm-export uuid="$vm" filename=day.xva
is "the archive begins with what it is about" ova.xml "$(tar -tf day.xva | head -n 1)"
imported=$(xe vm-import filename=day.xva)
is "the copy has the name" "$X" "$(xe vm-param-get uuid="$imported" param-name=name-label)"
is "and as many disks" "$(xe vm-disk-list uuid="$vm" | grep -c 'VDI:$')" \
    "$(xe vm-disk-list uuid="$imported" | grep -c 'VDI:$')"
refused "a file is never overwritten" 'Cannot create the file' xe vm-export uuid="$vm" filename=day.xva
xe vm-uninstall uuid="$imported" force=true >/dev/null
xe vdi-export uuid="$vdi" filename=data.raw format=raw
is "a disk as it is" $((16 << 20)) "$(stat -c %s data.raw)"
xe vdi-import uuid="$vdi" filename=data.raw format=raw

# ---- order of starting ----
appliance=$(xe appliance-create name-label="both of them")
xe vm-param-set uuid="$vm" appliance="$appliance" order=1
xe vm-param-set uuid="$other" appliance="$appliance" order=2
is "members" 2 "$(xe appliance-param-get uuid="$appliance" param-name=VMs | tr ';' '\n' | wc -l)"
xe appliance-start uuid="$appliance"
is "both run" "2" "$(xe vm-list appliance="$appliance" power-state=running --minimal | tr ',' '\n' | wc -l)"
xe appliance-shutdown uuid="$appliance" force=true
is "none runs" "" "$(xe vm-list appliance="$appliance" power-state=running --minimal)"
nightly=$(xe vmss-create name-label=nightly type=snapshot frequency=daily schedule:hour=3 schedule:min=30)
is "the hour" 3 "$(xe vmss-param-get uuid="$nightly" param-name=schedule param-key=hour)"
xe vmss-param-set uuid="$nightly" schedule:hour=4 retained-snapshots=3
is "another hour" 4 "$(xe vmss-param-get uuid="$nightly" param-name=schedule param-key=hour)"
xe vmss-destroy uuid="$nightly"

# ---- plugins, alerts, secrets ----
is "host-call-plugin" "hello, host" \
    "$(xe host-call-plugin host-uuid="$host" plugin="$plugin" fn=echo args:text="hello, host")"
printf 'two\nlines' >text
is "an argument from a file" "two lines" \
    "$(xe host-call-plugin host-uuid="$host" plugin="$plugin" fn=echo args:text:file=text | xargs)"
refused "a plugin that is not there" 'no_such' xe host-call-plugin host-uuid="$host" plugin=no_such fn=f
xe message-create name=LUNCH priority=3 body="back at one" vm-uuid="$vm"
message=$(xe message-list name=LUNCH --minimal)
is "an alert" "back at one" "$(xe message-param-get uuid="$message" param-name=body)"
xe message-destroy uuids="$message"
secret=$(xe secret-create value=s3cret)
is "a secret" s3cret "$(xe secret-param-get uuid="$secret" param-name=value)"
xe secret-destroy uuid="$secret"

# ---- who may ----
has "roles" 'pool-admin' "$(xe role-list params=name --minimal)"
refused "a role that is too low" "role does not allow" \
    env XE_EXTRA_ARGS="${LOW_ARGS:?}" xe vm-start uuid="$vm"
is "but looking is allowed" "$vm" "$(env XE_EXTRA_ARGS="$LOW_ARGS" xe vm-list uuid="$vm" --minimal)"

# ---- mistakes ----
refused "a misspelt command" "Did you mean 'vm-start'" xe vm-strat
refused "a misspelt field" "did you mean 'name-label'" xe vm-list nam-label=x
refused "a wrong uuid" '^The uuid you supplied was invalid.
type: VM
uuid: nonsense$' xe vm-param-list uuid=nonsense
refused "nobody is asked without a terminal" 'force=true' xe vm-uninstall uuid="$vm"
is "nothing was lost" "$vm" "$(xe vm-list uuid="$vm" --minimal)"

# ---- evening ----
xe pool-dump-database file-name=evening.xml
has "the database knows the VM" "$vm" "$(cat evening.xml)"
xe pool-restore-database file-name=evening.xml dry-run=true >/dev/null
copy=$(xe vm-clone uuid="$vm" new-name-label="copy of today")
lost=$(xe vm-uninstall uuid="$copy" force=true)
has "uninstalling tells what goes" "VM : $copy \(copy of today\)" "$lost"
xe vm-uninstall uuid="$vm" force=true >/dev/null
xe vm-uninstall uuid="$other" force=true >/dev/null
xe appliance-destroy uuid="$appliance"
xe network-destroy uuid="$network"
is "its disks went with it" "" "$(xe vdi-list uuid="$vdi" --minimal)"
is "its interface too" "" "$(xe vif-list uuid="$vif" --minimal)"
is "no task is left" "" "$(xe task-list status=pending)"
echo "the day is over"
