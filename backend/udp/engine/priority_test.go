package engine

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

	"flanneld/pkg/offload"
)

// recorded is a priority that only notes what it would set.
func recorded(usual int) (p *priority, set *[]int) {
	set = new([]int)
	return &priority{usual: usual, setNice: func(nice int) error {
		*set = append(*set, nice)
		return nil
	}}, set
}

func TestPriorityIsForStreams(t *testing.T) {
	single, stream := offload.Header{}, offload.Header{GSOType: offload.GSOTCP4}
	datagrams := offload.Header{GSOType: offload.GSOUDP4}
	type packet struct {
		header offload.Header
		bytes  int
	}
	p, set := recorded(5)
	for _, step := range []struct {
		what    string
		times   int
		packets []packet
		want    []int // of all that was set so far
	}{
		{"single packets", 3 * judged, []packet{{single, 64}}, nil},
		{"many datagrams at once", 3 * judged, []packet{{datagrams, 64 << 10}}, nil},
		{"a stream, not judged yet", judged - 1, []packet{{stream, 64 << 10}}, nil},
		{"a stream", 1, []packet{{stream, 64 << 10}}, []int{raised}},
		{"one with its answers", 3 * judged, []packet{{stream, 64 << 10}, {single, 52}}, []int{raised}},
		{"short writes", 3 * judged, []packet{{stream, 8 << 10}}, []int{raised}},
		{"single packets again", judged, []packet{{single, 1400}}, []int{raised, 5}},
		{"short writes after them", 3 * judged, []packet{{stream, 8 << 10}}, []int{raised, 5}},
		{"another stream", judged, []packet{{stream, 64 << 10}}, []int{raised, 5, raised}},
		{"many datagrams after it", judged, []packet{{datagrams, 64 << 10}}, []int{raised, 5, raised, 5}},
	} {
		for range step.times {
			for _, packet := range step.packets {
				p.moved(packet.header, packet.bytes)
			}
		}
		if !slices.Equal(*set, step.want) {
			t.Errorf("%s: set %d, want %d", step.what, *set, step.want)
		}
	}
}

// Who is not allowed to does not try again and again.
func TestPriorityMayBeRefused(t *testing.T) {
	p, set := recorded(0)
	p.setNice = nil
	for range 10 * judged {
		p.moved(offload.Header{GSOType: offload.GSOTCP4}, 64<<10)
	}
	p.raise(false)
	if len(*set) != 0 {
		t.Errorf("set %d", *set)
	}
	p, _ = recorded(0)
	p.setNice = func(int) error { return unix.EACCES }
	p.raise(true)
	if p.is {
		t.Error("it is raised by a call that failed")
	}
}

func TestPriorityNeedsARight(t *testing.T) {
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NICE, &limit))
	if limit.Cur >= 20-raised {
		t.Skipf("RLIMIT_NICE is %d: everyone has the right", limit.Cur)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Its thread ends with the goroutine, with the right that it has no more.
		runtime.LockOSThread()
		if err := dropNice(); err != nil {
			t.Error(err)
			return
		}
		usual, err := niceOfThread()
		if err != nil {
			t.Error(err)
			return
		}
		p, err := newPriority()
		if !errors.Is(err, unix.EACCES) || p.setNice != nil {
			t.Errorf("without CAP_SYS_NICE: %v, setNice is set: %t", err, p.setNice != nil)
		}
		if now, _ := niceOfThread(); now != usual {
			t.Errorf("nice %d was made %d", usual, now)
		}
	}()
	<-done
}

// dropNice takes CAP_SYS_NICE from the thread, which RLIMIT_NICE may stand in for.
func dropNice() error {
	const capability = 23 // CAP_SYS_NICE, capabilities(7)
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return err
	}
	d[0].Effective &^= 1 << capability
	d[0].Permitted &^= 1 << capability
	return unix.Capset(&h, &d[0])
}

// The kernel says of the threads of real engines what they have while there is a stream,
// and after it.
func TestThreadsGoFirstWithAStream(t *testing.T) {
	needs(t, "iperf3")
	x, y := newPair(t)
	connect(t, x, y, rung{}, rung{})
	if _, err := newPriority(); err != nil {
		t.Skip("no thread may go first here: ", err)
	}
	usual, err := niceOfThread()
	must(t, err)
	var during []int
	end := make(chan struct{})
	go func() {
		defer close(end)
		deadline := time.Now().Add(10 * time.Second)
		for during = threadsAt(t, raised); len(during) < 2 && time.Now().Before(deadline); during = threadsAt(t, raised) {
			time.Sleep(5 * time.Millisecond)
		}
	}()
	client(t, x.c, y.c, "-t", "2")
	<-end
	if usual > raised && len(during) != 2 {
		t.Errorf("while there was a stream %d threads had nice %d, want one on each side", len(during), raised)
	}
	x.stop()
	y.stop()
	if left := threadsAt(t, raised); usual > raised && len(left) != 0 {
		t.Errorf("threads %d have nice %d after the engines' end", left, raised)
	}
}

// threadsAt returns this process's threads that have a nice value.
func threadsAt(t testing.TB, nice int) (ids []int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, task := range tasks {
		stat, err := os.ReadFile("/proc/self/task/" + task.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The nice value is the 19th field, and the name before the third may have
		// blanks (proc_pid_stat(5)).
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if fields[16] == strconv.Itoa(nice) {
			id, _ := strconv.Atoi(task.Name())
			ids = append(ids, id)
		}
	}
	return ids
}
