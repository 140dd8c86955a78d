package script

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func costCommands() map[string]Command {
	return map[string]Command{
		"idle": {"idle <host> <time> <percent>", idleCommand},
	}
}

// idleCommand fails if a host's daemon and the programs that it runs use more than so many
// percent of one processor within the time.
func idleCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err != nil {
		return "", err
	}
	most, err := strconv.ParseFloat(args[2], 64)
	if err != nil {
		return "", errScript{err}
	}
	before, began := processorTime(n.Daemon.Process.Pid)
	if _, err := sleepCommand(s, args[1:2]); err != nil {
		return "", err
	}
	after, ended := processorTime(n.Daemon.Process.Pid)
	percent := 100 * float64(after-before) / float64(ended.Sub(began))
	if before == 0 || percent > most {
		return "", fmt.Errorf("%s on %s uses %.2f %% of a processor, and %v before", s.program.Name, n.Name(), percent, before)
	}
	return fmt.Sprintf("%.2f\n", percent), nil
}

// processorTime returns the processor time that a process and its ended children have
// used, and when that was read; zero if there is no such process.
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
