package netlab

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Enter calls f in the namespace, on a thread of its own. A socket that f opens
// stays in the namespace and can be used from anywhere afterwards.
func (n Namespace) Enter(f func() error) error {
	ns, err := netns.GetFromName(n.name)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", n.name, err)
	}
	defer ns.Close()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		back, err := enter(ns, f)
		if back {
			runtime.UnlockOSThread()
		} // else the thread ends with the goroutine
		result <- err
	}()
	if err := <-result; err != nil {
		return fmt.Errorf("in namespace %s: %w", n.name, err)
	}
	return nil
}

// enter calls f in the namespace and reports whether the thread is back in its own.
// It goes back because a process's first thread cannot end: it would stay in the
// namespace.
func enter(ns netns.NsHandle, f func() error) (back bool, err error) {
	home, err := netns.Get()
	if err != nil {
		return true, err
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		return true, err
	}
	err = f()
	failed := netns.Set(home)
	return failed == nil, errors.Join(err, failed)
}
