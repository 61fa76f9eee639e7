# The first process of a nested systemd, in namespaces of its own: builds a root of its own, goes there, becomes systemd.
# Of the machine's files /usr, /etc and the programs given are there, the folders read-only; systemd empties /tmp and
# /var at its start, and these must not be the machine's. Arguments: folder of units, programs.
set -eu
[ "$$" = 1 ] || { echo "this is for a pid namespace of its own" >&2; exit 1; }
units=$1; shift
mount -t tmpfs -o mode=755 nest /run
cd /run
mkdir -p usr etc proc sys dev run tmp var root home old
for folder in usr etc bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$folder" ]; then
        cp -P "/$folder" .
    elif [ -d "/$folder" ]; then
        mkdir -p "$folder"
        mount --bind "/$folder" "$folder"
        mount -o remount,bind,ro "$folder"
    fi
done
for device in null zero full random urandom tty; do
    : > "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
for program; do
    : > "${program##*/}"
    mount --bind "$program" "${program##*/}"
done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
# Seen from a cgroup namespace its root is this nest's own group.
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mkdir -p run/systemd/system
cp -R -- "$units"/. run/systemd/system/
# What a test sets up lies where an administrator's units do, and none of the machine's are there.
mount -t tmpfs -o mode=755 units etc/systemd/system
# A standard input that never ends.
mkfifo never
ip link set lo up
pivot_root . old
umount -l old
rmdir old
export container=portolan-testbed PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec /lib/systemd/systemd --system --unit=nest.target --log-target=null --default-standard-output=null
