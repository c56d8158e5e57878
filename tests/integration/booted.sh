# The root file system of a small machine, a layer over this one's, and its systemd as the first process.
#
# Runs in namespaces of its own for mounts, processes, cgroups, network and names (see booted.py). What it writes goes
# into memory; kernel settings are read-only, because most of them have no namespace.
# Environment: SCRATCH (a folder), SOURCES (the checkout), PYTHON (the interpreter's prefix), PACKAGES (site-packages).
set -eu

mount -t tmpfs -o mode=755 layers "$SCRATCH"
R=$SCRATCH/root
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$R"
mount -t overlay -o "lowerdir=/,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" root "$R"

mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,ro,bind "$R/proc/sys"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup" || {
    mount -t tmpfs -o mode=755 none "$R/sys/fs/cgroup"
    mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
}
mount -t tmpfs -o mode=755 dev "$R/dev"
for node in null zero full random urandom tty; do
    touch "$R/dev/$node"
    mount --bind "/dev/$node" "$R/dev/$node"
done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
mount -t tmpfs -o mode=755 run "$R/run"

# What the unit's ProtectHome= and PrivateTmp= hide on this machine is elsewhere on that one.
mkdir -p "$R/opt/sources" "$R/opt/python" "$R/opt/schedulerd/bin" "$R/opt/packages"
mount --bind "$SOURCES" "$R/opt/sources"
mount --bind "$PYTHON" "$R/opt/python"
mount --bind "$PACKAGES" "$R/opt/packages"
for program in schedulerd:cli schedctl:ctl; do
    {
        printf '#!/opt/python/bin/python3\nimport sys\nfrom schedulerd.%s import main\n' "${program#*:}"
        printf 'sys.exit(main())\n'
    } > "$R/opt/schedulerd/bin/${program%:*}"
    chmod 755 "$R/opt/schedulerd/bin/${program%:*}"
done
mount -t tmpfs -o mode=1777 tmp "$R/tmp"

# Nothing runs but systemd, its journal and what a test starts.
E=$R/etc/systemd/system
rm -rf "$E" "$R/etc/schedulerd"
mkdir -p "$E"
for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-udevd systemd-udev-trigger; do
    ln -s /dev/null "$E/$unit.service"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' > "$E/tests.target"
echo 0123456789abcdef0123456789abcdef > "$R/etc/machine-id"

cd "$R"
mkdir -p outside
pivot_root . outside
umount -l /outside
# As systemd-nspawn leaves it; without, a service does not see the credentials that are mounted for it.
mount --make-rshared /
exec env -i container=schedulerd-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=tests.target --log-target=journal
