package netlab

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Enter calls f in the namespace, on a thread of its own that is thrown away
// with it. A socket that f opens stays in the namespace and can be used from
// anywhere afterwards.
func (n Namespace) Enter(f func() error) error {
	ns, err := netns.GetFromName(n.name)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", n.name, err)
	}
	defer ns.Close()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			failed <- fmt.Errorf("enter namespace %s: %w", n.name, err)
			return
		}
		failed <- f()
	}()
	return <-failed
}
