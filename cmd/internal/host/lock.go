package host

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"flanneld/pkg/smallfile"
)

// maxLock bounds the name of a lock, in bytes (sun_path, without its first zero).
const maxLock = 107

// lockPrefix is what the names of all locks begin with.
const lockPrefix = "@flanneld network "

// mostSockets bounds the kernel's list of unix sockets, in bytes: a line has some 80.
const mostSockets = 16 << 20

// Locked returns the etcd prefixes whose networks daemons on this host have, as the kernel
// tells anybody.
func Locked() (prefixes []string, err error) {
	list, err := smallfile.Read("/proc/net/unix", mostSockets)
	for line := range strings.Lines(string(list)) {
		if _, prefix, ok := strings.Cut(line, " "+lockPrefix); ok {
			prefixes = append(prefixes, strings.TrimSuffix(prefix, "\n"))
		}
	}
	slices.Sort(prefixes)
	return slices.Compact(prefixes), err
}

// Locks reports whether what Locked returned has an etcd prefix in it.
func Locks(locked []string, etcdPrefix string) bool {
	return slices.Contains(locked, strings.TrimPrefix(lockName(etcdPrefix), lockPrefix))
}

// LockNetwork makes the network below an etcd prefix this process's own on this host until
// release is called. It is an error if another daemon has it: both would publish one
// PublicIP, and each would take the other's lease.
//
// The lock is an abstract socket (unix(7)). It belongs to the network namespace, as what
// is forwarded does, goes with the process, and tells whoever connects which process that
// is. Any user can bind it, so one who may not change the network stops no daemon by it.
func LockNetwork(etcdPrefix string, log *slog.Logger) (release func(), err error) {
	at := &net.UnixAddr{Name: lockName(etcdPrefix), Net: "unix"}
	for range 3 { // the other may end between the two looks
		var l *net.UnixListener
		if l, err = net.ListenUnix("unix", at); err == nil {
			return answer(l), nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		var who *unix.Ucred
		if who, err = holder(at); err != nil {
			continue
		}
		if !trusted(who) {
			err = fmt.Errorf("process %d of user %d has it, who may not change the network", who.Pid, who.Uid)
			break
		}
		return nil, fmt.Errorf("another flanneld runs on this host: process %d has the network below %s "+
			"(stop it, or give each its own --etcd-prefix, --state-dir and --subnet-file)", who.Pid, etcdPrefix)
	}
	log.Warn("Cannot lock the network against a second daemon on this host; going on without the lock", "err", err)
	return func() {}, nil
}

// lockName returns the lock's address. A prefix that is too long is known by its hash.
func lockName(etcdPrefix string) string {
	if name := lockPrefix + etcdPrefix; len(name) <= maxLock {
		return name
	}
	return fmt.Sprintf(lockPrefix+"%x", sha256.Sum256([]byte(etcdPrefix)))
}

// answer accepts connections, for those who ask whose the lock is: a queue that nobody
// empties would be full some day, and then give no answer.
func answer(l *net.UnixListener) (release func()) {
	var g sync.WaitGroup
	g.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	return func() {
		_ = l.Close()
		g.Wait()
	}
}

// holder returns who listens there. The process is 0 if it is in a PID namespace that this
// one cannot see.
func holder(at *net.UnixAddr) (who *unix.Ucred, err error) {
	c, err := net.DialUnix("unix", nil, at)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	if failed := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); failed != nil {
		return nil, failed
	}
	return who, err
}

// trusted reports whether a process may be a daemon like this one.
func trusted(who *unix.Ucred) bool {
	if who.Uid == 0 || int(who.Uid) == os.Geteuid() {
		return true
	}
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: who.Pid}
	return who.Pid != 0 && unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}
