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

// idle fails if a host's daemon and the programs that it runs use more than so many
// percent of one processor within the time.
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

// processorTime is what a process, and those that it started and that have ended, have
// used until when; zero if there is none.
func processorTime(pid int) (time.Duration, time.Time) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, time.Now()
	}
	// proc_pid_stat(5): the name in brackets can hold anything; utime, stime and those
	// of children are fields 14 to 17, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var sum int
	for _, field := range fields[11:15] {
		n, _ := strconv.Atoi(field)
		sum += n
	}
	return time.Duration(sum) * 10 * time.Millisecond, time.Now()
}
