package script

import (
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func daemonCommands() map[string]Command {
	return map[string]Command{
		"start":    {"start <host> [flag...]", launchCommand},
		"ready":    {"ready <host>", readyCommand},
		"up":       {"up <host> [flag...]", upCommand},
		"took":     {"took <host> <time>", tookCommand},
		"log":      {"log <host>", logCommand},
		"notified": {"notified <host>", notifiedCommand},
		"signal":   {"signal <host> <signal>", signalCommand},
		"exits":    {"exits <host> <status>", exitsCommand},
		"crash":    {"crash <host...>", crashCommand},
		"term":     {"term <host...>", termCommand},
	}
}

// launchCommand starts the daemon and does not wait.
func launchCommand(s *Script, args []string) (string, error) {
	n, err := s.Find(args[0])
	if err == nil {
		n.Launch(args[1:]...)
	}
	return "", err
}

// readyCommand waits until the daemon is ready, and sets the host's variables.
func readyCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err == nil {
		err = n.Ready(readyTime)
	}
	if err != nil {
		return "", err
	}
	return subnetCommand(s, args)
}

// tookCommand prints how long the host took from its daemon's start to READY=1, and fails
// if that was longer than the time.
func tookCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err != nil {
		return "", err
	}
	limit, err := time.ParseDuration(args[1])
	if err != nil {
		return "", errScript{err}
	}
	took := n.said.took.Load()
	if took == nil {
		return "", Mistake("%s is not ready", args[0])
	}
	if *took > limit {
		return "", Mistake("%s took %s to be ready, more than %s", args[0], took, limit)
	}
	return fmt.Sprintf("%s was ready after %s\n", args[0], took.Round(time.Millisecond)), nil
}

func upCommand(s *Script, args []string) (string, error) {
	if _, err := launchCommand(s, args); err != nil {
		return "", err
	}
	return readyCommand(s, args[:1])
}

// logCommand prints what the daemon that was started last has logged.
func logCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err != nil {
		return "", err
	}
	return n.Daemon.Log.String(), nil
}

// notifiedCommand prints what the daemon that was started last has told systemd.
func notifiedCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err != nil {
		return "", err
	}
	return n.said.Log.String(), nil
}

func signalCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err != nil {
		return "", err
	}
	number := unix.SignalNum("SIG" + args[1])
	if number == 0 {
		return "", Mistake("there is no signal %s", args[1])
	}
	return "", n.Daemon.Process.Signal(number)
}

// exitsCommand waits for the daemon to end by itself with a status; -1 is a signal.
func exitsCommand(s *Script, args []string) (string, error) {
	n, err := s.Running(args[0])
	if err != nil {
		return "", err
	}
	got, err := n.Daemon.Exited(readyTime)
	if err != nil {
		return "", err
	}
	if want, err := strconv.Atoi(args[1]); err != nil || got != want {
		return "", Mistake("%s on %s exited with %d, want %s", s.program.Name, n.Name(), got, args[1])
	}
	return n.Daemon.Log.String(), nil
}

// crashCommand is kill -9.
func crashCommand(s *Script, args []string) (string, error) {
	for _, name := range args {
		n, err := s.Running(name)
		if err != nil {
			return "", err
		}
		n.Daemon.Kill()
	}
	return "", nil
}

// termCommand ends daemons as systemd does, in order.
func termCommand(s *Script, args []string) (string, error) {
	for _, name := range args {
		if _, err := signalCommand(s, []string{name, "TERM"}); err != nil {
			return "", err
		}
	}
	for _, name := range args {
		if _, err := exitsCommand(s, []string{name, strconv.Itoa(s.program.Stopped)}); err != nil {
			return "", err
		}
	}
	return "", nil
}
