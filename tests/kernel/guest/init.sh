#!/bin/busybox sh
# The first process of a guest: makes a root of the host's (or another) directory and a layer of
# memory over it, lays it out as /settings says, runs /command there, and powers off.
# Three ports lead out: the command's standard output, its standard error, and its status.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
. /settings

for module in $MODULES; do insmod "/modules/$module.ko"; done
tries=0
while set -- /dev/vport*p3; [ ! -c "$1" ] && [ $tries -lt 250 ]; do
	tries=$((tries + 1))
	usleep 20000
done
ports=${1%p3}

# No status on its port is how the host knows that the guest died.
give_up() {
	echo "init: cannot $*" >"${ports%/dev/*}/dev/console"
	poweroff -f
}

mkdir /below /above /new
mount -t virtiofs -o ro root /below || give_up "mount the root"
mount -t tmpfs -o size=75% tmpfs /above
mkdir /above/root /above/root.work /above/modules /above/modules.work
layer() { # LOWER NAME TARGET
	mount -t overlay -o "lowerdir=$1,upperdir=/above/$2,workdir=/above/$2.work" overlay "$3" ||
		give_up "layer $3"
}
layer /below root /new

for share in $SHARES; do # TAG:DIRECTORY
	mkdir -p "/new${share#*:}"
	mount -t virtiofs -o ro "${share%%:*}" "/new${share#*:}" || give_up "mount ${share#*:}"
done

kernel=/new$KERNEL
mkdir -p /new/lib/modules
layer "$kernel/$MODULES_DIRECTORY" modules /new/lib/modules
if [ "$HEADERS" ]; then
	[ -d "$kernel/usr/src" ] && mkdir -p /new/usr/src && mount --bind "$kernel/usr/src" /new/usr/src
else
	rm -f /new/lib/modules/*/build /new/lib/modules/*/source
fi

for directory in proc sys dev; do
	mkdir -p /new/$directory
	mount --move /$directory /new/$directory
done
ports=/new$ports
cd /new/dev
mkdir -p pts shm
mount -t devpts devpts pts
mount -t tmpfs tmpfs shm
ln -sf /proc/self/fd fd
ln -sf fd/0 stdin
ln -sf fd/1 stdout
ln -sf fd/2 stderr
cd /
mkdir -p /new/run /new/tmp
mount -t tmpfs tmpfs /new/run
mount -t bpf bpf /new/sys/fs/bpf
[ "$BTF" ] || mount -t tmpfs tmpfs /new/sys/kernel/btf || give_up "hide the BTF"
if [ "$TRACEFS" ]; then
	mount -t tracefs tracefs /new/sys/kernel/tracing || give_up "mount tracefs"
	mount -t debugfs debugfs /new/sys/kernel/debug
fi
groups=/new/sys/fs/cgroup
if [ "$CGROUP" != v2 ]; then
	mount -t tmpfs tmpfs $groups
	for controller in cpu cpuacct memory pids; do
		mkdir $groups/$controller
		mount -t cgroup -o $controller cgroup $groups/$controller 2>/dev/null || rmdir $groups/$controller
	done
	[ -d $groups/pids ] || give_up "mount cgroup v1"
	groups=$groups/unified
fi
if [ "$CGROUP" != v1 ]; then
	mkdir -p $groups
	mount -t cgroup2 cgroup2 $groups || give_up "mount cgroup v2"
fi
ip link set lo up

cp /command /new/run/command
chroot /new /bin/sh /run/command </stdin >"${ports}p1" 2>"${ports}p2"
status=$?
sync
echo $status >"${ports}p3"
poweroff -f
