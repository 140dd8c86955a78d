package main

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"flanneld/pkg/netlab"
)

// exchanges sends 100 bytes by TCP n times, and waits for as many back. It returns the times,
// sorted, in milliseconds. Both ends are threads that block in system calls: what is measured
// is the way, and not the Go scheduler.
func (t tunnel) exchanges(b *testing.B, n int) []float64 {
	b.Helper()
	const port, size = 7007, 100
	at := &unix.SockaddrInet4{Port: port, Addr: t.to.Web().Addr().Addr().As4()}
	listener := socketIn(b, t.to.Web(), func(fd int) error { return errors.Join(unix.Bind(fd, at), unix.Listen(fd, 1)) })
	defer unix.Close(listener)
	client := socketIn(b, t.from.Web(), func(fd int) error { return unix.Connect(fd, at) })
	defer unix.Close(client)
	server, _, err := unix.Accept(listener)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		runtime.LockOSThread()
		defer unix.Close(server)
		for message := make([]byte, size); ; {
			if got, _, err := unix.Recvfrom(server, message, unix.MSG_WAITALL); err != nil || got < size {
				return // the client is done
			}
			_, _ = unix.Write(server, message) // the client sees that it failed
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	message, ms := make([]byte, size), make([]float64, n)
	for i := range ms {
		began := time.Now()
		_, failed := unix.Write(client, message)
		got, _, err := unix.Recvfrom(client, message, unix.MSG_WAITALL)
		if err = errors.Join(failed, err); err != nil || got < size {
			b.Fatalf("%d bytes of an answer: %v", got, err)
		}
		ms[i] = time.Since(began).Seconds() * 1e3
	}
	slices.Sort(ms)
	return ms
}

// socketIn returns a TCP socket of a container, after do.
func socketIn(b *testing.B, c *netlab.Container, do func(fd int) error) (fd int) {
	b.Helper()
	err := c.Enter(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), do(fd))
	})
	if err != nil {
		b.Fatal(err)
	}
	return fd
}

// busyTime returns for how long the processors have worked, all together (proc_stat(5)).
func busyTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	first, _, _ := strings.Cut(string(stat), "\n")
	var sum time.Duration
	for i, field := range strings.Fields(first)[1:8] { // what follows is in these
		const idle, iowait = 3, 4
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		if i != idle && i != iowait {
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}
