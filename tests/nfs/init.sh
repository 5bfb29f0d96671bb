#!/bin/bash
# The first program of the user-mode kernel that kernel.py starts: an NFS server, two clients of it, then the command.
#
# The second client is a host of its own, as far as NFS can tell: another network, another host name, another client id.
# Its processes get there with `nsenter --net=/run/netns/second --uts=/run/second`; mounts are seen by all.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc && mount -t sysfs sys /sys
for place in /run /mnt /var/lib/nfs; do mount -t tmpfs memory "$place"; done
mkdir -p /dev/shm && mount -t tmpfs memory /dev/shm
mount --bind /usr/lib/uml/modules /lib/modules
for module in nfsd nfs nfsv4 veth; do modprobe "$module"; done
hostname first
ip link set lo up

mkdir -p /mnt/export /mnt/a /mnt/b /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /var/lib/nfs/sm
touch /var/lib/nfs/{etab,rmtab,xtab}
mount -t tmpfs export /mnt/export
mount -t nfsd nfsd /proc/fs/nfsd
echo 10 > /proc/fs/nfsd/nfsv4leasetime
rpcbind -w
exportfs -o rw,no_root_squash,insecure,fsid=0,no_subtree_check 127.0.0.0/8:/mnt/export 10.9.0.0/24:/mnt/export
rpc.mountd 2>/dev/null
# NFS 3 brings a lock manager along, and for its 50 seconds of grace nobody would get a lock. There is nothing to reclaim.
rpc.nfsd --no-nfs-version 3 4
echo Y > /proc/fs/nfsd/v4_end_grace

ip netns add second
ip link add first type veth peer name second netns second
ip address add 10.9.0.1/24 dev first && ip link set first up
ip -n second address add 10.9.0.2/24 dev second && ip -n second link set second up && ip -n second link set lo up
touch /run/second && unshare --uts=/run/second hostname second

source "$NFS_WORK/environment"
export NFS_A=/mnt/a NFS_B=/mnt/b TMPDIR="$NFS_WORK/temporary"
options=vers=4.2,nosharecache
mount -t nfs -o "$options${NFS_OPTIONS_A:+,$NFS_OPTIONS_A}" 127.0.0.1:/ "$NFS_A"
nsenter --net=/run/netns/second --uts=/run/second \
    mount -t nfs -o "$options${NFS_OPTIONS_B:+,$NFS_OPTIONS_B}" 10.9.0.1:/ "$NFS_B"
if [ "$(grep -c ' nfs4 ' /proc/mounts)" = 2 ]; then
    # Not `exec`: a first program that ends is a kernel that panics.
    timeout --kill-after 5 "$NFS_SECONDS" bash "$NFS_WORK/command" </dev/null > "$NFS_WORK/output" 2>&1
    echo $? > "$NFS_WORK/status"
fi
sync
poweroff -f
