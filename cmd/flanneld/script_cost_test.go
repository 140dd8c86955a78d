package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func costCommands() map[string]command {
	return map[string]command{
		"idle": {"idle <host> <time> <percent>", (*script).idle},
	}
}

// idle fails if a host's daemon uses more than so many percent of one processor
// within the time.
func (s *script) idle(args []string) (string, error) {
	n, err := s.running(args[0])
	if err != nil {
		return "", err
	}
	most, err := strconv.ParseFloat(args[2], 64)
	if err != nil {
		return "", errScript{err}
	}
	before, began := processorTime(n.daemon.Process.Pid)
	if _, err := s.sleep(args[1:2]); err != nil {
		return "", err
	}
	after, ended := processorTime(n.daemon.Process.Pid)
	percent := 100 * float64(after-before) / float64(ended.Sub(began))
	if before == 0 || percent > most {
		return "", fmt.Errorf("flanneld on %s uses %.2f %% of a processor, and %v before", n.Name(), percent, before)
	}
	return fmt.Sprintf("%.2f\n", percent), nil
}

// processorTime is what a process has used until when; zero if there is none.
func processorTime(pid int) (time.Duration, time.Time) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, time.Now()
	}
	// proc_pid_stat(5): the name in brackets can hold anything; utime and stime
	// are fields 14 and 15, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, time.Now()
}
