package netlab

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RemoveRemains deletes the namespaces of a lab whose process was killed before it could
// close it, and ends what still runs in them. Nobody else may have a lab of this name.
func RemoveRemains(lab string) error {
	list, err := output("ip", "netns", "list")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, lab+"-") {
			errs = append(errs, kill(name), deleteNamespace(name))
		}
	}
	return errors.Join(errs...)
}

// kill ends the processes in a namespace, and returns when they have ended.
func kill(namespace string) error {
	for range 500 {
		pids, err := output("ip", "netns", "pids", namespace)
		if err != nil || strings.TrimSpace(pids) == "" {
			return err
		}
		for pid := range strings.FieldsSeq(pids) {
			if n, err := strconv.Atoi(pid); err == nil && n > 1 {
				_ = syscall.Kill(n, syscall.SIGKILL) // it fails if it has ended
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	return fmt.Errorf("processes in %s do not end", namespace)
}
