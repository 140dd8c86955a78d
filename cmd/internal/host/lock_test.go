package host

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/glog"
	"flanneld/pkg/netlab/labtest"
)

// holds is the variable by which the test's own program holds the lock of a prefix, once
// it has said so, until its input ends.
const holds = "HOST_TEST_HOLDS"

func TestMain(m *testing.M) {
	if prefix := os.Getenv(holds); prefix != "" {
		release, err := LockNetwork(prefix, slog.New(slog.DiscardHandler))
		fmt.Println(err)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		if err == nil {
			release()
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hold has another process hold the lock, one of this user if it is zero, until the
// function that it returns is called, which kills the process.
func hold(t *testing.T, prefix string, uid uint32, caps ...uintptr) (pid int, kill func()) {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), holds+"="+prefix)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if uid != 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
		c.SysProcAttr.AmbientCaps = caps
	}
	in, err := c.StdinPipe() // it ends with this process
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		_ = in.Close()
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "<nil>\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return c.Process.Pid, kill
}

func TestOneDaemonPerNetworkAndHost(t *testing.T) {
	labtest.OwnNamespace(t)
	long := "/" + strings.Repeat("long", 100)
	for _, prefix := range []string{"/coreos.com/network", long} {
		pid, kill := hold(t, prefix, 0)
		for range 3 {
			_, err := LockNetwork(prefix, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d has the network below %s ", pid, prefix)) {
				t.Fatalf("LockNetwork = %v, want that process %d has it", err, pid)
			}
		}
		var log bytes.Buffer
		release, err := LockNetwork(prefix+"/other", slog.New(glog.New(&log, nil)))
		if err != nil || log.Len() > 0 {
			t.Errorf("another network: %v, log is %q", err, &log)
		}
		release()
		kill()
		for range 2 { // the second time after a release
			if release, err = LockNetwork(prefix, slog.New(glog.New(&log, nil))); err != nil || log.Len() > 0 {
				t.Fatalf("the other has ended: %v, log is %q", err, &log)
			}
			release()
		}
	}
}

func TestLockIsOfThoseWhoMayChangeTheNetwork(t *testing.T) {
	labtest.OwnNamespace(t)
	const nobody = 65534
	var log bytes.Buffer
	_, kill := hold(t, "/p", nobody)
	release, err := LockNetwork("/p", slog.New(glog.New(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "of user 65534 has it") {
		t.Errorf("a user without privileges has it: %v, log is %q", err, &log)
	}
	release()
	kill()
	hold(t, "/p", nobody, unix.CAP_NET_ADMIN)
	if _, err := LockNetwork("/p", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a user who may change the network has it, and it was taken")
	}
}
